//! Tests of names whose addresses change.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use crate::clock::Deadline;
use crate::config::{Address, Config, Endpoint};
use crate::transport::{Dialer, Lifeline, Reply, Resolver, command};

/// The last number of the address that the name leads to now.
static LEADS_TO: AtomicU8 = AtomicU8::new(1);

fn look_up(name: &str) -> std::io::Result<Vec<IpAddr>> {
    assert_eq!(name, "changing.example");
    Ok(vec![IpAddr::from([
        127,
        0,
        0,
        LEADS_TO.load(Ordering::SeqCst),
    ])])
}

/// Answers each command with its own address.
fn serve(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            thread::spawn(move || {
                let me = stream.local_addr().expect("an address").ip();
                let mut bytes = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut bytes) {
                    let commands = bytes[..n].iter().filter(|&&byte| byte == b'*').count();
                    let _ = stream.write_all(format!("+{me}\r\n").repeat(commands).as_bytes());
                }
            });
        }
    });
}

#[test]
fn a_name_is_looked_up_again_at_each_connect() {
    let one = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = one.local_addr().unwrap().port();
    let two = TcpListener::bind(("127.0.0.2", port)).unwrap();
    serve(one);
    serve(two);
    let dialer = Dialer {
        endpoint: Endpoint {
            address: Address::Tcp {
                host: "changing.example".into(),
                port,
            },
            db: 0,
            username: None,
            password: None,
            tls: false,
        },
        settings: Arc::new(Config::new().settings().unwrap()),
        resolver: Arc::new(Resolver::by(look_up)),
        lifeline: Arc::new(Lifeline::default()),
    };
    for last in [1, 2, 2, 1] {
        LEADS_TO.store(last, Ordering::SeqCst);
        let deadline = Deadline::after(Duration::from_secs(10));
        let mut connection = dialer.dial(deadline).unwrap();
        let (mut ping, mut reply) = (Vec::new(), Reply::new());
        command(&mut ping, &[b"PING"]);
        connection.call(&ping, &mut reply, deadline).unwrap();
        let answer = reply.bytes_of(reply.root());
        assert_eq!(answer, format!("127.0.0.{last}").as_bytes());
    }
}
