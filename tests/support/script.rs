//! A peer that answers what it is told to: for replies that a real server cannot be made to give.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use super::lines::with_lines_as_asked;

/// What the peer does after a request. Bytes and texts turn into `Bytes` by themselves; empty ones are silence.
#[derive(Debug, Clone)]
pub enum Answer {
    Bytes(Vec<u8>),
    /// Writes these, and closes the connection in good order.
    Last(Vec<u8>),
    /// Writes these, and resets the connection.
    Reset(Vec<u8>),
    /// Writes the first, and then the second again and again, until the client has had enough.
    Endless(Vec<u8>, Vec<u8>),
}

impl From<Vec<u8>> for Answer {
    fn from(bytes: Vec<u8>) -> Answer {
        Answer::Bytes(bytes)
    }
}

impl From<&str> for Answer {
    fn from(text: &str) -> Answer {
        Answer::Bytes(text.into())
    }
}

impl From<String> for Answer {
    fn from(text: String) -> Answer {
        Answer::Bytes(text.into())
    }
}

/// The answers that let a client in, as an old server with RESP2 would give them; none for any other command.
pub fn polite(request: &[Vec<u8>]) -> Option<&'static str> {
    match name(request).as_str() {
        "HELLO" => Some("-ERR unknown command 'HELLO'\r\n"),
        "AUTH" | "CLIENT" | "SELECT" => Some("+OK\r\n"),
        "PING" => Some("+PONG\r\n"),
        _ => None,
    }
}

type Script = dyn Fn(&[Vec<u8>]) -> Answer + Send + Sync;

/// Everybody's share: the accepting thread's, the connections', the test's.
struct Shared {
    script: Box<Script>,
    /// Whether requests are taken apart, or any bytes count as one.
    parses: bool,
    over: AtomicBool,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    accepted: u64,
    requests: Vec<Vec<Vec<u8>>>,
    /// The live connections, by their number, for ending them.
    streams: Vec<(u64, TcpStream)>,
}

pub struct Peer {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Asks `script` for the answer to each request: a list of words, the command's name first.
    pub fn answer<A: Into<Answer>>(
        script: impl Fn(&[Vec<u8>]) -> A + Send + Sync + 'static,
    ) -> Peer {
        Peer::knowing_its_port(|_| script)
    }

    /// Like `answer`, for a script that has to name the peer itself, as a slot map does.
    pub fn knowing_its_port<A: Into<Answer>, S>(script: impl FnOnce(u16) -> S) -> Peer
    where
        S: Fn(&[Vec<u8>]) -> A + Send + Sync + 'static,
    {
        Peer::listen(true, |port| {
            let script = script(port);
            Box::new(move |request| script(request).into())
        })
    }

    /// Like `answer`, with `polite` answers to what clients say on arrival: the script gets the rest.
    pub fn after_handshake<A: Into<Answer>>(
        script: impl Fn(&[Vec<u8>]) -> A + Send + Sync + 'static,
    ) -> Peer {
        Peer::answer(move |request| match polite(request) {
            Some(text) => text.into(),
            None => script(request).into(),
        })
    }

    /// Writes these bytes once, after the first thing a client says, whatever it is; then only listens.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Peer {
        let bytes = bytes.into();
        Peer::listen(false, |_| Box::new(move |_| Answer::Bytes(bytes.clone())))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        with_lines_as_asked(format!("redis://{}", self.address()))
    }

    /// How many connections were accepted.
    pub fn accepted(&self) -> u64 {
        self.shared.book().accepted
    }

    /// How many requests of that name came: `"GET"`, `"CLUSTER"`.
    pub fn requests(&self, wanted: &str) -> usize {
        let book = self.shared.book();
        let names = book.requests.iter().map(|request| name(request));
        names
            .filter(|name| name.eq_ignore_ascii_case(wanted))
            .count()
    }

    /// Every request that came, in order of arrival.
    pub fn all_requests(&self) -> Vec<Vec<Vec<u8>>> {
        self.shared.book().requests.clone()
    }

    /// Closes every connection; new ones are welcome.
    pub fn hang_up(&self) {
        for (_, stream) in &self.shared.book().streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn listen(parses: bool, script: impl FnOnce(u16) -> Box<Script>) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let shared = Arc::new(Shared {
            script: script(port),
            parses,
            over: AtomicBool::new(false),
            book: Mutex::new(Book::default()),
        });
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("test-peer".to_owned())
            .spawn(move || accept(&listener, &theirs))
            .expect("a thread");
        Peer {
            port,
            shared,
            thread: Some(thread),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // accept(2) is woken by a caller; the connections by their end.
        let woken = TcpStream::connect(("127.0.0.1", self.port));
        self.hang_up();
        if let Some(thread) = self.thread.take()
            && woken.is_ok()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the peer's script panicked");
        }
    }
}

impl Shared {
    /// A script that panicked has been reported; the book is whole all the same.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut talks = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        let number = {
            let mut book = shared.book();
            // Under the book's lock, so that a connection is either in the book when all are hung up, or not served.
            if shared.over.load(Ordering::SeqCst) {
                break;
            }
            book.accepted += 1;
            let number = book.accepted;
            let handle = stream.try_clone().expect("a descriptor");
            book.streams.push((number, handle));
            number
        };
        let theirs = shared.clone();
        let talk = std::thread::Builder::new().name("test-peer-talk".to_owned());
        let talk = talk.spawn(move || {
            let _leave = Leave(&theirs, number);
            // The end of a connection is no failure of the test.
            let _ = talk_on(&stream, &theirs);
        });
        talks.push(talk.expect("a thread"));
    }
    for (_, stream) in &shared.book().streams {
        let _ = stream.shutdown(Shutdown::Both);
    }
    let broken = talks
        .into_iter()
        .filter_map(|talk| talk.join().err())
        .count();
    assert_eq!(broken, 0, "scripts that panicked");
}

/// Takes the connection out of the book, also when the script panics: its client would wait for ever otherwise.
struct Leave<'a>(&'a Shared, u64);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.book().streams.retain(|(n, _)| *n != self.1);
    }
}

fn talk_on(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream);
    loop {
        let request = match shared.parses {
            true => read_request(&mut input)?,
            false => read_anything(&mut input)?,
        };
        shared.book().requests.push(request.clone());
        let (bytes, last) = match (shared.script)(&request) {
            Answer::Bytes(bytes) => (bytes, false),
            Answer::Last(bytes) => (bytes, true),
            Answer::Endless(bytes, again) => {
                (&mut &*stream).write_all(&bytes)?;
                let many = again.repeat(1 + (64 << 10) / again.len());
                loop {
                    (&mut &*stream).write_all(&many)?;
                }
            }
            Answer::Reset(bytes) => {
                // From here on, closing it sends RST in place of FIN.
                socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
                (bytes, true)
            }
        };
        (&mut &*stream).write_all(&bytes)?;
        if last {
            return Ok(());
        }
        if !shared.parses {
            io::copy(&mut input, &mut io::sink())?;
            return Ok(());
        }
    }
}

fn read_anything(input: &mut impl BufRead) -> io::Result<Vec<Vec<u8>>> {
    let bytes = input.fill_buf()?.to_vec();
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    input.consume(bytes.len());
    Ok(vec![bytes])
}

/// An array of bulk strings, as clients send them.
fn read_request(input: &mut impl BufRead) -> io::Result<Vec<Vec<u8>>> {
    let count = read_number(input, '*')?;
    (0..count).map(|_| read_word(input)).collect()
}

fn read_word(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut word = vec![0; read_number(input, '$')? + 2];
    input.read_exact(&mut word)?;
    word.truncate(word.len() - 2);
    Ok(word)
}

fn read_number(input: &mut impl BufRead, mark: char) -> io::Result<usize> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let digits = line.strip_prefix(mark).map(str::trim_end);
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(number) => Ok(number),
        None => panic!("the client sent {line:?} where {mark} and a number belong"),
    }
}

fn name(request: &[Vec<u8>]) -> String {
    let first = request.first().map(Vec::as_slice).unwrap_or_default();
    String::from_utf8_lossy(first).to_ascii_uppercase()
}
