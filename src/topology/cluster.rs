//! A cluster's slot map: asking for it, and reading what its nodes say.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Deadline;
use crate::config::{Address, Endpoint};
use crate::error::{Error, ErrorKind, Result};
use crate::node::{Fleet, State};
use crate::topology::inquiry::{Question, inquire, sum_up};
use crate::topology::map::{Map, Shard};
use crate::topology::slots::SLOTS;
use crate::transport::{Entry, Kind, Lifeline, Reply, command};

/// A node that is silent for this long is not waited for before the next one is asked.
const PAUSE: Duration = Duration::from_millis(50);
/// How long others are waited for when a node answers that its cluster is down: it may be cut off from them.
const DOUBT: Duration = Duration::from_millis(300);

/// Asks the nodes that are known, and then the seeds, until one tells the map.
pub(super) fn find(
    fleet: &Fleet,
    seeds: &[Endpoint],
    known: &Map,
    lifeline: &Arc<Lifeline>,
    deadline: Deadline,
) -> Result<Map> {
    let mut bytes = Vec::new();
    command(&mut bytes, &[b"CLUSTER", b"SLOTS"]);
    command(&mut bytes, &[b"CLUSTER", b"INFO"]);
    let question = Question {
        bytes: bytes.into(),
        count: 2,
    };
    let whom = whom(seeds, known);
    let mut failures = Vec::new();
    let mut doubtful = None;
    let mut found = None;
    inquire(
        &|endpoint, lifeline| fleet.dialer(endpoint, lifeline),
        &whom,
        &question,
        PAUSE,
        lifeline,
        deadline,
        &mut |answer, deadline| {
            let read = answer.reply.and_then(|reply| {
                Draft::read(&reply, &answer.by.address).map(|draft| (draft, reply))
            });
            match read {
                Ok((draft, reply)) if is_down(&reply) => {
                    doubtful.get_or_insert((draft, answer.by.address.to_string()));
                    *deadline = deadline.within(DOUBT);
                    ControlFlow::Continue(())
                }
                Ok((draft, _)) => {
                    found = Some((draft, answer.by.address.to_string()));
                    ControlFlow::Break(())
                }
                Err(error) => {
                    failures.push(error);
                    ControlFlow::Continue(())
                }
            }
        },
    );
    match found.or(doubtful) {
        Some((draft, by)) => draft.into_map(fleet, &seeds[0], by.into()),
        None => Err(sum_up("no node told the slot map of the cluster", failures)),
    }
}

/// Those that answered last time before all others, and nobody twice.
fn whom(seeds: &[Endpoint], known: &Map) -> Vec<Endpoint> {
    let endpoints = |down: bool| {
        let nodes = known.nodes();
        nodes
            .filter(move |node| (node.condition.state() == State::Down) == down)
            .map(|node| node.dialer.endpoint.clone())
    };
    let mut whom: Vec<Endpoint> = Vec::new();
    for endpoint in endpoints(false)
        .chain(seeds.iter().cloned())
        .chain(endpoints(true))
    {
        if !whom.contains(&endpoint) {
            whom.push(endpoint);
        }
    }
    whom
}

/// What CLUSTER INFO says. Where it is forbidden, nothing is known against the cluster.
fn is_down(reply: &Reply) -> bool {
    let info = reply.children(reply.root()).get(1);
    let text = info.map(|entry| reply.text_of(entry)).unwrap_or_default();
    String::from_utf8_lossy(text).contains("cluster_state:fail")
}

/// A slot map as it came, checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Draft {
    /// A primary and its replicas.
    pub(super) shards: Vec<(Address, Vec<Address>)>,
    /// First slot, last slot, shard.
    pub(super) slots: Vec<(u16, u16, usize)>,
}

impl Draft {
    pub(super) fn read(reply: &Reply, by: &Address) -> Result<Draft> {
        let wrong = |kind, why: String| Error::new(kind, why).on_node(&by.to_string().into());
        let rows = reply.children(reply.root()).first();
        let rows = match rows {
            Some(rows) if rows.kind == Kind::Array => reply.children(rows),
            Some(entry) if entry.kind == Kind::Error => {
                let error = Error::from_server(reply.bytes_of(entry));
                let text = error.message();
                return Err(match text.contains("cluster support disabled") {
                    true => wrong(
                        ErrorKind::Config,
                        format!(
                            "the server is not part of a cluster ({text}); open it with a redis:// url"
                        ),
                    ),
                    false => wrong(error.kind(), format!("CLUSTER SLOTS was refused: {text}")),
                });
            }
            _ => {
                let why = "CLUSTER SLOTS was not answered by an array";
                return Err(wrong(ErrorKind::Protocol, why.to_owned()));
            }
        };
        let unusable = |why: String| {
            wrong(
                ErrorKind::Cluster,
                format!("its slot map cannot be used: {why}"),
            )
        };
        let mut draft = Draft {
            shards: Vec::new(),
            slots: Vec::new(),
        };
        let mut numbers: HashMap<Address, usize> = HashMap::new();
        let mut owners = vec![None; SLOTS];
        for row in rows {
            let cells = reply.children(row);
            let number = |at: usize| {
                let number = cells.get(at).and_then(Entry::integer);
                let slot = number.and_then(|n| u16::try_from(n).ok());
                slot.filter(|slot| usize::from(*slot) < SLOTS)
            };
            let (Some(first), Some(last)) = (number(0), number(1)) else {
                return Err(unusable("a row names no slots from 0 to 16383".to_owned()));
            };
            if first > last {
                return Err(unusable(format!("slots {first} to {last} run backwards")));
            }
            let mut nodes = Vec::new();
            for cell in cells.get(2..).unwrap_or_default() {
                nodes.push(address(reply, cell, by).ok_or_else(|| {
                    unusable(format!("slots {first} to {last}: a node has no address"))
                })?);
            }
            let Some((primary, replicas)) = nodes.split_first() else {
                return Err(unusable(format!("slots {first} to {last} have no node")));
            };
            let shard = *numbers.entry(primary.clone()).or_insert_with(|| {
                draft.shards.push((primary.clone(), replicas.to_vec()));
                draft.shards.len() - 1
            });
            for slot in first..=last {
                let owner = &mut owners[usize::from(slot)];
                if let Some(other) = owner.replace(shard).filter(|other| *other != shard) {
                    let other = &draft.shards[other].0;
                    let text = format!("slot {slot} belongs to {other} and to {primary} at once");
                    return Err(unusable(text));
                }
            }
            draft.slots.push((first, last, shard));
        }
        match draft.shards.is_empty() {
            true => Err(unusable("no node serves any slot".to_owned())),
            false => Ok(draft),
        }
    }

    fn into_map(self, fleet: &Fleet, like: &Endpoint, told_by: Arc<str>) -> Result<Map> {
        let node = |address: Address| {
            fleet.appoint(Endpoint {
                address,
                ..like.clone()
            })
        };
        let mut shards = Vec::with_capacity(self.shards.len());
        for (primary, replicas) in self.shards {
            let replicas = replicas.into_iter().map(node).collect::<Result<_>>()?;
            shards.push(Shard::new(node(primary)?, replicas));
        }
        Ok(Map::dealt(shards, self.slots, told_by))
    }
}

/// `[host, port, id, [metadata]]`. No host means the one that was asked; `?` that the node does not know the name
/// that it should tell, and then its number may stand in the metadata.
fn address(reply: &Reply, cell: &Entry, by: &Address) -> Option<Address> {
    let cells = reply.children(cell);
    let text = |entry: &Entry| String::from_utf8_lossy(reply.text_of(entry)).into_owned();
    let port = cells.get(1).and_then(Entry::integer)?;
    let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
    match text(cells.first()?).as_str() {
        "" => by.with_port(port),
        "?" => {
            let metadata = reply.children(cells.get(3)?);
            let mut pairs = metadata.chunks_exact(2);
            let ip = pairs.find(|pair| text(&pair[0]) == "ip")?;
            Address::tcp(&text(&ip[1]), port)
        }
        host => Address::tcp(host, port),
    }
}

/// Where a redirection leads: `MOVED 3999 127.0.0.1:6381`.
pub(super) fn destination(text: &str, from: &Address) -> Option<(u16, Address)> {
    let mut words = text.split(' ').skip(1);
    let slot = words.next()?.parse::<u16>().ok()?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let address = match host {
        "" | "?" => from.with_port(port),
        host => Address::tcp(host, port),
    };
    (usize::from(slot) < SLOTS).then_some((slot, address?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Limits, Progress, Reader};

    fn parsed(rows: &str) -> Reply {
        let text = format!("*1\r\n{rows}");
        let mut bytes = text.as_bytes();
        let (mut reader, mut reply) = (Reader::new(Limits::default()), Reply::new());
        reader
            .fill(&mut reply, |to, _| {
                to.extend_from_slice(bytes);
                Ok(std::mem::take(&mut bytes).len())
            })
            .unwrap();
        assert_eq!(reader.advance(&mut reply).unwrap(), Progress::Reply);
        reply
    }

    fn read(rows: &str) -> Result<Draft> {
        Draft::read(&parsed(rows), &tcp("asked", 7))
    }

    fn tcp(host: &str, port: u16) -> Address {
        Address::tcp(host, port).unwrap()
    }

    fn row(first: i64, last: i64, host: &str, port: i64) -> String {
        let host = format!("${}\r\n{host}\r\n", host.len());
        format!("*3\r\n:{first}\r\n:{last}\r\n*3\r\n{host}:{port}\r\n$2\r\nid\r\n")
    }

    #[test]
    fn a_map_with_a_gap_and_an_empty_host_is_read() {
        let text = format!("*2\r\n{}{}", row(0, 9, "", 1), row(11, 16383, "B", 2));
        let draft = read(&text).unwrap();
        assert_eq!(draft.shards[0].0, tcp("asked", 1));
        assert_eq!(draft.shards[1].0, tcp("b", 2));
        assert_eq!(draft.slots, [(0, 9, 0), (11, 16383, 1)]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (rows, wanted) in [
            (
                format!("*2\r\n{}{}", row(0, 9, "a", 1), row(9, 20, "b", 1)),
                "slot 9 belongs to a:1 and to b:1",
            ),
            (
                format!("*1\r\n{}", row(0, 16384, "a", 1)),
                "from 0 to 16383",
            ),
            (format!("*1\r\n{}", row(-1, 5, "a", 1)), "from 0 to 16383"),
            (format!("*1\r\n{}", row(9, 5, "a", 1)), "run backwards"),
            (format!("*1\r\n{}", row(0, 5, "a", 0)), "no address"),
            (format!("*1\r\n{}", row(0, 5, "?", 1)), "no address"),
            (format!("*1\r\n{}", row(0, 5, "a b", 1)), "no address"),
            ("*1\r\n*2\r\n:0\r\n:1\r\n".to_owned(), "have no node"),
            ("*0\r\n".to_owned(), "no node serves any slot"),
            ("+OK\r\n".to_owned(), "not answered by an array"),
            (
                "-ERR This instance has cluster support disabled\r\n".to_owned(),
                "not part of a cluster",
            ),
            ("-NOPERM no\r\n".to_owned(), "refused: NOPERM"),
        ] {
            let error = read(&rows).unwrap_err().to_string();
            assert!(error.contains(wanted), "{rows:?}: {error}");
            assert!(error.contains("asked:7"), "{error}");
        }
    }

    #[test]
    fn where_a_redirection_leads() {
        let from = tcp("asked", 7);
        let to = |text| destination(text, &from);
        assert_eq!(
            to("MOVED 3999 127.0.0.1:6381"),
            Some((3999, tcp("127.0.0.1", 6381)))
        );
        assert_eq!(to("ASK 1 ::1:6381"), Some((1, tcp("::1", 6381))));
        assert_eq!(to("MOVED 1 :6381"), Some((1, tcp("asked", 6381))));
        for bad in [
            "MOVED",
            "MOVED 1",
            "MOVED x a:1",
            "MOVED 16384 a:1",
            "MOVED 1 a:0",
            "MOVED 1 a",
            "MOVED 1 a:99999",
        ] {
            assert_eq!(to(bad), None, "{bad}");
        }
    }
}
