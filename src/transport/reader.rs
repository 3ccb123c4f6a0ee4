//! Reads RESP2 and RESP3 out of whatever pieces the socket gives, without recursion.
//!
//! ```text
//!  socket ──fill──> buf ──advance──> reply.bytes     strings, in the order they came
//!     └── the rest of a big string ──────^
//!
//!  bulk     the string that is being copied, if it did not come in one piece
//!  nest     the aggregates that are open, and their values so far ──> reply.entries
//! ```
//!
//! Nothing is reserved for elements that are merely announced: the nest and the table grow by what has arrived. Only
//! the one string under way has its memory reserved at once, and pages that no byte has reached are not touched.
//! Attributes are read and checked, but kept nowhere.

use std::io;
use std::ops::Range;

use super::fault::{DEEPEST, ELEMENT, FEW, Fault, Limits};
use super::nest::{Nest, too_many};
use super::number;
use super::reply::{Entry, Kind, Reply};

/// What one read from the socket asks for.
const BUFFER: usize = 16 << 10;
/// What it asks for after one that was given all that it had asked for: there is more to come. A buffer that grew
/// beyond this is given back once it is empty.
const LARGE: usize = 64 << 10;
/// No reply has fewer bytes: `_\r\n`, `+\r\n`.
const SHORTEST: usize = 3;
/// The fast path looks for the end of a line no further than this.
const SHORT_LINE: usize = 256;

/// How far [`Reader::advance`] came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// All buffered bytes are used up, and more are needed.
    More,
    /// The reply is complete.
    Reply,
    /// A push is complete. The reply that is waited for comes later.
    Push,
}

/// Bytes from one socket, and the state of the reply that they are part of.
#[derive(Debug)]
pub(crate) struct Reader {
    limits: Limits,
    buf: Vec<u8>,
    /// Where the bytes in `buf` begin that are not parsed yet.
    pos: usize,
    /// How many bytes from `pos` on are known to hold no line end.
    scanned: usize,
    /// A reply has begun and is not complete.
    begun: bool,
    /// A fault was returned: nothing that follows can be understood.
    broken: bool,
    /// Bytes of strings in this reply so far.
    bytes: usize,
    /// Values in this reply so far.
    elements: usize,
    bulk: Option<Bulk>,
    nest: Nest,
}

/// A string that did not come in one piece.
#[derive(Debug)]
struct Bulk {
    entry: Entry,
    /// Bytes still missing, the line end behind them not counted.
    left: usize,
}

impl Reader {
    pub(crate) fn new(limits: Limits) -> Reader {
        let max_depth = limits.max_depth.min(DEEPEST);
        Reader {
            limits: Limits {
                max_depth,
                ..limits
            },
            buf: Vec::new(),
            pos: 0,
            scanned: 0,
            begun: false,
            broken: false,
            bytes: 0,
            elements: 0,
            bulk: None,
            nest: Nest::default(),
        }
    }

    /// How many bytes have been read and not parsed.
    pub(crate) fn buffered(&self) -> usize {
        self.buf.len() - self.pos
    }

    /// Whether [`advance`](Reader::advance) has begun a reply that is not complete.
    pub(crate) fn under_way(&self) -> bool {
        self.begun
    }

    /// Lets `read` append bytes from the socket to the vector it is handed, at most as many as it is told, and
    /// returns what it returns. That vector is the arena of `reply`, the one that is under way, while a big string
    /// fills it.
    pub(crate) fn fill(
        &mut self,
        reply: &mut Reply,
        read: impl FnOnce(&mut Vec<u8>, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if let Some(bulk) = &mut self.bulk
            && bulk.left >= BUFFER
            && self.pos == self.buf.len()
            && !self.nest.skips()
        {
            self.buf.clear();
            self.pos = 0;
            let before = reply.bytes.len();
            // With the line end, which would cost a read of its own.
            let result = read(&mut reply.bytes, bulk.left + 2);
            let got = reply.bytes.len().saturating_sub(before);
            if got > bulk.left {
                self.buf
                    .extend_from_slice(&reply.bytes[before + bulk.left..]);
                reply.bytes.truncate(before + bulk.left);
            }
            bulk.left = bulk.left.saturating_sub(got);
            return result;
        }
        // So it was left by a read that filled it.
        let more_to_come = !self.buf.is_empty() && self.buf.len() == self.buf.capacity();
        self.make_room(if more_to_come { LARGE } else { BUFFER });
        let room = self.buf.capacity() - self.buf.len();
        read(&mut self.buf, room)
    }

    /// How many bytes of memory it holds.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn reserved(&self) -> usize {
        self.buf.capacity() + self.nest.reserved()
    }

    fn make_room(&mut self, size: usize) {
        if self.pos == self.buf.len() {
            self.buf.clear();
            if self.buf.capacity() > LARGE {
                self.buf = Vec::new();
            }
        } else if self.pos > 0 {
            self.buf.drain(..self.pos);
        }
        self.pos = 0;
        let len = self.buf.len();
        if self.buf.capacity() < size {
            self.buf.reserve_exact(size - len);
        } else if self.buf.capacity() - len < BUFFER / 4 {
            self.buf.reserve(BUFFER);
        }
    }

    /// Parses what is buffered, up to the end of one reply or push. `reply` is cleared when one begins, and must then
    /// be the same until it is complete. After a fault there is nothing but that fault.
    #[inline]
    pub(crate) fn advance(&mut self, reply: &mut Reply) -> Result<Progress, Fault> {
        if !self.begun
            && let Some(used) = self.whole_scalar(reply)
        {
            self.pos += used;
            return Ok(Progress::Reply);
        }
        self.resume(reply)
    }

    /// The hot path: a reply that is no aggregate and lies in the buffer with both its ends. Returns how long it was;
    /// none for anything else, anything faulty among it, which then goes the long way.
    #[inline]
    fn whole_scalar(&self, reply: &mut Reply) -> Option<usize> {
        let (&sigil, rest) = self.buf.get(self.pos..)?.split_first()?;
        if sigil == b'$' {
            if rest.starts_with(b"-1\r\n") {
                reply.set_scalar(Entry::NIL);
                return Some(5);
            }
            let (bytes, used) = whole_string(rest)?;
            if bytes.len() > self.limits.max_bytes {
                return None;
            }
            reply.set_bytes(Kind::Bytes, bytes);
            return Some(1 + used);
        }
        let end = rest
            .iter()
            .take(SHORT_LINE)
            .position(|&byte| byte == b'\n')?;
        let text = rest[..end].strip_suffix(b"\r")?;
        if text.len() > self.limits.max_bytes.min(self.limits.max_line) {
            return None;
        }
        match sigil {
            b'+' => reply.set_bytes(Kind::Status, text),
            b'-' => reply.set_bytes(Kind::Error, text),
            b':' | b'_' | b'#' | b',' => reply.set_scalar(scalar(sigil, text)?),
            _ => return None,
        }
        Some(1 + end + 1)
    }

    /// Makes the next `count` replies the elements of one array, which is then what [`advance`](Reader::advance)
    /// completes. Pushes between them are set aside.
    pub(crate) fn begin_batch(&mut self, count: usize, reply: &mut Reply) {
        reply.clear();
        self.begun = true;
        self.bytes = 0;
        self.elements = 0;
        self.nest.open_batch(count);
    }

    /// So many bytes at least are still to come of the batch that is being read.
    #[inline]
    pub(crate) fn to_come(&self) -> usize {
        // The one under way may lack a single byte.
        self.nest.missing().saturating_sub(1) * SHORTEST
    }

    /// Gives up on a batch, and on everything that comes: `reply` becomes the array of what was complete. Returns
    /// how many replies that is.
    pub(crate) fn abandon_batch(&mut self, reply: &mut Reply) -> usize {
        self.broken = true;
        self.nest.close_batch(reply)
    }

    fn resume(&mut self, reply: &mut Reply) -> Result<Progress, Fault> {
        if self.broken {
            return Err(Fault::Protocol(
                "nothing can be read behind a fault".to_owned(),
            ));
        }
        if !self.begun {
            if self.buffered() == 0 {
                return Ok(Progress::More);
            }
            reply.clear();
            self.begun = true;
            self.bytes = 0;
            self.elements = 0;
        }
        let progress = self.values(reply);
        match progress {
            Ok(Progress::More) => {}
            Ok(_) => self.begun = false,
            Err(_) => {
                self.broken = true;
                self.begun = true;
            }
        }
        progress
    }

    /// Takes value after value, until one is complete that stands in no aggregate.
    fn values(&mut self, reply: &mut Reply) -> Result<Progress, Fault> {
        loop {
            while self.bulk.is_none()
                && let Some(value) = self.element(reply)?
            {
                if self.settle(value, reply)? {
                    return Ok(complete(reply));
                }
            }
            let value = match self.bulk.take() {
                Some(bulk) => self.string(bulk, reply)?,
                None => match self.line()? {
                    Some(line) => self.value(line, reply)?,
                    None => return Ok(Progress::More),
                },
            };
            if let Some(value) = value
                && self.settle(value, reply)?
            {
                return Ok(complete(reply));
            }
            if self.bulk.is_some() {
                return Ok(Progress::More);
            }
        }
    }

    #[inline(always)]
    fn settle(&mut self, value: Entry, reply: &mut Reply) -> Result<bool, Fault> {
        let complete = self.nest.settle(value, reply)?;
        if self.nest.whole {
            // The caps are for one reply; the next one of the batch has them anew.
            self.bytes = 0;
            self.elements = 0;
        }
        Ok(complete)
    }

    /// The hot path of an aggregate: a whole string inside it, or the answer to most writes. None for anything else.
    // It and what it calls are always inlined: returned through memory, each entry costs more than twice the time.
    #[inline(always)]
    fn element(&mut self, reply: &mut Reply) -> Result<Option<Entry>, Fault> {
        let (kind, bytes, used) = match self.buf[self.pos..].split_first() {
            Some((b'$', rest)) => match whole_string(rest) {
                Some((bytes, used)) => (Kind::Bytes, bytes, used),
                None => return Ok(None),
            },
            Some((b'+', rest)) if rest.starts_with(b"OK\r\n") => (Kind::Status, &rest[..2], 4),
            _ => return Ok(None),
        };
        let (from, len) = (self.pos + 1 + used - 2 - bytes.len(), bytes.len());
        self.count()?;
        let entry = self.reserve(kind, len, reply)?;
        if !self.nest.skips() {
            reply.bytes.extend_from_slice(&self.buf[from..from + len]);
        }
        self.pos += 1 + used;
        self.scanned = 0;
        Ok(Some(entry))
    }

    #[inline(always)]
    fn count(&mut self) -> Result<(), Fault> {
        self.elements += 1;
        // The root is no element.
        if self.elements > self.limits.max_elements.saturating_add(1) {
            return Err(too_many(self.limits.max_elements));
        }
        match self.elements > FEW {
            true => self.charge(ELEMENT),
            false => Ok(()),
        }
    }

    /// So many bytes more of the reply, as far as the cap allows it.
    #[inline(always)]
    fn charge(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.max_bytes {
            return Err(Fault::TooLarge(format!(
                "the reply has {} bytes or more, and max_reply_bytes is {}",
                self.bytes, self.limits.max_bytes
            )));
        }
        Ok(())
    }

    /// The next line, without its type byte and its end; none while it is not all there.
    #[inline]
    fn line(&mut self) -> Result<Option<Range<usize>>, Fault> {
        let rest = &self.buf[self.pos..];
        let max_line = self.limits.max_line;
        let Some(found) = rest[self.scanned..].iter().position(|&byte| byte == b'\n') else {
            self.scanned = rest.len();
            if let Some(sigil) = rest.first()
                && !b"$+:-*%~_#,(=!|>".contains(sigil)
            {
                return Err(Fault::found("a reply of no known type", rest));
            }
            if rest.len() > max_line.saturating_add(2) {
                return Err(Fault::found("a line without an end", rest));
            }
            return Ok(None);
        };
        let end = self.scanned + found;
        self.scanned = 0;
        // A lone `\r\n` has no type byte; that fault is found with the others.
        if end == 0 || rest[end - 1] != b'\r' {
            return Err(Fault::found("a line that ends without \\r", &rest[..=end]));
        }
        if end > max_line.saturating_add(2) {
            return Err(Fault::found("a line that is too long", rest));
        }
        let text = self.pos + 1..(self.pos + end - 1).max(self.pos + 1);
        Ok(Some(text))
    }

    /// The value that begins with this line; none when it does not end with it.
    #[inline]
    fn value(&mut self, line: Range<usize>, reply: &mut Reply) -> Result<Option<Entry>, Fault> {
        self.count()?;
        let text = &self.buf[line.clone()];
        let sigil = self.buf[self.pos];
        let header = &self.buf[self.pos..line.end];
        let kind = match sigil {
            b'$' => Kind::Bytes,
            b'=' => Kind::Verbatim,
            b'!' => Kind::Error,
            b'*' => Kind::Array,
            b'~' => Kind::Set,
            b'%' | b'|' => Kind::Map,
            b'>' if self.nest.is_empty() => Kind::Push,
            // Between the replies of a batch; read like an attribute, and kept nowhere.
            b'>' if self.nest.is_outermost() && !self.nest.skips() => Kind::Push,
            b'>' => return Err(Fault::found("a push inside a reply", header)),
            b'+' | b'-' | b'(' => return self.text(sigil, line, reply).map(Some),
            b':' | b'_' | b'#' | b',' => {
                let entry = scalar(sigil, text).ok_or_else(|| Fault::found("no value", header))?;
                self.pos = line.end + 2;
                return Ok(Some(entry));
            }
            _ => return Err(Fault::found("a reply of no known type", header)),
        };
        if text == b"-1" && matches!(sigil, b'$' | b'*') {
            self.pos = line.end + 2;
            return Ok(Some(Entry::NIL));
        }
        let Some(len) = number::length(text) else {
            return Err(Fault::found("no length", header));
        };
        self.pos = line.end + 2;
        match kind {
            Kind::Bytes | Kind::Verbatim | Kind::Error => {
                let entry = self.reserve(kind, len, reply)?;
                self.string(Bulk { entry, left: len }, reply)
            }
            _ => {
                let total = if kind == Kind::Map {
                    len.saturating_mul(2)
                } else {
                    len
                };
                let set_aside = sigil == b'|' || (sigil == b'>' && !self.nest.is_empty());
                self.nest
                    .open((!set_aside).then_some(kind), total, &self.limits)
            }
        }
    }

    /// A value that is nothing but its line.
    fn text(&mut self, sigil: u8, line: Range<usize>, reply: &mut Reply) -> Result<Entry, Fault> {
        let kind = match sigil {
            b'+' => Kind::Status,
            b'-' => Kind::Error,
            _ => Kind::BigNumber,
        };
        let text = &self.buf[line.clone()];
        if kind == Kind::BigNumber && !number::is_big_number(text) {
            return Err(Fault::found("no big number", &self.buf[self.pos..line.end]));
        }
        let entry = self.reserve(kind, line.len(), reply)?;
        if !self.nest.skips() {
            reply.bytes.extend_from_slice(&self.buf[line.clone()]);
        }
        self.pos = line.end + 2;
        Ok(entry)
    }

    /// Makes room for a string of `len` bytes, as far as the caps allow it.
    #[inline(always)]
    fn reserve(&mut self, kind: Kind, len: usize, reply: &mut Reply) -> Result<Entry, Fault> {
        self.charge(len)?;
        if !self.nest.skips() {
            // One byte for a NUL behind the string, and one more for the line end that is read along with it.
            let result = match self.nest.is_empty() {
                true => reply.bytes.try_reserve_exact(len.saturating_add(2)),
                false => reply.bytes.try_reserve(len.saturating_add(2)),
            };
            result
                .map_err(|_| Fault::TooLarge(format!("no memory for a string of {len} bytes")))?;
        }
        Ok(Entry {
            kind,
            start: reply.bytes.len(),
            len,
        })
    }

    /// Takes what has come of a string. When it is complete, it is returned; else it stays as `bulk`.
    #[inline]
    fn string(&mut self, mut bulk: Bulk, reply: &mut Reply) -> Result<Option<Entry>, Fault> {
        let rest = &self.buf[self.pos..];
        let (bytes, behind) = rest.split_at(bulk.left.min(rest.len()));
        if !self.nest.skips() {
            reply.bytes.extend_from_slice(bytes);
        }
        self.pos += bytes.len();
        bulk.left -= bytes.len();
        if bulk.left > 0 || behind.len() < 2 {
            self.bulk = Some(bulk);
            return Ok(None);
        }
        if !behind.starts_with(b"\r\n") {
            return Err(Fault::found("no line end behind a string, but", behind));
        }
        self.pos += 2;
        if bulk.entry.kind == Kind::Verbatim && !self.nest.skips() {
            let text = reply.bytes_of(&bulk.entry);
            if text.iter().take(4).position(|&byte| byte == b':') != Some(3) {
                // No more of it: it is a user's value.
                let format = &text[..text.len().min(4)];
                return Err(Fault::found("a verbatim string without its format", format));
            }
        }
        Ok(Some(bulk.entry))
    }
}

/// A string that lies here with its length and its line end, and how many bytes they all are; `$` went before. None
/// for anything else.
#[inline]
fn whole_string(rest: &[u8]) -> Option<(&[u8], usize)> {
    let mut len = 0;
    let mut at = 0;
    loop {
        match *rest.get(at)? {
            byte @ b'0'..=b'9' if at < 8 => len = len * 10 + usize::from(byte - b'0'),
            b'\r' if at > 0 => break,
            _ => return None,
        }
        at += 1;
    }
    let (head, tail) = rest.get(at..)?.split_at_checked(len + 2)?;
    let bytes = head.strip_prefix(b"\r\n")?;
    tail.starts_with(b"\r\n")
        .then_some((bytes, at + 2 + len + 2))
}

fn complete(reply: &Reply) -> Progress {
    match reply.kind() {
        Kind::Push => Progress::Push,
        _ => Progress::Reply,
    }
}

fn scalar(sigil: u8, text: &[u8]) -> Option<Entry> {
    match (sigil, text) {
        (b':', _) => Some(Entry::scalar(
            Kind::Integer,
            number::integer(text)? as usize,
        )),
        (b',', _) => Some(Entry::scalar(
            Kind::Double,
            number::double(text)?.to_bits() as usize,
        )),
        (b'_', b"") => Some(Entry::NIL),
        (b'#', b"t") => Some(Entry::scalar(Kind::Bool, 1)),
        (b'#', b"f") => Some(Entry::scalar(Kind::Bool, 0)),
        _ => None,
    }
}
