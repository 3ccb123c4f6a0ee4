//! A listener whose queue is full: to connect to it takes for ever.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

pub struct Full {
    listener: TcpListener,
    _queued: Vec<Socket>,
}

impl Full {
    pub fn new() -> Full {
        Full::at(([127, 0, 0, 1], 0).into())
    }

    /// At this address, which has to be free.
    pub fn at(address: SocketAddr) -> Full {
        let listener = TcpListener::bind(address).expect("a free address");
        // SAFETY: a plain system call on a descriptor of ours.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let address = SockAddr::from(listener.local_addr().expect("a bound address"));
        let mut queued = Vec::new();
        loop {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            let brief = Duration::from_millis(200);
            if socket.connect_timeout(&address, brief).is_err() {
                break;
            }
            queued.push(socket);
        }
        Full {
            listener,
            _queued: queued,
        }
    }

    pub fn url(&self) -> String {
        let address = self.listener.local_addr().expect("a bound address");
        format!("redis://{address}")
    }
}
