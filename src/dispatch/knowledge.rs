//! What the servers say of commands that the built-in table does not know: where their first key is, and whether they
//! only read. Each is asked for once.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::clock::Deadline;
use crate::dispatch::{Class, Dispatch, Request};
use crate::fork::lock;
use crate::transport::{Reply, command};

/// More names than this are no vocabulary, but somebody's data.
const MOST: usize = 1000;

/// What is known of one command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) key: Option<usize>,
    pub(crate) only_reads: bool,
}

#[derive(Default)]
pub(super) struct Knowledge {
    facts: Mutex<HashMap<Vec<u8>, Fact>>,
}

impl Dispatch {
    /// What a server says of this command. A server that may not or cannot say knows no key of it: the command then
    /// goes to any node, which sends it on.
    pub(crate) fn fact(&self, name: &[u8], deadline: Deadline) -> Fact {
        let name = name.to_ascii_lowercase();
        if let Some(fact) = lock(&self.knowledge.facts).get(&name) {
            return *fact;
        }
        let mut bytes = Vec::new();
        command(&mut bytes, &[b"COMMAND", b"INFO", &name]);
        let mut request = Request::new(&bytes, Class::Read, None, self.settings.command_timeout);
        request.deadline = request.deadline.min(deadline);
        let mut reply = Reply::new();
        let fact = match self.call(&request, &mut reply) {
            Ok(()) => said(&reply),
            // The next call asks again.
            Err(error) if error.is_retriable() => return Fact::default(),
            Err(_) => Fact::default(),
        };
        let mut facts = lock(&self.knowledge.facts);
        if facts.len() < MOST {
            facts.insert(name, fact);
        }
        fact
    }
}

/// `[[name, arity, [flags], first key, last key, step, ...]]`
fn said(reply: &Reply) -> Fact {
    let rows = reply.children(reply.root());
    let cells = rows.first().map(|row| reply.children(row));
    let cells = cells.unwrap_or_default();
    let first = cells.get(3).and_then(|cell| cell.integer());
    let flags = cells.get(2).map(|flags| reply.children(flags));
    let has = |name: &[u8]| {
        let mut flags = flags.unwrap_or_default().iter();
        flags.any(|flag| reply.text_of(flag) == name)
    };
    Fact {
        key: first
            .and_then(|at| usize::try_from(at).ok())
            .filter(|at| *at > 0),
        only_reads: has(b"readonly") && !has(b"blocking") && !has(b"movablekeys"),
    }
}
