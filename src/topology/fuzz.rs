//! Redirections, slot maps, and what sentinels say.

use std::fmt::Write;

use crate::config::Address;
use crate::error::Error;
use crate::fuzz::Choices;
use crate::topology::cluster::{Draft, destination};
use crate::topology::sentinel::Word;
use crate::topology::slots::SLOTS;
use crate::transport::fuzz::read_whole;

const HOSTS: &[&str] = &[
    "a",
    "127.0.0.1",
    "::1",
    "[::1]",
    "",
    "?",
    "a b",
    "Ex.Org",
    "\u{e9}",
    "a:1",
    "-",
];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "5460",
    "5461",
    "16383",
    "16384",
    "-1",
    "65535",
    "65536",
    "6379",
    "9223372036854775807",
    "x",
    "",
];

/// What is taken can be used as it is; what cannot is refused with an error that names the node.
pub fn topology(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    match choices.below(3) {
        0 => redirection(&mut choices),
        1 => slot_map(&mut choices),
        _ => sentinel(&mut choices),
    }
}

fn asked() -> Address {
    Address::tcp("asked", 7).expect("a host")
}

fn is_a_place(address: &Address) {
    match address {
        Address::Tcp { host, port } => assert!(!host.is_empty() && *port > 0, "{address}"),
        Address::Unix(path) => panic!("a server named the path {}", path.display()),
    }
}

#[track_caller]
fn names_the_node(error: &Error) {
    assert_eq!(error.node(), Some("asked:7"), "{error:?}");
    assert!(!error.message().is_empty());
}

fn redirection(choices: &mut Choices<'_>) {
    let text = match choices.one_in(4) {
        true => choices.text(60),
        false => {
            let mut word = || choices.pick(NUMBERS);
            let (slot, port) = (word(), word());
            let (name, host) = (
                choices.pick(&["MOVED", "ASK", "MOVED ", ""]),
                choices.pick(HOSTS),
            );
            format!("{name} {slot} {host}:{port}")
        }
    };
    let error = Error::from_server(text.as_bytes());
    let Some((slot, to)) = destination(error.message(), &asked()) else {
        return;
    };
    is_a_place(&to);
    assert!(usize::from(slot) < SLOTS);
    let again = destination(&format!("MOVED {slot} {to}"), &asked());
    assert_eq!(again, Some((slot, to)), "{text:?}");
}

/// One value of a reply, of the kind that belongs there more often than not.
struct Maker<'a, 'b> {
    choices: &'a mut Choices<'b>,
    wire: String,
}

impl Maker<'_, '_> {
    fn array(&mut self, len: usize) {
        // One that is too short or too long makes a different reply of what follows, or none.
        let mark = self.choices.pick(&["*", "*", "*", "*", "*", "~", "%"]);
        let len = match self.choices.one_in(16) {
            true => self.choices.below(8),
            false => len,
        };
        let _ = write!(self.wire, "{mark}{len}\r\n");
    }

    fn text(&mut self, text: &str) {
        let _ = write!(self.wire, "${}\r\n{text}\r\n", text.len());
    }

    fn one_of(&mut self, of: &[&str]) {
        let text = self.choices.pick(of).to_owned();
        self.text(&text);
    }

    fn number(&mut self, usual: i64) {
        match self.choices.below(12) {
            0 => self.one_of(NUMBERS),
            1 => self.wire += "$-1\r\n",
            2 => self.wire += "*0\r\n",
            3 => {
                let any = [-1, 0, 16383, 16384, 65536, i64::MAX][self.choices.below(6)];
                let _ = write!(self.wire, ":{any}\r\n");
            }
            _ => _ = write!(self.wire, ":{usual}\r\n"),
        }
    }
}

fn slot_map(choices: &mut Choices<'_>) {
    let rows = choices.below(5);
    let wire = String::from("*2\r\n");
    let mut maker = Maker { choices, wire };
    maker.array(rows);
    let mut next = 0;
    for _ in 0..rows {
        let last = next + maker.choices.below(9000) as i64;
        let nodes = maker.choices.below(4);
        maker.array(2 + nodes);
        maker.number(next);
        maker.number(last);
        next = last + 1;
        for _ in 0..nodes {
            maker.array(4);
            maker.one_of(HOSTS);
            let port = 1 + maker.choices.below(4) as i64;
            maker.number(port);
            maker.text("id");
            maker.array(2);
            maker.one_of(&["ip", "hostname"]);
            maker.one_of(HOSTS);
        }
    }
    maker.text("cluster_state:ok");
    let Some(reply) = read_whole(maker.wire.as_bytes()) else {
        return;
    };
    let draft = match Draft::read(&reply, &asked()) {
        Ok(draft) => draft,
        Err(error) => return names_the_node(&error),
    };
    let places = draft.shards.iter();
    places
        .flat_map(|(primary, replicas)| std::iter::once(primary).chain(replicas))
        .for_each(is_a_place);
    assert!(!draft.slots.is_empty());
    let mut owners = vec![None; SLOTS];
    for (first, last, shard) in draft.slots {
        assert!(shard < draft.shards.len());
        for slot in first..=last {
            let other = owners[usize::from(slot)].replace(shard);
            assert!(
                other.is_none_or(|other| other == shard),
                "slot {slot} twice"
            );
        }
    }
}

fn sentinel(choices: &mut Choices<'_>) {
    let wire = String::from("*2\r\n");
    let mut maker = Maker { choices, wire };
    maker.row();
    let rows = maker.choices.below(4);
    maker.array(rows);
    (0..rows).for_each(|_| maker.row());
    let Some(reply) = read_whole(maker.wire.as_bytes()) else {
        return;
    };
    match Word::read(&reply, &asked(), "mymaster") {
        Ok(word) => {
            is_a_place(&word.primary);
            word.replicas.iter().for_each(is_a_place);
        }
        Err(error) => names_the_node(&error),
    }
}

impl Maker<'_, '_> {
    /// What a sentinel tells of one server.
    fn row(&mut self) {
        let pairs = self.choices.below(6);
        if self.choices.one_in(20) {
            self.wire += "-ERR No such master with that name\r\n";
            return;
        }
        self.array(4 + 2 * pairs);
        self.text("ip");
        self.one_of(HOSTS);
        self.text("port");
        self.one_of(NUMBERS);
        for _ in 0..pairs {
            self.one_of(&["flags", "config-epoch", "ip", "port", "name"]);
            self.one_of(&["slave", "s_down,slave,disconnected", "7", "-1", "x", ""]);
        }
    }
}

#[cfg(test)]
#[test]
fn fuzz_topology() {
    crate::fuzz::seeded(
        "fuzz_topology",
        |seed| crate::fuzz::random(seed, 200),
        topology,
    );
}
