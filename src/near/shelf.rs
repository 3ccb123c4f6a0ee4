//! What is kept, and when it may be handed out.
//!
//! ```text
//!  find ──> an entry that is not over, of a node that still tells of changes: a hit
//!  ticket ─> a placeholder, before the server is asked
//!  keep ───> the answer takes the placeholder's place; where that has gone, somebody has changed the key: not kept
//! ```
//!
//! Why no thread ever sees an older value than before: whoever asks the server does so under a placeholder, and what it
//! gets is kept only if that is still there. A change that the server executed after the answer removes the placeholder
//! or the value when it is told. Several may ask under one placeholder: where their answers differ, the key was changed
//! between them, and nothing is kept. And whoever cannot keep its answer removes what is there, which may be older. The
//! fields of a hash are all of one moment: with one that is not known yet, those that are known are asked for again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use quick_cache::sync::{Cache, EntryAction, EntryResult};
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use crate::near::tally::Tally;
use crate::node::Witness;
use crate::sys;

/// What an entry takes beside its key and its value, about, and a field of a hash beside its name and its value.
const ENTRY: usize = 200;
const FIELD: usize = 110;
/// More of a hash than this is not asked for again for the sake of one more field.
const ASKED_AGAIN: usize = 64 << 10;
/// Keys longer than this are not kept.
const LONGEST_KEY: usize = 4096;
/// The cache is divided; each part has room for this much at least.
const PART: usize = 1 << 20;
const PARTS: usize = 16;
/// Nodes have a cell each. Where there are more, two share one: sound, and of use to one of them at a time.
const CELLS: usize = 256;
/// By how much the coarse clock may be behind, in milliseconds, on any kernel.
const GRAIN: u64 = 10;

/// A field of a hash, or a value: none if there is none.
pub(super) type Bytes = Option<Arc<[u8]>>;

/// The fields of a hash that are known.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Hash {
    fields: HashMap<Box<[u8]>, Bytes>,
    /// There are no others.
    whole: bool,
    weight: usize,
}

#[derive(Clone)]
enum What {
    /// Somebody is asking.
    Pending,
    Text(Bytes),
    Hash(Arc<Hash>),
}

/// The node that an entry is of, and since when it tells of changes without a break.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Mark {
    pub(super) cell: usize,
    pub(super) epoch: u64,
}

#[derive(Clone)]
struct Entry {
    what: What,
    ticket: u64,
    mark: Mark,
    /// By the coarse clock.
    until: u64,
}

/// The right to keep what the server answers.
#[derive(Clone)]
pub(super) struct Ticket {
    number: u64,
    /// What is known of a hash: the answer has to tell of all that, too.
    pub(super) known: Option<Arc<Hash>>,
    /// When it was given out.
    at: u64,
}

/// What the server answered.
#[derive(Clone)]
pub(super) enum Answer {
    Text(Bytes),
    /// Some fields of a hash.
    Part(Arc<Hash>),
    Whole(Arc<Hash>),
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Vec<u8>, Entry> for Weigh {
    fn weight(&self, key: &Vec<u8>, entry: &Entry) -> u64 {
        entry.weight(key) as u64
    }
}

#[derive(Clone)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Vec<u8>, Entry> for Evictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Vec<u8>, entry: Entry) {
        if !matches!(entry.what, What::Pending) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(super) struct Shelf {
    cache: Cache<Vec<u8>, Entry, Weigh, DefaultHashBuilder, Evictions>,
    /// The epoch of each node; 0 while it does not tell of changes.
    cells: Box<[AtomicU64]>,
    next_cell: AtomicUsize,
    next_epoch: AtomicU64,
    next_ticket: AtomicU64,
    /// What one entry may take at most; 0: nothing is kept.
    largest: usize,
    /// How long an entry is kept at most, in milliseconds.
    ttl: u64,
    evictions: Arc<AtomicU64>,
    pub(super) tally: Tally,
}

impl Shelf {
    pub(super) fn new(max_bytes: usize, ttl: u64) -> Shelf {
        let evictions: Arc<AtomicU64> = Arc::default();
        let options = OptionsBuilder::new()
            .shards((max_bytes / PART).clamp(1, PARTS))
            .weight_capacity(max_bytes.max(1) as u64)
            // For as many, memory is kept to remember what was evicted.
            .estimated_items_capacity((max_bytes / 1024).max(32 * PARTS))
            .build()
            .expect("both numbers are given");
        let lifecycle = Evictions(evictions.clone());
        let cache = Cache::with_options(options, Weigh, DefaultHashBuilder::default(), lifecycle);
        let part = usize::try_from(cache.shard_capacity()).unwrap_or(usize::MAX);
        Shelf {
            largest: if max_bytes == 0 { 0 } else { part / 10 * 9 },
            cache,
            cells: (0..CELLS).map(|_| AtomicU64::new(0)).collect(),
            next_cell: AtomicUsize::new(0),
            next_epoch: AtomicU64::new(1),
            next_ticket: AtomicU64::new(1),
            ttl,
            evictions,
            tally: Tally::default(),
        }
    }

    /// The value of a key, if it is known: none if there is none.
    #[inline]
    pub(super) fn text(&self, key: &[u8]) -> Option<Bytes> {
        match self.find(key)? {
            What::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn field(&self, key: &[u8], field: &[u8]) -> Option<Bytes> {
        match self.find(key)? {
            What::Hash(hash) => hash.get(field),
            _ => None,
        }
    }

    pub(super) fn hash(&self, key: &[u8]) -> Option<Arc<Hash>> {
        match self.find(key)? {
            What::Hash(hash) => hash.whole.then_some(hash),
            _ => None,
        }
    }

    #[inline]
    fn find(&self, key: &[u8]) -> Option<What> {
        let entry = self.cache.get(key)?;
        self.is_live(&entry).then_some(entry.what)
    }

    #[inline]
    fn is_live(&self, entry: &Entry) -> bool {
        self.holds(entry.mark) && sys::coarse_millis() < entry.until
    }

    #[inline]
    fn holds(&self, mark: Mark) -> bool {
        self.cells[mark.cell].load(Ordering::Acquire) == mark.epoch
    }

    /// Before the server is asked. None if the answer cannot be kept.
    pub(super) fn ticket(&self, key: &[u8], mark: Mark) -> Option<Ticket> {
        if key.len() > LONGEST_KEY || ENTRY + key.len() > self.largest || !self.holds(mark) {
            return None;
        }
        let at = sys::coarse_millis();
        let fresh = || Entry {
            what: What::Pending,
            ticket: self.next_ticket.fetch_add(1, Ordering::Relaxed),
            mark,
            // As long as nobody has an answer, it does not grow old.
            until: u64::MAX,
        };
        let found = self.cache.entry(key, None, |_, entry| {
            if entry.mark == mark && self.is_live(entry) {
                return EntryAction::Retain((entry.ticket, entry.what.known()));
            }
            EntryAction::ReplaceWithGuard
        });
        let (number, known) = match found {
            EntryResult::Retained(found) => found,
            EntryResult::Vacant(guard) | EntryResult::Replaced(guard, _) => {
                let entry = fresh();
                let number = entry.ticket;
                // Should it have been removed already, the answer will find that out.
                let _ = guard.insert(entry);
                (number, None)
            }
            EntryResult::Removed(..) | EntryResult::Timeout => return None,
        };
        Some(Ticket { number, known, at })
    }

    /// Keeps an answer that was asked for under this ticket, and that the server says will live for so many more
    /// milliseconds; none: for ever.
    pub(super) fn keep(&self, key: &[u8], ticket: Ticket, answer: Answer, lives: Option<u64>) {
        let time = lives.map_or(self.ttl, |lives| self.ttl.min(lives));
        let until = ticket.at + time.saturating_sub(GRAIN);
        let found = self.cache.entry(key, None, |_, entry| {
            match (entry.ticket == ticket.number).then(|| entry.what.compare(&answer)) {
                Some(Compared::Known) => EntryAction::Retain(()),
                Some(Compared::New) => EntryAction::ReplaceWithGuard,
                Some(Compared::Different) | None => EntryAction::Remove,
            }
        });
        if let EntryResult::Replaced(guard, old) = found {
            let entry = Entry {
                what: answer.into(),
                ticket: old.ticket,
                mark: old.mark,
                until: until.min(old.until),
            };
            // Dropped without having been used, the guard leaves nothing behind.
            if entry.weight(key) <= self.largest {
                // If the key was changed in this moment, it is not there any more.
                let _ = guard.insert(entry);
            }
        }
    }

    /// Forgets a key. True if its value was known.
    pub(super) fn forget(&self, key: &[u8]) -> bool {
        let removed = self.cache.remove(key);
        removed.is_some_and(|(_, entry)| !matches!(entry.what, What::Pending))
    }

    /// Its value was changed.
    pub(super) fn changed(&self, key: &[u8]) {
        if key.len() <= LONGEST_KEY && self.forget(key) {
            self.tally.invalidations.add();
        }
    }

    pub(super) fn clear(&self) {
        self.cache.clear();
    }

    pub(super) fn new_cell(&self) -> usize {
        self.next_cell.fetch_add(1, Ordering::Relaxed) % CELLS
    }

    /// A node tells of changes from now on.
    pub(super) fn begin(&self, cell: usize) -> u64 {
        let epoch = self.next_epoch.fetch_add(1, Ordering::Relaxed);
        self.cells[cell].store(epoch, Ordering::Release);
        epoch
    }

    /// It does not any more: nothing of it is handed out from here on.
    pub(super) fn end(&self, mark: Mark) {
        self.cells[mark.cell].store(0, Ordering::Release);
        self.cache.retain(|_, entry| entry.mark != mark);
        self.tally.emptied.add();
    }

    pub(super) fn entries(&self) -> u64 {
        self.cache.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }
}

impl Witness for Shelf {
    fn wrote(&self, argument: &[u8]) {
        self.changed(argument);
    }

    fn wrote_anything(&self) {
        self.tally.emptied.add();
        self.clear();
    }
}

enum Compared {
    Known,
    New,
    /// The key was changed between two answers.
    Different,
}

impl What {
    fn compare(&self, answer: &Answer) -> Compared {
        let same = |same| match same {
            true => Compared::Known,
            false => Compared::Different,
        };
        match (self, answer) {
            (What::Pending, _) => Compared::New,
            (What::Text(old), Answer::Text(new)) => same(old == new),
            (What::Hash(old), Answer::Part(new)) if old.whole => same(new.agrees_with(old)),
            (What::Hash(old), Answer::Part(new)) => match old.agrees_with(new) {
                true if old.fields.len() == new.fields.len() => Compared::Known,
                true => Compared::New,
                false => Compared::Different,
            },
            (What::Hash(old), Answer::Whole(new)) if old.whole => same(old == new),
            (What::Hash(old), Answer::Whole(new)) => match old.agrees_with(new) {
                true => Compared::New,
                false => Compared::Different,
            },
            (What::Text(_), _) | (What::Hash(_), Answer::Text(_)) => Compared::Different,
        }
    }

    fn known(&self) -> Option<Arc<Hash>> {
        match self {
            What::Hash(hash) if hash.weight <= ASKED_AGAIN => Some(hash.clone()),
            _ => None,
        }
    }
}

impl From<Answer> for What {
    fn from(answer: Answer) -> What {
        match answer {
            Answer::Text(text) => What::Text(text),
            Answer::Part(hash) | Answer::Whole(hash) => What::Hash(hash),
        }
    }
}

impl Entry {
    fn weight(&self, key: &[u8]) -> usize {
        let value = match &self.what {
            What::Pending => 0,
            What::Text(text) => text.as_ref().map_or(0, |text| text.len()),
            What::Hash(hash) => hash.weight,
        };
        ENTRY + key.len() + value
    }
}

impl Hash {
    pub(super) fn whole(fields: impl IntoIterator<Item = (Box<[u8]>, Arc<[u8]>)>) -> Hash {
        let fields = fields.into_iter();
        Hash {
            whole: true,
            ..Hash::part(fields.map(|(name, value)| (name, Some(value))))
        }
    }

    pub(super) fn part(fields: impl IntoIterator<Item = (Box<[u8]>, Bytes)>) -> Hash {
        let mut hash = Hash::default();
        for (name, value) in fields {
            hash.weight += FIELD + name.len() + value.as_ref().map_or(0, |value| value.len());
            hash.fields.insert(name, value);
        }
        hash
    }

    /// Whether the other says the same of every field that is known here.
    fn agrees_with(&self, other: &Hash) -> bool {
        let mut fields = self.fields.iter();
        fields.all(|(name, value)| other.get(name).as_ref() == Some(value))
    }

    /// The names of the fields that are known.
    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.fields.keys().map(|name| &**name)
    }

    /// The value of a field, if it is known.
    pub(super) fn get(&self, name: &[u8]) -> Option<Bytes> {
        match self.fields.get(name) {
            Some(value) => Some(value.clone()),
            None => self.whole.then_some(None),
        }
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let known = self.fields.iter();
        known.filter_map(|(name, value)| Some((&**name, &**value.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Room {
        shelf: Shelf,
        mark: Mark,
    }

    fn room(max_bytes: usize) -> Room {
        let shelf = Shelf::new(max_bytes, 3_600_000);
        let cell = shelf.new_cell();
        let epoch = shelf.begin(cell);
        let mark = Mark { cell, epoch };
        Room { shelf, mark }
    }

    fn text(value: &str) -> Answer {
        Answer::Text(Some(value.as_bytes().into()))
    }

    fn part(pairs: &[(&str, &str)]) -> Answer {
        let pairs = (pairs.iter()).map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let hash = Hash::part(pairs.map(|(name, value)| (name.into(), Some(value.into()))));
        Answer::Part(Arc::new(hash))
    }

    fn whole(pairs: &[(&str, &str)]) -> Answer {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let hash = Hash::whole(pairs.map(|(name, value)| (name.into(), value.into())));
        Answer::Whole(Arc::new(hash))
    }

    impl Room {
        fn ticket(&self) -> Ticket {
            self.shelf.ticket(b"k", self.mark).expect("a ticket")
        }

        fn keep(&self, ticket: Ticket, answer: Answer) {
            self.shelf.keep(b"k", ticket, answer, None);
        }

        fn known(&self) -> Option<String> {
            let text = self.shelf.text(b"k")?;
            text.map(|text| String::from_utf8_lossy(&text).into_owned())
        }

        fn known_field(&self, name: &str) -> Option<Bytes> {
            self.shelf.field(b"k", name.as_bytes())
        }
    }

    #[test]
    fn an_answer_takes_the_place_of_its_placeholder() {
        let room = room(1 << 20);
        let ticket = room.ticket();
        assert_eq!(room.known(), None);
        room.keep(ticket, text("1"));
        assert_eq!(room.known().as_deref(), Some("1"));
    }

    #[test]
    fn a_change_between_question_and_answer_is_not_lost() {
        let room = room(1 << 20);
        let ticket = room.ticket();
        room.shelf.changed(b"k");
        room.keep(ticket.clone(), text("1"));
        assert_eq!(room.known(), None);
        // And nothing is left that a later one could take for its own.
        let (old, new) = (ticket, room.ticket());
        room.keep(old, text("1"));
        assert_eq!(room.known(), None);
        room.keep(new, text("2"));
        assert_eq!(room.known(), None);
        assert_eq!(room.shelf.entries(), 0);
    }

    #[test]
    fn two_answers_under_one_placeholder_have_to_agree() {
        let room = room(1 << 20);
        for (second, left) in [("1", Some("1")), ("2", None)] {
            room.shelf.clear();
            let (a, b) = (room.ticket(), room.ticket());
            room.keep(a, text("1"));
            room.keep(b, text(second));
            assert_eq!(room.known().as_deref(), left);
        }
    }

    #[test]
    fn nothing_is_handed_out_of_a_node_that_tells_no_changes() {
        let room = room(1 << 20);
        room.keep(room.ticket(), text("1"));
        let late = room.ticket();
        room.shelf.end(room.mark);
        assert_eq!((room.known(), room.shelf.entries()), (None, 0));
        assert!(room.shelf.ticket(b"k", room.mark).is_none());
        let epoch = room.shelf.begin(room.mark.cell);
        room.keep(late, text("1"));
        assert_eq!(room.known(), None);
        // Nor of one that another has replaced.
        let mark = Mark { epoch, ..room.mark };
        room.shelf.keep(
            b"k",
            room.shelf.ticket(b"k", mark).unwrap(),
            text("1"),
            None,
        );
        assert_eq!(room.known().as_deref(), Some("1"));
        let cell = room.shelf.new_cell();
        let epoch = room.shelf.begin(cell);
        let ticket = room.shelf.ticket(b"k", Mark { cell, epoch }).unwrap();
        assert_eq!(room.known(), None);
        room.shelf.keep(b"k", ticket, text("2"), None);
        assert_eq!(room.known().as_deref(), Some("2"));
        // Nor of one whose cell another has taken.
        room.shelf.begin(cell);
        assert_eq!((room.known(), room.shelf.entries()), (None, 1));
    }

    #[test]
    fn fields_come_together_as_long_as_nothing_changes() {
        let room = room(1 << 20);
        room.keep(room.ticket(), part(&[("a", "1")]));
        let known = room.ticket().known.expect("something is known");
        assert_eq!(known.names().collect::<Vec<_>>(), [b"a"]);
        room.keep(room.ticket(), part(&[("b", "2"), ("a", "1")]));
        assert_eq!(room.known_field("a"), Some(Some(b"1"[..].into())));
        assert_eq!(room.known_field("b"), Some(Some(b"2"[..].into())));
        assert_eq!(room.known_field("c"), None);
        assert!(room.shelf.hash(b"k").is_none());
        room.keep(room.ticket(), whole(&[("a", "1"), ("b", "2")]));
        assert_eq!(room.known_field("c"), Some(None));
        assert_eq!(room.shelf.hash(b"k").unwrap().fields().count(), 2);
        room.keep(room.ticket(), part(&[("a", "1")]));
        assert_eq!(room.shelf.hash(b"k").unwrap().fields().count(), 2);
        // What does not fit together was changed in between; of what is not told of, nobody knows.
        for (first, second) in [
            (whole(&[("a", "1")]), whole(&[("a", "1"), ("b", "2")])),
            (whole(&[("a", "1")]), part(&[("b", "2")])),
            (part(&[("a", "1")]), whole(&[("b", "2")])),
            (part(&[("a", "1")]), part(&[("a", "2"), ("b", "2")])),
            (part(&[("a", "1")]), part(&[("b", "2")])),
            (part(&[("a", "1")]), text("1")),
            (text("1"), part(&[("a", "1")])),
        ] {
            room.shelf.clear();
            room.keep(room.ticket(), first);
            assert_eq!(room.shelf.entries(), 1);
            room.keep(room.ticket(), second);
            assert_eq!(room.shelf.entries(), 0);
        }
    }

    #[test]
    fn all_of_it_stays_within_the_bound() {
        const BOUND: usize = 64 << 10;
        let room = room(BOUND);
        let names: Vec<String> = (0..400).map(|i| i.to_string()).collect();
        let grown = |n: usize| {
            let pairs: Vec<_> = names[..n].iter().map(|name| (&**name, "value")).collect();
            part(&pairs)
        };
        for i in 0..3000 {
            let key = format!("key{i}").into_bytes();
            let ticket = room.shelf.ticket(&key, room.mark).unwrap();
            (room.shelf).keep(&key, ticket, text(&"x".repeat(100)), None);
            // Those that grow in their place, too.
            let hash = format!("hash{}", i % 7).into_bytes();
            let ticket = room.shelf.ticket(&hash, room.mark).unwrap();
            room.shelf.keep(&hash, ticket, grown(i / 7 % 400), None);
            assert!(room.shelf.bytes() <= BOUND as u64);
        }
        assert!(room.shelf.evictions() > 0);
        room.keep(room.ticket(), text(&"x".repeat(BOUND)));
        assert_eq!(room.known(), None);
    }

    #[test]
    fn what_expires_is_not_handed_out() {
        let room = room(1 << 20);
        room.shelf.keep(b"k", room.ticket(), text("1"), Some(GRAIN));
        assert_eq!(room.known(), None);
        room.shelf
            .keep(b"k", room.ticket(), text("1"), Some(60_000));
        assert_eq!(room.known().as_deref(), Some("1"));
    }

    #[test]
    fn without_room_nothing_is_kept() {
        assert!(room(0).shelf.ticket(b"k", room(0).mark).is_none());
        let room = room(1 << 20);
        let long = vec![b'x'; LONGEST_KEY + 1];
        assert!(room.shelf.ticket(&long, room.mark).is_none());
    }
}
