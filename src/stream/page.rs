//! Messages as they came from the server: many of them share one buffer, which is used again when all are done.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::clock::Moment;
use crate::fork::lock;
use crate::stream::channel::Channel;
use crate::transport::{Entry, Kind, Reply};

/// A buffer of more bytes is given back instead of being kept.
const KEPT: usize = 1 << 20;
/// So many buffers are kept.
const SPARES: usize = 4;

/// Buffers for the next replies.
#[derive(Default)]
pub(super) struct Spares(Mutex<Vec<Reply>>);

impl Spares {
    pub(super) fn take(&self) -> Reply {
        lock(&self.0).pop().unwrap_or_default()
    }

    fn put(&self, mut reply: Reply) {
        reply.clear();
        reply.trim(KEPT);
        let mut spares = lock(&self.0);
        if spares.len() < SPARES {
            spares.push(reply);
        }
    }
}

/// A reply that messages are read from. It goes back to the spare ones with the last of them.
pub(super) struct Arena {
    pub(super) reply: Reply,
    home: Arc<Spares>,
}

impl Arena {
    pub(super) fn new(reply: Reply, home: &Arc<Spares>) -> Arc<Arena> {
        let home = home.clone();
        Arc::new(Arena { reply, home })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.home.put(std::mem::take(&mut self.reply));
    }
}

/// How far a message of a page has come.
pub(super) mod mark {
    /// Nobody has begun.
    pub(crate) const WAITING: u8 = 0;
    /// Its handler runs.
    pub(crate) const RUNNING: u8 = 1;
    /// Whoever polled it has it.
    pub(crate) const HELD: u8 = 2;
    /// What was to be done about it has been done.
    pub(crate) const DONE: u8 = 3;
}

/// The messages of one channel in one reply.
pub(super) struct Page {
    pub(super) channel: Arc<Channel>,
    arena: Arc<Arena>,
    /// Where they stand in the reply's table.
    first: usize,
    marks: Box<[AtomicU8]>,
    left: AtomicUsize,
    pub(super) since: Moment,
    /// Our own handlers failed on these before, so that the ledger, which knows them, must not stop them.
    pub(super) again: bool,
}

impl Page {
    /// Of the entries that an array of the reply holds.
    pub(super) fn new(
        channel: &Arc<Channel>,
        arena: &Arc<Arena>,
        entries: &Entry,
        again: bool,
    ) -> Page {
        let count = arena.reply.children(entries).len();
        Page {
            channel: channel.clone(),
            arena: arena.clone(),
            first: entries.start,
            marks: (0..count).map(|_| AtomicU8::new(mark::WAITING)).collect(),
            left: AtomicUsize::new(count),
            since: Moment::now(),
            again,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.marks.len()
    }

    /// Moves a message on; false if it was not where it should have been.
    pub(super) fn advance(&self, at: usize, from: u8, to: u8) -> bool {
        let moved = self.marks[at].compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        moved.is_ok()
    }

    pub(super) fn mark(&self, at: usize) -> u8 {
        self.marks[at].load(Ordering::Acquire)
    }

    /// Called once for each message.
    pub(super) fn done(&self, at: usize) {
        self.marks[at].store(mark::DONE, Ordering::Release);
    }

    /// So many more are done; true if those were the last.
    pub(super) fn leave(&self, count: usize) -> bool {
        self.left.fetch_sub(count, Ordering::AcqRel) == count
    }

    /// The ids of those that are not done, of one kind or of all.
    pub(super) fn ids(&self, which: impl Fn(u8) -> bool) -> Vec<&str> {
        let places = 0..self.len();
        let open = places.filter(|at| which(self.mark(*at)));
        open.map(|at| self.id(at)).collect()
    }

    fn parts(&self, at: usize) -> &[Entry] {
        let reply = &self.arena.reply;
        let entry = reply.entries.get(self.first + at);
        entry.map_or(&[], |entry| reply.children(entry))
    }

    pub(super) fn bytes(&self, entry: &Entry) -> &[u8] {
        self.arena.reply.bytes_of(entry)
    }

    pub(super) fn id_bytes(&self, at: usize) -> &[u8] {
        self.parts(at).first().map_or(&[], |id| self.bytes(id))
    }

    pub(super) fn id(&self, at: usize) -> &str {
        std::str::from_utf8(self.id_bytes(at)).unwrap_or_default()
    }

    /// Names and values in turn; none if the entry was trimmed.
    pub(super) fn fields(&self, at: usize) -> Option<&[Entry]> {
        let fields = self.parts(at).get(1)?;
        match fields.kind {
            // RESP3 may make a map of them some day.
            Kind::Array | Kind::Map => Some(self.arena.reply.children(fields)),
            _ => None,
        }
    }

    /// How often it was delivered, this time included: our scripts tell, and a first delivery goes without saying.
    pub(super) fn deliveries(&self, at: usize) -> i64 {
        let third = self.parts(at).get(2);
        third.and_then(Entry::integer).unwrap_or(1)
    }
}

/// Which of a page's messages are handled by those who work on it together.
pub(super) struct Chunk {
    pub(super) page: Arc<Page>,
    /// None: all of them.
    which: Option<Vec<u32>>,
    next: AtomicUsize,
}

impl Chunk {
    pub(super) fn new(page: Arc<Page>, which: Option<Vec<u32>>) -> Chunk {
        let next = AtomicUsize::new(0);
        Chunk { page, which, next }
    }

    /// The next message that nobody has begun.
    pub(super) fn next(&self) -> Option<usize> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        match &self.which {
            None => (next < self.page.len()).then_some(next),
            Some(which) => which.get(next).map(|at| *at as usize),
        }
    }
}
