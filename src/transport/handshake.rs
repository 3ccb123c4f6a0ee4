//! What is said first on a new connection, in one write, and what the answers mean.

use crate::config::{Credentials, Endpoint, Secret};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::transport::encode;
use crate::transport::reply::{Kind, Reply};

/// What one part of the greeting asks for, and so what an error in its place means.
#[derive(Clone, Copy)]
enum Step {
    /// Refused: the connection is of no use.
    Auth,
    /// Refused: an older server, which speaks RESP2.
    Hello,
    /// Refused: an older server, or one that forbids it. Nothing is lost.
    Courtesy,
    /// Refused: the connection is of no use.
    Select,
}

/// The greeting of one endpoint, and how far its answers have come.
pub(crate) struct Handshake {
    bytes: Vec<u8>,
    steps: Vec<Step>,
    answered: usize,
    version: Option<String>,
    /// It agreed to RESP3.
    resp3: bool,
    password: Option<Secret>,
    /// An error in answer to something that may be refused.
    refusal: Option<Vec<u8>>,
}

impl Handshake {
    /// `given`: the credentials that were asked for, in place of those of the endpoint. `reads_replicas`: a replica of a
    /// cluster is to answer reads itself, and not by MOVED.
    pub(crate) fn new(
        endpoint: &Endpoint,
        given: Option<&Credentials>,
        protocol: u8,
        client_name: &str,
        reads_replicas: bool,
    ) -> Handshake {
        let password = given
            .map(Credentials::secret)
            .or(endpoint.password.as_ref());
        let username = given.and_then(Credentials::user);
        let mut it = Handshake {
            bytes: Vec::with_capacity(256),
            steps: Vec::with_capacity(6),
            answered: 0,
            version: None,
            resp3: false,
            password: password.cloned(),
            refusal: None,
        };
        if let Some(password) = password {
            match username.or(endpoint.username.as_deref()) {
                Some(user) => it.say(
                    Step::Auth,
                    &["AUTH".as_ref(), user.as_ref(), password.reveal().as_ref()],
                ),
                None => it.say(Step::Auth, &["AUTH".as_ref(), password.reveal().as_ref()]),
            }
        }
        // HELLO is said for RESP2 as well: its answer carries the server's version.
        let protocol = if protocol >= 3 { b"3" } else { b"2" };
        it.say(Step::Hello, &[b"HELLO", protocol]);
        if !client_name.is_empty() {
            it.say(
                Step::Courtesy,
                &[b"CLIENT", b"SETNAME", client_name.as_bytes()],
            );
        }
        it.say(
            Step::Courtesy,
            &[b"CLIENT", b"SETINFO", b"LIB-NAME", b"redkeep"],
        );
        it.say(
            Step::Courtesy,
            &[
                b"CLIENT",
                b"SETINFO",
                b"LIB-VER",
                env!("CARGO_PKG_VERSION").as_bytes(),
            ],
        );
        if reads_replicas {
            // To a primary it means nothing, and outside of a cluster it is refused.
            it.say(Step::Courtesy, &[b"READONLY"]);
        }
        if endpoint.db != 0 {
            it.say(
                Step::Select,
                &[b"SELECT", endpoint.db.to_string().as_bytes()],
            );
        }
        it
    }

    fn say(&mut self, step: Step, args: &[&[u8]]) {
        encode::command(&mut self.bytes, args);
        self.steps.push(step);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn is_done(&self) -> bool {
        self.answered == self.steps.len()
    }

    /// The server's version, where it tells (servers before 6.0 do not), and whether it speaks RESP3.
    pub(crate) fn found(self) -> (Option<String>, bool) {
        (self.version, self.resp3)
    }

    /// Takes the next answer in. An error makes the connection unusable.
    pub(crate) fn absorb(&mut self, reply: &Reply) -> Result<()> {
        let step = self.steps[self.answered];
        self.answered += 1;
        match (step, reply.error_text()) {
            (Step::Hello, None) => {
                self.version = version_in(reply);
                self.resp3 = reply.kind() == Kind::Map;
            }
            (Step::Auth | Step::Select, Some(text)) => {
                let error = Error::from_server(&self.without_password(text));
                // The user's command was never sent, whatever the server said to ours.
                let error = match (step, error.kind()) {
                    (Step::Auth, kind) if kind != ErrorKind::Loading => {
                        error.kind_is(ErrorKind::Auth)
                    }
                    _ => error,
                };
                return Err(error.outcome_is(Outcome::NotSent));
            }
            // It wants a password, and we have none: nothing but that would ever be answered.
            (Step::Hello, Some(text)) if text.starts_with(b"NOAUTH") => {
                return Err(Error::from_server(text).outcome_is(Outcome::NotSent));
            }
            (_, Some(text)) => self.refusal = Some(text.to_vec()),
            (_, None) => {}
        }
        Ok(())
    }

    /// What is in front of a server may quote what it does not understand.
    fn without_password(&self, text: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(text);
        match self.password.as_ref().map(|password| password.reveal()) {
            Some(password) if !password.is_empty() => text.replace(password, "***").into(),
            _ => text.into_owned().into(),
        }
    }

    /// A server that is full, or protected, says so in place of an answer and hangs up: then that is the cause.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match &self.refusal {
            Some(text) if error.kind() == ErrorKind::Io => Error::from_server(text)
                .kind_is(ErrorKind::Connect)
                .outcome_is(Outcome::NotSent),
            _ => error,
        }
    }
}

/// HELLO answers with names and values in turn: as a map in RESP3, as an array in RESP2.
fn version_in(reply: &Reply) -> Option<String> {
    let root = reply.root();
    if !matches!(root.kind, Kind::Map | Kind::Array) {
        return None;
    }
    reply.children(root).chunks_exact(2).find_map(|pair| {
        (reply.bytes_of(&pair[0]) == b"version")
            .then(|| String::from_utf8_lossy(reply.bytes_of(&pair[1])).into_owned())
    })
}
