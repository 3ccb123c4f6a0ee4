//! Writes one command, argument by argument, into a buffer that is used again and again.

use std::fmt;
use std::io;
use std::ops::Range;

use redis::{RedisWrite, ToRedisArgs};

use crate::error::{Error, Result};
use crate::transport::{arg, begin_command};

/// Takes arguments in any form that the redis crate knows, and writes them as RESP.
pub(crate) struct Packer<'a> {
    out: &'a mut Vec<u8>,
    /// Where the command begins.
    base: usize,
    count: usize,
    key: Option<Range<usize>>,
    /// The next argument is that key.
    awaits_key: bool,
    /// It has more keys than that one.
    many_keys: bool,
}

impl<'a> Packer<'a> {
    /// Begins a command with its name.
    pub(crate) fn begin(out: &'a mut Vec<u8>, name: &str) -> Packer<'a> {
        out.clear();
        begin_command(out, name.as_bytes());
        Packer {
            out,
            base: 0,
            count: 1,
            key: None,
            awaits_key: false,
            many_keys: false,
        }
    }

    pub(crate) fn empty(out: &'a mut Vec<u8>) -> Packer<'a> {
        out.clear();
        Packer::behind(out)
    }

    /// A command behind those that are there.
    pub(crate) fn behind(out: &'a mut Vec<u8>) -> Packer<'a> {
        let base = out.len();
        // How many arguments it has is known when all of them are there; most commands have fewer than ten.
        out.extend_from_slice(b"*0\r\n");
        Packer {
            out,
            base,
            count: 0,
            key: None,
            awaits_key: false,
            many_keys: false,
        }
    }

    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        arg(self.out, bytes);
        self.count += 1;
        if self.awaits_key {
            self.awaits_key = false;
            let end = self.out.len() - b"\r\n".len();
            self.key = Some(end - bytes.len()..end);
        }
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
        self.await_key();
        self.one("key", value)
    }

    /// Several keys, in whatever form; at least one.
    pub(crate) fn keys(&mut self, values: &impl ToRedisArgs) -> Result<()> {
        self.await_key();
        match self.any(values) {
            0 => Err(Error::argument("keys: at least one is needed")),
            n => {
                self.many_keys |= n > 1;
                Ok(())
            }
        }
    }

    /// The number of keys, and the keys; there may be none.
    pub(crate) fn counted_keys(&mut self, values: &impl ToRedisArgs) -> Result<()> {
        let count = values.num_of_args();
        self.number(count as i64);
        if count > 0 {
            self.await_key();
        }
        match self.any(values) {
            n if n != count => Err(Error::argument(format!(
                "keys: they say that they are {count}, and come to {n}"
            ))),
            n => {
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

    /// What comes next is a key.
    fn await_key(&mut self) {
        self.awaits_key = self.key.is_none();
        self.many_keys |= !self.awaits_key;
    }

    /// Whether it has more than one key.
    pub(crate) fn has_many_keys(&self) -> bool {
        self.many_keys
    }

    /// The command as it is sent, and its first key.
    pub(crate) fn finish(self) -> (&'a [u8], Option<&'a [u8]>) {
        let digit = self.base + 1;
        let mut shift = 0;
        if self.count < 10 {
            self.out[digit] = b'0' + self.count as u8;
        } else {
            let digits = self.count.to_string();
            shift = digits.len() - 1;
            self.out.splice(digit..=digit, digits.bytes());
        }
        let out: &'a [u8] = self.out;
        let key = self.key.map(|key| &out[key.start + shift..key.end + shift]);
        (&out[self.base..], key)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::unpack::unpack;

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
        let args = unpack(bytes).unwrap();
        assert_eq!(*args, [&b"SET"[..], b"k1", b"\0\xff", b"-5"]);
    }

    #[test]
    fn with_ten_arguments_and_more_and_behind_another() {
        for count in [2, 9, 10, 11, 99, 100, 1000] {
            let mut out = b"+PONG\r\n".to_vec();
            let mut packer = Packer::behind(&mut out);
            packer.bytes(b"DEL");
            packer.key(&"k").unwrap();
            for n in 2..count {
                packer.number(n);
            }
            let (bytes, key) = packer.finish();
            assert_eq!(key, Some(&b"k"[..]), "{count}");
            let args = unpack(bytes).unwrap();
            assert_eq!((args.len(), args[0]), (count as usize, &b"DEL"[..]));
            let last = if count == 2 {
                "k".to_owned()
            } else {
                (count - 1).to_string()
            };
            assert_eq!(args.last(), Some(&last.as_bytes()));
            assert!(out.starts_with(b"+PONG\r\n*"));
        }
    }

    #[test]
    fn what_is_not_one_argument_is_refused() {
        let mut out = Vec::new();
        let mut packer = Packer::begin(&mut out, "GET");
        let error = packer.key(&&["a", "b"]).unwrap_err();
        assert!(error.message().contains("key"), "{error}");
        assert!(packer.one("value", &None::<&str>).is_err());
    }
}
