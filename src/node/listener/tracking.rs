//! Who wants to be told which keys change, and what the server has promised to tell.
//!
//! It is asked by `CLIENT TRACKING ON BCAST` on the push connection itself: the server then names each key that changes,
//! whoever read it over whichever connection. So there is one thing whose loss means that changes were missed, this
//! connection, and no reader has to be known to the server. All who watch a node share one list of prefixes.

use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::clock::tell;
use crate::error::{Error, ErrorKind, Result};
use crate::node::listener::link::{Changed, Link};
use crate::node::listener::{Prefixes, Watcher};

pub(super) struct Watching {
    pub(super) id: u64,
    /// None at all: every key.
    pub(super) prefixes: Prefixes,
    pub(super) watcher: Arc<dyn Watcher>,
    /// There until it is known whether the server tells.
    pub(super) answer: Option<Sender<Result<()>>>,
}

pub(super) struct Tracking {
    node: Arc<str>,
    watching: Vec<Watching>,
    /// What the server was asked for on the present connection, under the number `asked`.
    told: Option<Vec<Box<[u8]>>>,
    asked: u64,
    confirmed: bool,
    /// That the server refuses was said in the log.
    warned: bool,
}

impl Tracking {
    pub(super) fn new(node: &Arc<str>) -> Tracking {
        Tracking {
            node: node.clone(),
            watching: Vec::new(),
            told: None,
            asked: 0,
            confirmed: false,
            warned: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.watching.is_empty()
    }

    pub(super) fn add(&mut self, watching: Watching, link: Option<&mut Link>) {
        self.watching.push(watching);
        let wanted = self.wanted();
        if self.confirmed && self.covers(&wanted) {
            let new = self.watching.last_mut().expect("it was pushed just now");
            new.watcher.begun();
            new.answer(Ok(()));
        } else if let Some(link) = link {
            self.ask(link);
        }
    }

    /// The server goes on telling what nobody wants any more as long as anybody wants anything.
    pub(super) fn remove(&mut self, id: u64, link: Option<&mut Link>) {
        self.watching.retain(|one| one.id != id);
        if let (true, Some(link)) = (self.is_empty(), link)
            && self.told.take().is_some()
        {
            self.confirmed = false;
            link.untrack();
        }
    }

    /// Asks for what is wanted, if the server was not asked for all of it. Nothing is certain until it has confirmed.
    pub(super) fn ask(&mut self, link: &mut Link) {
        let wanted = self.wanted();
        if self.is_empty() || self.covers(&wanted) {
            return;
        }
        self.lose();
        if !link.pushes() {
            let why = "the connection speaks RESP2, in which changes are not pushed";
            return self.refuse(&Error::new(ErrorKind::Protocol, why));
        }
        if self.told.is_some() {
            // Prefixes can be added, but not one that holds another.
            link.untrack();
        }
        self.asked += 1;
        link.track(&wanted, self.asked);
        self.told = Some(wanted);
    }

    /// The connection is gone.
    pub(super) fn unlink(&mut self) {
        self.lose();
        self.told = None;
    }

    pub(super) fn confirmed(&mut self, number: u64) {
        if number != self.asked || self.told.is_none() {
            return;
        }
        self.confirmed = true;
        self.warned = false;
        for one in &mut self.watching {
            one.watcher.begun();
            one.answer(Ok(()));
        }
    }

    pub(super) fn refused(&mut self, number: u64, error: &Error) {
        if number == self.asked {
            self.refuse(error);
        }
    }

    /// Changes are not told.
    fn refuse(&mut self, error: &Error) {
        self.lose();
        self.told = None;
        self.turn_away(error);
        if !std::mem::replace(&mut self.warned, true) {
            tell!(
                Warn,
                "node {} does not tell which keys change, and no copies of them are kept: {error}",
                self.node
            );
        }
    }

    /// Whoever waits is told that it will take longer. They go on watching.
    pub(super) fn turn_away(&mut self, error: &Error) {
        for one in &mut self.watching {
            one.answer(Err(error.clone()));
        }
    }

    pub(super) fn deliver(&self, changed: &Changed<'_>) {
        for one in &self.watching {
            match changed.keys() {
                Some(keys) => keys.for_each(|key| one.watcher.changed(key)),
                None => one.watcher.all_changed(),
            }
        }
    }

    /// Something happened to the node's keys that the server does not tell.
    pub(super) fn doubt(&self) {
        for one in &self.watching {
            one.watcher.all_changed();
        }
    }

    pub(super) fn close(&mut self) {
        self.turn_away(&Error::closed());
        self.lose();
        self.watching.clear();
    }

    fn lose(&mut self) {
        self.confirmed = false;
        for one in &self.watching {
            one.watcher.lost();
        }
    }

    /// All prefixes, without those that begin with another; one that is empty stands for every key.
    fn wanted(&self) -> Vec<Box<[u8]>> {
        if self.watching.iter().any(|one| one.prefixes.is_empty()) {
            return vec![Box::default()];
        }
        let mut kept: Vec<Box<[u8]>> = Vec::new();
        for new in self.watching.iter().flat_map(|one| one.prefixes.iter()) {
            if !kept.iter().any(|old| new.starts_with(old)) {
                kept.retain(|old| !old.starts_with(new));
                kept.push(new.clone());
            }
        }
        kept
    }

    fn covers(&self, wanted: &[Box<[u8]>]) -> bool {
        let told = self.told.as_deref().unwrap_or_default();
        let covered = |one: &[u8]| told.iter().any(|prefix| one.starts_with(prefix));
        wanted.iter().all(|one| covered(one))
    }
}

impl Watching {
    fn answer(&mut self, result: Result<()>) {
        if let Some(answer) = self.answer.take() {
            // Whoever gave up waiting does not need it.
            let _ = answer.try_send(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Somebody {
        begun: AtomicUsize,
    }

    impl Watcher for Somebody {
        fn begun(&self) {
            self.begun.fetch_add(1, Ordering::SeqCst);
        }
        fn lost(&self) {}
        fn changed(&self, _: &[u8]) {}
        fn all_changed(&self) {}
    }

    fn wanted(lists: &[&[&str]]) -> Vec<String> {
        let mut tracking = Tracking::new(&"node".into());
        for list in lists {
            let prefixes = list.iter().map(|prefix| Box::from(prefix.as_bytes()));
            let watching = Watching {
                id: 0,
                prefixes: prefixes.collect(),
                watcher: Arc::<Somebody>::default(),
                answer: None,
            };
            tracking.add(watching, None);
        }
        let text = |one: &[u8]| String::from_utf8_lossy(one).into_owned();
        tracking.wanted().iter().map(|one| text(one)).collect()
    }

    #[test]
    fn prefixes_do_not_overlap() {
        assert_eq!(wanted(&[&["b", "a"]]), ["b", "a"]);
        assert_eq!(wanted(&[&["user:1", "user:"], &["user"]]), ["user"]);
        assert_eq!(wanted(&[&["ab"], &["a", "b", "ab"], &["bc"]]), ["a", "b"]);
        assert_eq!(wanted(&[&["a"], &[]]), [""]);
        assert_eq!(wanted(&[&["a", ""]]), [""]);
    }

    #[test]
    fn an_answer_to_an_earlier_question_confirms_nothing() {
        let somebody = Arc::<Somebody>::default();
        let mut tracking = Tracking::new(&"node".into());
        let watching = Watching {
            id: 0,
            prefixes: Prefixes::default(),
            watcher: somebody.clone(),
            answer: None,
        };
        tracking.add(watching, None);
        (tracking.told, tracking.asked) = (Some(tracking.wanted()), 2);
        tracking.confirmed(1);
        assert_eq!(somebody.begun.load(Ordering::SeqCst), 0);
        tracking.confirmed(2);
        assert_eq!(somebody.begun.load(Ordering::SeqCst), 1);
    }
}
