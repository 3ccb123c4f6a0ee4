//! Who listens to what, and what the server has confirmed of it.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::error::{Error, Result};
use crate::node::listener::link::Link;
use crate::node::listener::{Kind, Message, Sink};

/// How a name stands with the server, on the present connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Absent,
    /// A subscription was asked for, under this number: an answer to an earlier one is none to this.
    Asked(u64),
    Confirmed,
}

/// One name, and everybody who subscribed to it.
struct Topic {
    standing: Standing,
    listening: Vec<Listening>,
}

pub(super) struct Listening {
    pub(super) id: u64,
    pub(super) sink: Arc<dyn Sink>,
    /// There until the subscription is confirmed for the first time.
    pub(super) answer: Option<Sender<Result<()>>>,
}

impl Listening {
    /// It is confirmed. True if it was before, and missed what came in between.
    fn confirm(&mut self) -> bool {
        match self.answer.take() {
            Some(answer) => {
                // Whoever gave up waiting has sent word that it did.
                let _ = answer.try_send(Ok(()));
                false
            }
            None => true,
        }
    }
}

#[derive(Default)]
pub(super) struct Topics {
    /// By the number of their kind.
    maps: [HashMap<Arc<[u8]>, Topic>; 3],
    asked: u64,
}

impl Topics {
    pub(super) fn is_empty(&self) -> bool {
        self.maps.iter().all(HashMap::is_empty)
    }

    pub(super) fn add(
        &mut self,
        kind: Kind,
        name: Arc<[u8]>,
        mut listening: Listening,
        link: Option<&mut Link>,
    ) {
        let topic = self.maps[kind as usize]
            .entry(name.clone())
            .or_insert(Topic {
                standing: Standing::Absent,
                listening: Vec::new(),
            });
        if topic.standing == Standing::Confirmed {
            listening.confirm();
        }
        topic.listening.push(listening);
        if let (Standing::Absent, Some(link)) = (topic.standing, link) {
            self.asked += 1;
            topic.standing = Standing::Asked(self.asked);
            link.subscribe(kind, &name, self.asked);
        }
    }

    pub(super) fn remove(&mut self, kind: Kind, name: &[u8], id: u64, link: Option<&mut Link>) {
        let map = &mut self.maps[kind as usize];
        let Some(topic) = map.get_mut(name) else {
            return;
        };
        topic.listening.retain(|one| one.id != id);
        if topic.listening.is_empty() {
            let standing = topic.standing;
            map.remove(name);
            if let (Standing::Asked(_) | Standing::Confirmed, Some(link)) = (standing, link) {
                link.unsubscribe(kind, name);
            }
        }
    }

    /// Asks for every name that the server does not know of.
    pub(super) fn ask(&mut self, link: &mut Link) {
        for kind in Kind::ALL {
            for (name, topic) in &mut self.maps[kind as usize] {
                if topic.standing == Standing::Absent {
                    self.asked += 1;
                    topic.standing = Standing::Asked(self.asked);
                    link.subscribe(kind, name, self.asked);
                }
            }
        }
    }

    /// The connection is gone, and with it all that the server knew.
    pub(super) fn unlink(&mut self) {
        for topic in self.maps.iter_mut().flat_map(HashMap::values_mut) {
            topic.standing = Standing::Absent;
        }
    }

    /// The server no longer sends this, unasked. True if that is news.
    pub(super) fn dropped(&mut self, kind: Kind, name: &[u8]) -> bool {
        match self.maps[kind as usize].get_mut(name) {
            Some(topic) if topic.standing == Standing::Confirmed => {
                topic.standing = Standing::Absent;
                true
            }
            _ => false,
        }
    }

    pub(super) fn confirmed(&mut self, kind: Kind, name: &[u8], number: u64) {
        let topic = self.maps[kind as usize].get_mut(name);
        let Some(topic) = topic.filter(|topic| topic.standing == Standing::Asked(number)) else {
            return;
        };
        topic.standing = Standing::Confirmed;
        for one in &mut topic.listening {
            if one.confirm() {
                one.sink.gap();
            }
        }
    }

    /// The server refuses the subscription: that is the error of whoever waits for it. True if there are others, who
    /// had it before.
    pub(super) fn refused(&mut self, kind: Kind, name: &[u8], number: u64, error: &Error) -> bool {
        let map = &mut self.maps[kind as usize];
        let topic = map.get_mut(name);
        let Some(topic) = topic.filter(|topic| topic.standing == Standing::Asked(number)) else {
            return false;
        };
        topic.standing = Standing::Absent;
        topic.turn_away(error);
        if topic.listening.is_empty() {
            map.remove(name);
            return false;
        }
        for one in &topic.listening {
            one.sink.refused(error);
        }
        true
    }

    /// The server cannot be reached: that is the error of whoever waits.
    pub(super) fn turn_away(&mut self, error: &Error) {
        for map in &mut self.maps {
            map.retain(|_, topic| {
                topic.turn_away(error);
                !topic.listening.is_empty()
            });
        }
    }

    /// Those that are left wait for the server to be there again.
    pub(super) fn cannot_be_renewed(&self, error: &Error) {
        for topic in self.maps.iter().flat_map(HashMap::values) {
            topic
                .listening
                .iter()
                .for_each(|one| one.sink.refused(error));
        }
    }

    pub(super) fn deliver(&self, message: &Message<'_>) {
        let name = message.pattern.unwrap_or(message.channel);
        if let Some(topic) = self.maps[message.kind as usize].get(name) {
            for one in topic.listening.iter().filter(|one| one.answer.is_none()) {
                one.sink.message(message);
            }
        }
    }

    pub(super) fn close(&mut self) {
        self.turn_away(&Error::closed());
        for topic in self.maps.iter_mut().flat_map(HashMap::drain) {
            for one in topic.1.listening {
                one.sink.closed();
            }
        }
    }
}

impl Topic {
    fn turn_away(&mut self, error: &Error) {
        self.listening.retain(|one| match &one.answer {
            None => true,
            Some(answer) => {
                let _ = answer.try_send(Err(error.clone()));
                false
            }
        });
    }
}
