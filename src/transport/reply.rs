//! One reply, flat: a table of values and one arena with the bytes of them all.
//!
//! ```text
//!  *2  $1 a  *1 :7          root     Array  start 1  len 2 ────────┐
//!                           entries  0: Integer 7                  │
//!                                    1: Bytes  start 0  len 1   <──┘ the children of an aggregate
//!                                    2: Array  start 0  len 1        stand side by side, before it
//!                           bytes    "a"
//! ```

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Nil,
    Status,
    Error,
    Integer,
    Double,
    Bool,
    Bytes,
    BigNumber,
    Verbatim,
    Array,
    Set,
    Map,
    Push,
}

/// One value of a reply. What `start` and `len` mean depends on the kind:
///
/// | kind | `start` | `len` |
/// |---|---|---|
/// | Bytes, Status, Error, BigNumber, Verbatim | where its bytes begin in the arena | how many there are |
/// | Integer, Double, Bool | the bits of the `i64`, of the `f64`, 0 or 1 | 0 |
/// | Array, Set, Push | its first child in the table | how many children |
/// | Map | its first key in the table; keys and values alternate | how many pairs |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

// The C side turns this table in place into one that holds pointers.
const _: () = assert!(size_of::<Entry>() == 24 && align_of::<Entry>() == 8);

impl Entry {
    pub(crate) const NIL: Entry = Entry::scalar(Kind::Nil, 0);

    pub(crate) const fn scalar(kind: Kind, bits: usize) -> Entry {
        Entry {
            kind,
            start: bits,
            len: 0,
        }
    }

    /// The value of an Integer.
    pub(crate) fn integer(&self) -> Option<i64> {
        (self.kind == Kind::Integer).then_some(self.start as i64)
    }

    /// The value of a Double.
    pub(crate) fn double(&self) -> Option<f64> {
        (self.kind == Kind::Double).then_some(f64::from_bits(self.start as u64))
    }

    /// The value of a Bool.
    pub(crate) fn boolean(&self) -> Option<bool> {
        (self.kind == Kind::Bool).then_some(self.start != 0)
    }
}

/// A reply, or a push.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) root: Entry,
    pub(crate) entries: Vec<Entry>,
    pub(crate) bytes: Vec<u8>,
}

impl Default for Reply {
    fn default() -> Reply {
        Reply::new()
    }
}

impl Reply {
    /// A nil.
    pub(crate) const fn new() -> Reply {
        Reply {
            root: Entry::NIL,
            entries: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Makes it a nil again; the memory stays for the next reply.
    pub(crate) fn clear(&mut self) {
        self.root = Entry::NIL;
        self.entries.clear();
        self.bytes.clear();
    }

    /// Gives memory back where the arena or the table holds more than `limit` bytes and does not need them. For a
    /// reply that is reused: call it after `clear`, with 64 KiB or so.
    pub(crate) fn trim(&mut self, limit: usize) {
        if self.bytes.capacity() > limit {
            self.bytes.shrink_to(limit);
        }
        if self.entries.capacity() > limit / size_of::<Entry>() {
            self.entries.shrink_to(limit / size_of::<Entry>());
        }
    }

    /// Makes it a single value with these bytes. One byte is left over for a NUL behind them.
    #[inline]
    pub(crate) fn set_bytes(&mut self, kind: Kind, bytes: &[u8]) {
        self.entries.clear();
        self.bytes.clear();
        self.bytes.reserve(bytes.len() + 1);
        self.bytes.extend_from_slice(bytes);
        self.root = Entry {
            kind,
            start: 0,
            len: bytes.len(),
        };
    }

    /// Makes it a single value without bytes.
    #[inline]
    pub(crate) fn set_scalar(&mut self, entry: Entry) {
        self.entries.clear();
        self.bytes.clear();
        self.root = entry;
    }

    pub(crate) fn kind(&self) -> Kind {
        self.root.kind
    }

    pub(crate) fn is_nil(&self) -> bool {
        self.root.kind == Kind::Nil
    }

    /// The whole value; its children hang on it.
    pub(crate) fn root(&self) -> &Entry {
        &self.root
    }

    /// The children of an aggregate: of a map, keys and values in turn. None for anything else.
    pub(crate) fn children(&self, of: &Entry) -> &[Entry] {
        let count = match of.kind {
            Kind::Array | Kind::Set | Kind::Push => of.len,
            Kind::Map => of.len.saturating_mul(2),
            _ => 0,
        };
        let end = of.start.saturating_add(count);
        if count == 0 {
            &[]
        } else {
            self.entries.get(of.start..end).unwrap_or(&[])
        }
    }

    /// The bytes of a value as they came: those of a verbatim string begin with its format, `txt:`. Empty for a value
    /// that has none.
    pub(crate) fn bytes_of(&self, entry: &Entry) -> &[u8] {
        match entry.kind {
            Kind::Bytes | Kind::Status | Kind::Error | Kind::BigNumber | Kind::Verbatim => {
                let end = entry.start.saturating_add(entry.len);
                self.bytes.get(entry.start..end).unwrap_or(&[])
            }
            _ => &[],
        }
    }

    /// The text of a value: as [`bytes_of`](Reply::bytes_of), but a verbatim string without its format.
    pub(crate) fn text_of(&self, entry: &Entry) -> &[u8] {
        let bytes = self.bytes_of(entry);
        match entry.kind {
            Kind::Verbatim => bytes.get(4..).unwrap_or(&[]),
            _ => bytes,
        }
    }

    /// The text of a string of any sort, a status and a big number among them.
    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        match self.root.kind {
            Kind::Bytes | Kind::Status | Kind::Verbatim | Kind::BigNumber => {
                Some(self.text_of(&self.root))
            }
            _ => None,
        }
    }

    /// The text of a server's error, without its leading `-`.
    pub(crate) fn error_text(&self) -> Option<&[u8]> {
        (self.root.kind == Kind::Error).then(|| self.bytes_of(&self.root))
    }

    /// The value of an Integer.
    pub(crate) fn integer(&self) -> Option<i64> {
        self.root.integer()
    }

    /// The text of a string of any sort, not copied where the arena holds nothing else.
    pub(crate) fn into_bytes(mut self) -> Option<Vec<u8>> {
        let text = self.as_bytes()?;
        if text.len() == self.bytes.len() {
            return Some(self.bytes);
        }
        if self.root.kind == Kind::Verbatim && self.root.start == 0 {
            self.bytes.truncate(self.root.len);
            self.bytes.drain(..4.min(self.root.len));
            return Some(self.bytes);
        }
        Some(text.to_vec())
    }
}
