//! What streams are answered: pages of messages, and where groups stand.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::config::Config;
use crate::fuzz::Choices;
use crate::manager::Manager;
use crate::stream::channel::Channel;
use crate::stream::groups;
use crate::stream::names;
use crate::stream::options::ChannelOptions;
use crate::stream::page::{Arena, Page, Spares};
use crate::stream::received::{Received, Unreadable};
use crate::stream::shared::Shared;
use crate::stream::wire::entries;
use crate::transport::Reply;
use crate::transport::fuzz::read_whole;

const BODIES: &[&[u8]] = &[
    b"7",
    b"{}",
    br#"{"id":1}"#,
    b"\"text\"",
    b"null",
    b"",
    b"{id:1}",
    b"[1,",
    b"\"\xff\"",
    b" 1 ",
    b"NaN",
    b"1 2",
];
const NAMES: &[&[u8]] = &[b"order.created", b"", b"name", b"\xff", "\u{e9}".as_bytes()];
const FIELDS: &[&[u8]] = &[b"name", b"body", b"other", b"", b"Name"];

/// What a message should be read as.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Message(Vec<u8>, Vec<u8>),
    Trimmed,
    Bad,
}

struct Maker<'a, 'b> {
    choices: &'a mut Choices<'b>,
    wire: Vec<u8>,
    /// Something is not as a server would say it.
    odd: bool,
}

impl Maker<'_, '_> {
    fn put(&mut self, text: &str) {
        self.wire.extend_from_slice(text.as_bytes());
    }

    /// A header of an aggregate; now and then another one.
    fn header(&mut self, mark: &str, len: usize) {
        if self.choices.one_in(24) {
            self.odd = true;
            let mark = self.choices.pick(&["*", "%", "~", "$", ":"]);
            let len = self.choices.below(5);
            return self.put(&format!("{mark}{len}\r\n"));
        }
        self.put(&format!("{mark}{len}\r\n"));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        match self.choices.below(48) {
            0 => self.put("$-1\r\n"),
            1 => self.put(":5\r\n"),
            2 => self.put("*0\r\n"),
            _ => {
                self.put(&format!("${}\r\n", bytes.len()));
                self.wire.extend_from_slice(bytes);
                return self.put("\r\n");
            }
        }
        self.odd = true;
    }

    fn message(&mut self, id: &str) -> Fate {
        let deliveries = self.choices.one_in(3);
        self.header("*", 2 + usize::from(deliveries));
        self.bytes(id.as_bytes());
        let fate = self.fields();
        if deliveries {
            let count = self
                .choices
                .pick(&["1", "2", "-1", "9223372036854775807"])
                .to_owned();
            self.put(&format!(":{count}\r\n"));
        }
        fate
    }

    fn fields(&mut self) -> Fate {
        if self.choices.one_in(6) {
            let nil = self
                .choices
                .pick(&["*-1\r\n", "$-1\r\n", "_\r\n"])
                .to_owned();
            self.put(&nil);
            return Fate::Trimmed;
        }
        let pairs = self.choices.below(5);
        let map = self.choices.one_in(4);
        self.header(
            if map { "%" } else { "*" },
            if map { pairs } else { 2 * pairs },
        );
        let (mut name, mut body) = (None, None);
        for _ in 0..pairs {
            let field = self.choices.pick(FIELDS);
            let value = match field {
                b"body" => self.choices.pick(BODIES),
                _ => self.choices.pick(NAMES),
            };
            self.bytes(field);
            self.bytes(value);
            match field {
                b"name" => _ = name.get_or_insert(value),
                b"body" => _ = body.get_or_insert(value),
                _ => {}
            }
        }
        let json = |body: &[u8]| serde_json::from_slice::<serde_json::Value>(body).is_ok();
        match (name, body) {
            (Some(name), Some(body)) if std::str::from_utf8(name).is_ok() && json(body) => {
                Fate::Message(name.to_vec(), body.to_vec())
            }
            _ => Fate::Bad,
        }
    }
}

/// Nobody listens there, and nothing is sent.
fn channel() -> &'static Arc<Channel> {
    static CHANNEL: OnceLock<(Manager, Arc<Channel>)> = OnceLock::new();
    let (_, channel) = CHANNEL.get_or_init(|| {
        let config = Config::new()
            .url("redis://127.0.0.1:1")
            .health_check_interval(Duration::ZERO)
            .cleanup_interval(Duration::ZERO);
        let keep = Manager::open_config(&config).expect("opening is lazy");
        let shared = Shared::new(keep.client(), names::consumer("listener"));
        let group = names::group("orders", "listener");
        let options = ChannelOptions::new();
        let channel = Channel::new("orders", group, "{orders}:dead".to_owned(), options, shared);
        (keep, channel)
    });
    channel
}

/// Each message is read as what it is, and what no server would say as whatever it is, without a panic.
pub fn streams(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let (map, count) = (choices.one_in(2), choices.below(6));
    let mut maker = Maker {
        choices: &mut choices,
        wire: Vec::new(),
        odd: false,
    };
    // RESP3 has a map of names and entries, RESP2 an array of pairs.
    match map {
        true => maker.header("%", 1),
        false => {
            maker.header("*", 1);
            maker.header("*", 2);
        }
    }
    maker.bytes(b"orders");
    maker.header("*", count);
    let fates: Vec<Fate> = (0..count)
        .map(|n| maker.message(&format!("{n}-0")))
        .collect();
    let Maker { wire, odd, .. } = maker;
    let Some(reply) = read_whole(&wire) else {
        assert!(odd, "{}", wire.escape_ascii());
        return;
    };
    let all: Vec<_> = [*reply.root()]
        .into_iter()
        .chain(reply.entries.clone())
        .collect();
    for entry in all {
        let _ = groups::last_delivered(&reply, &entry, "orders:listener:cg");
        // Any part of it may stand where entries belong, as where messages are claimed.
        read_page(&reply, &entry);
    }
    let found = entries(&reply, reply.root()).map(|entry| read_page(&reply, entry));
    let wanted = fates.into_iter().enumerate();
    let wanted: Vec<_> = wanted.map(|(n, fate)| (format!("{n}-0"), fate)).collect();
    assert!(
        odd || found.as_ref() == Some(&wanted),
        "{found:?}, not {wanted:?}: {}",
        wire.escape_ascii()
    );
}

fn read_page(reply: &Reply, entry: &crate::transport::Entry) -> Vec<(String, Fate)> {
    let spares = Arc::new(Spares::default());
    let arena = Arena::new(reply.clone(), &spares);
    let page = Arc::new(Page::new(channel(), &arena, entry, false));
    let mut received = Received::on(page.clone());
    let mut found = Vec::new();
    for at in 0..page.len() {
        let fate = match received.point_at(at) {
            Ok(()) => {
                let (name, body) = (received.name(), received.body());
                assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
                Fate::Message(name.as_bytes().to_vec(), body.as_bytes().to_vec())
            }
            Err(Unreadable::Trimmed) => Fate::Trimmed,
            Err(Unreadable::Bad(_)) => Fate::Bad,
        };
        let _ = (received.deliveries(), page.id_bytes(at));
        found.push((received.id().to_owned(), fate));
    }
    found
}

#[cfg(test)]
#[test]
fn fuzz_streams() {
    crate::fuzz::seeded(
        "fuzz_streams",
        |seed| crate::fuzz::random(seed, 160),
        streams,
    );
}
