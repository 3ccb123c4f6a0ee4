//! Where the primary is, by what the sentinels say and the server itself confirms.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Deadline;
use crate::config::{Address, Endpoint};
use crate::error::{Error, ErrorKind, Result};
use crate::node::Fleet;
use crate::topology::inquiry::{Question, inquire, sum_up};
use crate::topology::map::{Map, Shard};
use crate::transport::{Entry, Kind, Lifeline, Reply, command};

/// How long the others are waited for once one has answered.
const GRACE: Duration = Duration::from_millis(200);

/// Who watches over which primary.
pub(crate) struct Watchmen {
    pub(crate) sentinels: Vec<Endpoint>,
    pub(crate) master: String,
    /// How the servers are greeted; its address is nobody's.
    pub(crate) like: Endpoint,
}

/// What a sentinel said in the last round.
#[derive(Clone)]
pub(crate) struct Heard {
    pub(crate) sentinel: String,
    pub(crate) said: std::result::Result<String, String>,
}

/// One sentinel's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    by: String,
    pub(super) primary: Address,
    pub(super) replicas: Vec<Address>,
    /// Of two that differ, the later one counts.
    epoch: i64,
}

/// Asks all sentinels at once, and the server that they name whether it is a primary.
pub(super) fn find(
    fleet: &Fleet,
    watchmen: &Watchmen,
    lifelines: &mut dyn FnMut() -> Arc<Lifeline>,
    heard: &mut Vec<Heard>,
    deadline: Deadline,
) -> Result<Map> {
    let name = watchmen.master.as_bytes();
    let mut bytes = Vec::new();
    command(&mut bytes, &[b"SENTINEL", b"MASTER", name]);
    command(&mut bytes, &[b"SENTINEL", b"REPLICAS", name]);
    let question = Question {
        bytes: bytes.into(),
        count: 2,
    };
    let all = &watchmen.sentinels;
    let (mut words, mut failures): (Vec<Word>, Vec<Error>) = Default::default();
    heard.clear();
    inquire(
        &|endpoint, lifeline| fleet.sentinel_dialer(endpoint, lifeline),
        all,
        &question,
        Duration::ZERO,
        &lifelines(),
        deadline,
        &mut |answer, deadline| {
            let by = answer.by.address.to_string();
            let read = answer
                .reply
                .and_then(|reply| Word::read(&reply, &answer.by.address, &watchmen.master));
            heard.push(Heard {
                sentinel: by,
                said: match &read {
                    Ok(word) => Ok(word.primary.to_string()),
                    Err(error) => Err(error.to_string()),
                },
            });
            match read {
                Ok(word) => {
                    // The latest first; of two that know as much, the first that answered.
                    let later = words.iter().take_while(|other| other.epoch >= word.epoch);
                    words.insert(later.count(), word);
                    *deadline = deadline.within(GRACE);
                }
                Err(error) => failures.push(error),
            }
            // All of them are heard: the one that knows the latest may be in the minority still.
            ControlFlow::Continue(())
        },
    );
    if words.is_empty() {
        return Err(sum_up(
            &format!(
                "no sentinel told where the primary '{}' is",
                watchmen.master
            ),
            failures,
        ));
    }
    choose(fleet, watchmen, words, lifelines, deadline)
}

/// The first that is what they say it is.
fn choose(
    fleet: &Fleet,
    watchmen: &Watchmen,
    words: Vec<Word>,
    lifelines: &mut dyn FnMut() -> Arc<Lifeline>,
    deadline: Deadline,
) -> Result<Map> {
    let mut refused: Vec<(Address, Error)> = Vec::new();
    for word in &words {
        if refused.iter().any(|(address, _)| *address == word.primary) {
            continue;
        }
        let endpoint = watchmen.server(&word.primary);
        match is_primary(fleet, &endpoint, &lifelines(), deadline) {
            Ok(()) => return word.map(fleet, watchmen),
            Err(error) => refused.push((word.primary.clone(), error)),
        }
    }
    let said: Vec<String> = words
        .iter()
        .map(|word| format!("sentinel {} names {}", word.by, word.primary))
        .collect();
    let why = refused.into_iter().map(|(_, error)| error).collect();
    let kind = match words.iter().all(|word| word.primary == words[0].primary) {
        true => "the sentinels name a primary that is none",
        false => "the sentinels disagree, and none of the servers that they name is a primary",
    };
    Err(sum_up(&format!("{kind} ({})", said.join(", ")), why))
}

impl Watchmen {
    fn server(&self, address: &Address) -> Endpoint {
        Endpoint {
            address: address.clone(),
            ..self.like.clone()
        }
    }
}

impl Word {
    pub(super) fn read(reply: &Reply, by: &Address, master: &str) -> Result<Word> {
        let wrong = |kind, why: String| Error::new(kind, why).on_node(&by.to_string().into());
        let answers = reply.children(reply.root());
        let Some(first) = answers.first() else {
            return Err(wrong(ErrorKind::Protocol, "it did not answer".to_owned()));
        };
        if first.kind == Kind::Error {
            let error = Error::from_server(reply.bytes_of(first));
            let text = error.message();
            return Err(match () {
                _ if text.contains("No such master") => wrong(
                    ErrorKind::Config,
                    format!(
                        "the sentinel knows no primary named '{master}' (property master_name)"
                    ),
                ),
                _ if text.contains("unknown command") => wrong(
                    ErrorKind::Config,
                    format!("the server is no sentinel ({text})"),
                ),
                _ => wrong(error.kind(), text.to_owned()),
            });
        }
        let field = |of: &Entry, name: &str| field(reply, of, name);
        let address = |of: &Entry| {
            let port = field(of, "port")?.parse().ok();
            let port = port.filter(|port| *port > 0)?;
            Address::tcp(&field(of, "ip")?, port)
        };
        let primary = address(first).ok_or_else(|| {
            let why = format!("the sentinel gave no address of the primary '{master}'");
            wrong(ErrorKind::Protocol, why)
        })?;
        let rows = answers.get(1).map(|rows| reply.children(rows));
        let replicas = rows.unwrap_or_default().iter().filter(|row| {
            let flags = field(row, "flags").unwrap_or_default();
            !(flags.contains("down") || flags.contains("disconnected"))
        });
        Ok(Word {
            by: by.to_string(),
            primary,
            replicas: replicas.filter_map(address).collect(),
            epoch: field(first, "config-epoch")
                .and_then(|epoch| epoch.parse().ok())
                .unwrap_or_default(),
        })
    }

    fn map(&self, fleet: &Fleet, watchmen: &Watchmen) -> Result<Map> {
        let node = |address: &Address| fleet.appoint(watchmen.server(address));
        let primary = node(&self.primary)?;
        let replicas = self.replicas.iter().filter(|one| **one != self.primary);
        let replicas = replicas.map(node).collect::<Result<_>>()?;
        let by = format!("sentinel {}", self.by);
        Ok(Map::whole(Shard::new(primary, replicas), by.into()))
    }
}

/// Fields and their values in turn: an array or a map, whichever the protocol has.
fn field(reply: &Reply, of: &Entry, name: &str) -> Option<String> {
    let text = |entry: &Entry| String::from_utf8_lossy(reply.text_of(entry)).into_owned();
    let mut pairs = reply.children(of).chunks_exact(2);
    pairs
        .find(|pair| text(&pair[0]) == name)
        .map(|pair| text(&pair[1]))
}

/// ROLE, or where that is forbidden or unknown, what the sentinels say.
fn is_primary(
    fleet: &Fleet,
    endpoint: &Endpoint,
    lifeline: &Arc<Lifeline>,
    deadline: Deadline,
) -> Result<()> {
    let mut bytes = Vec::new();
    command(&mut bytes, &[b"ROLE"]);
    let question = Question {
        bytes: bytes.into(),
        count: 1,
    };
    let whom = std::slice::from_ref(endpoint);
    let name: Arc<str> = endpoint.address.to_string().into();
    let mut verdict = None;
    inquire(
        &|endpoint, lifeline| fleet.dialer(endpoint, lifeline),
        whom,
        &question,
        Duration::ZERO,
        lifeline,
        deadline,
        &mut |answer, _| {
            verdict = Some(answer.reply.and_then(|reply| {
                let answers = reply.children(reply.root());
                let role = answers
                    .first()
                    .and_then(|answer| reply.children(answer).first());
                match role.map(|role| reply.text_of(role)) {
                    Some(b"master") | None => Ok(()),
                    Some(other) => Err(Error::new(
                        ErrorKind::ReadOnly,
                        format!("its role is '{}'", String::from_utf8_lossy(other)),
                    )),
                }
            }));
            ControlFlow::Break(())
        },
    );
    let late = || Error::new(ErrorKind::Timeout, "it did not say its role in time");
    verdict
        .unwrap_or_else(|| Err(late()))
        .map_err(|error| error.on_node(&name))
}
