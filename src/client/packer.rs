//! Writes one command, argument by argument, into a buffer that is used again and again.

use std::fmt;
use std::io;
use std::ops::Range;

use redis::{RedisWrite, ToRedisArgs};

use crate::error::{Error, Result};
use crate::transport::arg;

/// Room for the command's header (`*`, digits, line end), which is known only when all arguments are there.
const HEAD: usize = 24;

/// Takes arguments in any form that the redis crate knows, and writes them as RESP.
pub(crate) struct Packer<'a> {
    out: &'a mut Vec<u8>,
    count: usize,
    key: Option<Range<usize>>,
    /// It has more keys than that one.
    many_keys: bool,
}

impl<'a> Packer<'a> {
    /// Begins a command with its name.
    pub(crate) fn begin(out: &'a mut Vec<u8>, name: &str) -> Packer<'a> {
        let mut packer = Packer::empty(out);
        packer.bytes(name.as_bytes());
        packer
    }

    pub(crate) fn empty(out: &'a mut Vec<u8>) -> Packer<'a> {
        out.clear();
        out.resize(HEAD, 0);
        Packer {
            out,
            count: 0,
            key: None,
            many_keys: false,
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        arg(self.out, bytes);
        self.count += 1;
    }

    pub(crate) fn number(&mut self, number: i64) {
        self.any(&number);
    }

    /// However many arguments the value comes to; how many that was is told.
    pub(crate) fn any(&mut self, value: &impl ToRedisArgs) -> usize {
        let before = self.count;
        value.write_redis_args(self);
        self.count - before
    }

    /// A value that must come to exactly one argument.
    pub(crate) fn one(&mut self, what: &str, value: &impl ToRedisArgs) -> Result<()> {
        match self.any(value) {
            1 => Ok(()),
            n => Err(Error::argument(format!(
                "{what}: one string of bytes is needed; this value comes to {n}"
            ))),
        }
    }

    /// As `one`; the first of these is the command's key, by which a cluster picks the node.
    pub(crate) fn key(&mut self, value: &impl ToRedisArgs) -> Result<()> {
        let start = self.out.len();
        self.one("key", value)?;
        self.note_key(start);
        Ok(())
    }

    /// Several keys, in whatever form; at least one.
    pub(crate) fn keys(&mut self, values: &impl ToRedisArgs) -> Result<()> {
        let start = self.out.len();
        match self.any(values) {
            0 => Err(Error::argument("keys: at least one is needed")),
            n => {
                self.note_key(start);
                self.many_keys |= n > 1;
                Ok(())
            }
        }
    }

    /// The number of keys, and the keys; there may be none.
    pub(crate) fn counted_keys(&mut self, values: &impl ToRedisArgs) -> Result<()> {
        let count = values.num_of_args();
        self.number(count as i64);
        let start = self.out.len();
        match self.any(values) {
            n if n != count => Err(Error::argument(format!(
                "keys: they say that they are {count}, and come to {n}"
            ))),
            0 => Ok(()),
            n => {
                self.note_key(start);
                self.many_keys |= n > 1;
                Ok(())
            }
        }
    }

    pub(crate) fn key_and_number(&mut self, key: &impl ToRedisArgs, number: i64) -> Result<()> {
        self.key(key)?;
        self.number(number);
        Ok(())
    }

    /// Remembers the argument that begins here, unless a key is known already.
    fn note_key(&mut self, start: usize) {
        if self.key.is_some() {
            self.many_keys = true;
            return;
        }
        // `$`, the length, a line end, the argument, a line end.
        let digits = self.out[start + 1..]
            .iter()
            .take_while(|b| b.is_ascii_digit());
        let (mut length, mut count) = (0, 0);
        for digit in digits {
            length = length * 10 + usize::from(digit - b'0');
            count += 1;
        }
        let begin = start + 1 + count + 2;
        self.key = Some(begin..begin + length);
    }

    /// Whether it has more than one key.
    pub(crate) fn has_many_keys(&self) -> bool {
        self.many_keys
    }

    /// The command as it is sent, and its first key.
    pub(crate) fn finish(self) -> (&'a [u8], Option<&'a [u8]>) {
        // Written from the right, so that it ends where the first argument begins.
        let (mut start, mut n) = (HEAD - 2, self.count);
        self.out[start..HEAD].copy_from_slice(b"\r\n");
        loop {
            start -= 1;
            self.out[start] = b'0' + (n % 10) as u8;
            n /= 10;
            if n == 0 {
                break;
            }
        }
        start -= 1;
        self.out[start] = b'*';
        let out: &'a [u8] = self.out;
        (&out[start..], self.key.map(|range| &out[range]))
    }
}

impl RedisWrite for Packer<'_> {
    fn write_arg(&mut self, arg: &[u8]) {
        self.bytes(arg);
    }

    fn write_arg_fmt(&mut self, arg: impl fmt::Display) {
        self.bytes(arg.to_string().as_bytes());
    }

    fn writer_for_next_arg(&mut self) -> impl io::Write + '_ {
        Piecemeal {
            packer: self,
            bytes: Vec::new(),
        }
    }
}

/// One argument written in pieces; its length is known when the last is there.
struct Piecemeal<'p, 'a> {
    packer: &'p mut Packer<'a>,
    bytes: Vec<u8>,
}

impl io::Write for Piecemeal<'_, '_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Piecemeal<'_, '_> {
    fn drop(&mut self) {
        self.packer.bytes(&self.bytes);
    }
}

/// The arguments of a command that was packed before; none if that is not one whole command.
pub(crate) fn unpack(packed: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = packed;
    let args = next_command(&mut rest)?;
    rest.is_empty().then_some(args)
}

/// The commands that were packed one behind the other, each still packed; none if that is not what they are.
pub(crate) fn unpack_all(packed: &[u8]) -> Option<Vec<&[u8]>> {
    let mut commands = Vec::new();
    let mut rest = packed;
    while !rest.is_empty() {
        let before = rest;
        next_command(&mut rest)?;
        commands.push(&before[..before.len() - rest.len()]);
    }
    Some(commands)
}

fn next_command<'a>(rest: &mut &'a [u8]) -> Option<Vec<&'a [u8]>> {
    let count = length(rest, b'*')?;
    // Each takes six bytes at least, so that what is merely announced reserves nothing.
    let mut args = Vec::with_capacity(count.min(rest.len() / 6));
    for _ in 0..count {
        let length = length(rest, b'$')?;
        let (arg, behind) = rest.split_at_checked(length)?;
        *rest = behind.strip_prefix(b"\r\n")?;
        args.push(arg);
    }
    Some(args)
}

fn length(rest: &mut &[u8], sigil: u8) -> Option<usize> {
    let digits = rest.strip_prefix(&[sigil])?;
    let mut length = None;
    let mut behind = digits;
    while let Some((digit @ b'0'..=b'9', more)) = behind.split_first() {
        let so_far = length.unwrap_or(0usize).checked_mul(10)?;
        length = Some(so_far.checked_add(usize::from(digit - b'0'))?);
        behind = more;
    }
    *rest = behind.strip_prefix(b"\r\n")?;
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_all_sorts() {
        let mut out = vec![b'x'; 500];
        let mut packer = Packer::begin(&mut out, "SET");
        packer.key(&"k1").unwrap();
        packer.one("value", &vec![0u8, 255]).unwrap();
        packer.number(-5);
        let (bytes, key) = packer.finish();
        assert_eq!(
            bytes,
            b"*4\r\n$3\r\nSET\r\n$2\r\nk1\r\n$2\r\n\0\xff\r\n$2\r\n-5\r\n"
        );
        assert_eq!(key, Some(&b"k1"[..]));
        assert_eq!(
            unpack(bytes),
            Some(vec![&b"SET"[..], b"k1", b"\0\xff", b"-5"])
        );
    }

    #[test]
    fn what_is_not_one_argument_is_refused() {
        let mut out = Vec::new();
        let mut packer = Packer::begin(&mut out, "GET");
        let error = packer.key(&&["a", "b"]).unwrap_err();
        assert!(error.message().contains("key"), "{error}");
        assert!(packer.one("value", &None::<&str>).is_err());
    }

    #[test]
    fn what_is_not_one_packed_command_is_told() {
        for bad in [
            "",
            "*",
            "*1\r\n",
            "*1\r\n$3\r\nab\r\n",
            "*1\r\n$1\r\na\r\nrest",
            "*1\r\n$1\r\nab\r",
            "*9999999999999\r\n",
            "$1\r\na\r\n",
            "*1\r\n$-1\r\n",
        ] {
            assert_eq!(unpack(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
