//! Callers on shared lines, and a server that misbehaves as it is told.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::error::{ErrorKind, Outcome, Result};
use crate::fuzz::Choices;
use crate::manager::Manager;

const TIME: Duration = Duration::from_millis(60);
/// A machine with other work to do may wake a thread so much later than it asked for.
const SLACK: Duration = Duration::from_secs(2);

/// What the server does about a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Answer,
    InPieces,
    Late,
    /// Its answer goes out with the next one.
    WithTheNext,
    AfterAPush,
    AfterAnAttribute,
    Refuse,
    Load,
    CloseUndone,
    CloseDone,
    CloseHalfWay,
    Babble,
    /// Nothing comes on this connection any more.
    FallSilent,
}

const DEEDS: [Deed; 13] = [
    Deed::Answer,
    Deed::InPieces,
    Deed::Late,
    Deed::WithTheNext,
    Deed::AfterAPush,
    Deed::AfterAnAttribute,
    Deed::Refuse,
    Deed::Load,
    Deed::CloseUndone,
    Deed::CloseDone,
    Deed::CloseHalfWay,
    Deed::Babble,
    Deed::FallSilent,
];

#[derive(Default)]
struct Book {
    /// One for each command to come; after them, all goes well.
    deeds: Vec<Deed>,
    done: usize,
    /// How often each tag was executed.
    executed: HashMap<String, usize>,
}

struct Server {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    over: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Server {
    fn start(deeds: Vec<Deed>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let book = Arc::new(Mutex::new(Book {
            deeds,
            ..Book::default()
        }));
        let over = Arc::new(AtomicBool::new(false));
        let (theirs, ends) = (book.clone(), over.clone());
        let thread = thread::spawn(move || {
            thread::scope(|scope| {
                for stream in listener.incoming().map_while(io::Result::ok) {
                    if ends.load(Ordering::SeqCst) {
                        break;
                    }
                    let book = &theirs;
                    // That the client hangs up is the usual end.
                    scope.spawn(move || _ = serve(&stream, book));
                }
            });
        });
        Server {
            address,
            book,
            over,
            thread,
        }
    }

    /// When all clients have gone: how often each tag was executed.
    fn end(self) -> HashMap<String, usize> {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.thread.join().expect("the server's thread panicked");
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut book.executed)
    }
}

fn serve(stream: &TcpStream, book: &Mutex<Book>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream);
    let mut output = stream;
    let mut held = Vec::new();
    let mut is_silent = false;
    loop {
        let words = request(&mut input)?;
        let tag = words.get(1).cloned().unwrap_or_default();
        if !matches!(&*words[0], "GET" | "LPOP") {
            if !is_silent {
                output.write_all(polite(&words[0]))?;
            }
            continue;
        }
        let deed = {
            let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
            let deed = match is_silent {
                true => Deed::FallSilent,
                false => {
                    book.done += 1;
                    let deed = book.deeds.get(book.done - 1);
                    deed.copied().unwrap_or(Deed::Answer)
                }
            };
            if !matches!(deed, Deed::Refuse | Deed::Load | Deed::CloseUndone) {
                *book.executed.entry(tag.clone()).or_default() += 1;
            }
            deed
        };
        let answer = format!("${}\r\n{tag}\r\n", tag.len()).into_bytes();
        let (now, later) = match deed {
            Deed::Answer => (answer, None),
            Deed::InPieces => {
                let (first, rest) = answer.split_at(answer.len() / 2);
                (first.to_vec(), Some(rest.to_vec()))
            }
            Deed::Late => (Vec::new(), Some(answer)),
            Deed::WithTheNext => {
                held.extend(answer);
                continue;
            }
            Deed::AfterAPush => ([b">2\r\n+news\r\n:1\r\n", &answer[..]].concat(), None),
            Deed::AfterAnAttribute => ([b"|1\r\n+ttl\r\n:3\r\n", &answer[..]].concat(), None),
            Deed::Refuse => (b"-ERR it will not\r\n".to_vec(), None),
            Deed::Load => (b"-LOADING it will soon\r\n".to_vec(), None),
            Deed::CloseUndone | Deed::CloseDone => return Ok(()),
            Deed::CloseHalfWay => return output.write_all(&answer[..answer.len() / 2]),
            Deed::Babble => (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), None),
            Deed::FallSilent => {
                is_silent = true;
                continue;
            }
        };
        held.extend(now);
        output.write_all(&std::mem::take(&mut held))?;
        if let Some(later) = later {
            thread::sleep(Duration::from_millis(1 + tag.len() as u64 % 7));
            output.write_all(&later)?;
        }
    }
}

fn polite(name: &str) -> &'static [u8] {
    match name {
        "HELLO" => b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n",
        "PING" => b"+PONG\r\n",
        _ => b"+OK\r\n",
    }
}

fn request(input: &mut impl BufRead) -> io::Result<Vec<String>> {
    let count = number(input)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; number(input)? + 2];
        input.read_exact(&mut word)?;
        word.truncate(word.len() - 2);
        words.push(String::from_utf8(word).map_err(io::Error::other)?);
    }
    Ok(words)
}

fn number(input: &mut impl BufRead) -> io::Result<usize> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let digits = line.trim_end().get(1..).unwrap_or_default();
    digits.parse().map_err(io::Error::other)
}

/// One call, and what its caller was told.
struct Call {
    tag: String,
    /// Twice is as good as once.
    repeats: bool,
    result: Result<String>,
    took: Duration,
}

/// Whatever the server does, each caller has its own tag or an error whose outcome is true, by its deadline; and after
/// it, all goes well again.
pub fn lines(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let config = Config::new()
        .shared_lines(1 + choices.below(2))
        .max_connections(1 + choices.below(3))
        .retries(choices.below(3) as u32)
        .command_timeout(TIME)
        .connect_timeout(TIME);
    let plans: Vec<Vec<bool>> = (0..2 + choices.below(7))
        .map(|_| {
            let calls = 1 + choices.below(4);
            (0..calls).map(|_| choices.one_in(2)).collect()
        })
        .collect();
    let mut deeds = Vec::new();
    while !choices.is_over() && deeds.len() < 40 {
        // Half of them as they should be.
        let way = choices.below(2 * DEEDS.len());
        deeds.push(*DEEDS.get(way).unwrap_or(&Deed::Answer));
    }
    let server = Server::start(deeds.clone());
    let keep = config.url(format!("redis://{}", server.address));
    let keep = Manager::open_config(&keep).expect("opening is lazy");
    let calls: Vec<Call> = thread::scope(|scope| {
        let callers: Vec<_> = plans
            .iter()
            .enumerate()
            .map(|(me, plan)| {
                let keep = &keep;
                scope.spawn(move || caller(keep, me, plan))
            })
            .collect();
        let each = callers.into_iter();
        each.flat_map(|one| one.join().expect("a caller panicked"))
            .collect()
    });
    {
        let mut book = server.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.deeds.clear();
    }
    recovers(&keep);
    assert!(keep.close(SLACK).is_ok());
    drop(keep);
    let executed = server.end();
    for call in calls {
        let times = executed.get(&call.tag).copied().unwrap_or_default();
        let told = format!(
            "{} executed {times} times, repeats: {}, told {:?} after {:?}; {plans:?}; {deeds:?}",
            call.tag, call.repeats, call.result, call.took
        );
        assert!(call.took < TIME + SLACK, "too late: {told}");
        assert!(times <= 1 || call.repeats, "repeated: {told}");
        match &call.result {
            Ok(tag) => assert!(*tag == call.tag && times > 0, "another's: {told}"),
            Err(error) => match error.outcome() {
                Outcome::Unknown => {}
                Outcome::NotSent | Outcome::Refused => assert_eq!(times, 0, "not true: {told}"),
            },
        }
    }
}

fn caller(keep: &Manager, me: usize, plan: &[bool]) -> Vec<Call> {
    let call = |(n, repeats): (usize, &bool)| {
        let tag = format!("{me}-{n}{}", "x".repeat(me));
        let started = Instant::now();
        let result = match repeats {
            true => keep.command(("GET", &tag)),
            false => keep.command(("LPOP", &tag)),
        };
        Call {
            tag,
            repeats: *repeats,
            result,
            took: started.elapsed(),
        }
    };
    plan.iter().enumerate().map(call).collect()
}

/// Every connection may be found dead once; a node that is down says so until it is dialled again.
fn recovers(keep: &Manager) {
    let mut errors = Vec::new();
    for _ in 0..20 {
        match keep.command::<String>(("LPOP", "after")) {
            Ok(tag) => return assert_eq!(tag, "after"),
            Err(error) if error.kind() == ErrorKind::NoHealthyPools => return,
            Err(error) => errors.push(error),
        }
    }
    panic!("it does not recover: {errors:?}");
}

#[cfg(test)]
#[test]
fn fuzz_lines() {
    crate::fuzz::seeded("fuzz_lines", |seed| crate::fuzz::random(seed, 80), lines);
}
