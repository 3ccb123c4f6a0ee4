//! The everyday commands. Everything else is reached by [`Client::command`].

use redis::{FromRedisValue, ToRedisArgs};

use crate::client::{Client, Packer, SetOptions, integer, nothing, truth, typed};
use crate::dispatch::Class;
use crate::error::{Error, Result};
use crate::transport::{Kind, Reply};

impl Client {
    /// The value of a key; none if there is no such key.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// # let keep = redkeep::Manager::open("embedded://")?;
    /// keep.set("greeting", "hello")?;
    /// let value: Option<String> = keep.get("greeting")?;
    /// assert_eq!(value.as_deref(), Some("hello"));
    /// assert_eq!(keep.get::<Vec<u8>>("no such key")?, None);
    /// # Ok(()) }
    /// ```
    pub fn get<T: FromRedisValue>(&self, key: impl ToRedisArgs) -> Result<Option<T>> {
        self.get_raw(&key, optional)
    }

    /// GET, with the reply as it came.
    pub(crate) fn get_raw<T>(
        &self,
        key: &impl ToRedisArgs,
        read: impl FnOnce(&mut Reply) -> Result<T>,
    ) -> Result<T> {
        self.run(Class::Read, |out| with_key(out, "GET", key), read)
    }

    /// Sets a key to a value, for ever: text, bytes or a number.
    pub fn set(&self, key: impl ToRedisArgs, value: impl ToRedisArgs) -> Result<()> {
        self.set_with(key, value, SetOptions::new()).map(|_| ())
    }

    /// Sets a key under [`SetOptions`]; true if it was set, false if its condition (NX, XX) was not met.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// # let keep = redkeep::Manager::open("embedded://")?;
    /// use redkeep::SetOptions;
    /// assert!(keep.set_with("token", "xyz", SetOptions::new().ex(3600).nx())?);
    /// assert!(!keep.set_with("token", "abc", SetOptions::new().nx())?);
    /// # Ok(()) }
    /// ```
    pub fn set_with(
        &self,
        key: impl ToRedisArgs,
        value: impl ToRedisArgs,
        options: SetOptions,
    ) -> Result<bool> {
        options.check()?;
        let class = match options.is_conditional() {
            true => Class::Once,
            false => Class::Repeatable,
        };
        let pack = |out| {
            let mut packer = Packer::begin(out, "SET");
            packer.key(&key)?;
            packer.one("value", &value)?;
            options.pack(&mut packer);
            Ok(packer.finish())
        };
        self.run(class, pack, truth)
    }

    /// Deletes a key or several; returns how many there were.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// # let keep = redkeep::Manager::open("embedded://")?;
    /// keep.mset([("a", 1), ("b", 2)])?;
    /// assert_eq!(keep.delete(["a", "b", "no such key"])?, 2);
    /// # Ok(()) }
    /// ```
    pub fn delete(&self, keys: impl ToRedisArgs) -> Result<i64> {
        if keys.num_of_args() == 0 {
            return Ok(0);
        }
        self.run(Class::Once, |out| with_keys(out, "DEL", &keys), integer)
    }

    /// Whether a key exists.
    pub fn exists(&self, key: impl ToRedisArgs) -> Result<bool> {
        self.run(Class::Read, |out| with_key(out, "EXISTS", &key), truth)
    }

    /// Lets a key expire after this many seconds (0 or less deletes it at once); false if there is no such key.
    pub fn expire(&self, key: impl ToRedisArgs, seconds: i64) -> Result<bool> {
        let pack = |out| with_number(out, "EXPIRE", &key, seconds);
        self.run(Class::Repeatable, pack, truth)
    }

    /// The seconds that a key has left: -1 if it never expires, -2 if there is no such key.
    pub fn ttl(&self, key: impl ToRedisArgs) -> Result<i64> {
        self.run(Class::Read, |out| with_key(out, "TTL", &key), integer)
    }

    /// Adds to the number stored at a key (0 if there is none) and returns the sum.
    pub fn incr(&self, key: impl ToRedisArgs, by: i64) -> Result<i64> {
        let pack = |out| with_number(out, "INCRBY", &key, by);
        self.run(Class::Once, pack, integer)
    }

    /// Sets one field of a hash; returns 1 if it is new, 0 if it had a value before.
    pub fn hset(
        &self,
        name: impl ToRedisArgs,
        field: impl ToRedisArgs,
        value: impl ToRedisArgs,
    ) -> Result<i64> {
        self.hset_many(name, [(field, value)])
    }

    /// Sets several fields of a hash; returns how many are new. No fields: 0, and nothing is sent.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// # let keep = redkeep::Manager::open("embedded://")?;
    /// keep.hset_many("user:1", [("name", "Ann"), ("city", "Bonn")])?;
    /// assert_eq!(keep.hget::<String>("user:1", "city")?.as_deref(), Some("Bonn"));
    /// # Ok(()) }
    /// ```
    pub fn hset_many<F: ToRedisArgs, V: ToRedisArgs>(
        &self,
        name: impl ToRedisArgs,
        fields: impl IntoIterator<Item = (F, V)>,
    ) -> Result<i64> {
        self.hset_with(name, None::<(&str, &str)>, fields)
    }

    /// Sets one field and a mapping of others in one command; returns how many are new.
    pub fn hset_with<A: ToRedisArgs, B: ToRedisArgs, F: ToRedisArgs, V: ToRedisArgs>(
        &self,
        name: impl ToRedisArgs,
        one: Option<(A, B)>,
        mapping: impl IntoIterator<Item = (F, V)>,
    ) -> Result<i64> {
        let mut mapping = mapping.into_iter().peekable();
        if one.is_none() && mapping.peek().is_none() {
            return Ok(0);
        }
        let pack = |out| {
            let mut packer = Packer::begin(out, "HSET");
            packer.key(&name)?;
            if let Some((field, value)) = &one {
                packer.one("field", field)?;
                packer.one("value", value)?;
            }
            for (field, value) in mapping {
                packer.one("field", &field)?;
                packer.one("value", &value)?;
            }
            Ok(packer.finish())
        };
        self.run(Class::Once, pack, integer)
    }

    /// The value of one field of a hash.
    pub fn hget<T: FromRedisValue>(
        &self,
        name: impl ToRedisArgs,
        field: impl ToRedisArgs,
    ) -> Result<Option<T>> {
        self.hget_raw(&name, &field, optional)
    }

    pub(crate) fn hget_raw<T>(
        &self,
        name: &impl ToRedisArgs,
        field: &impl ToRedisArgs,
        read: impl FnOnce(&mut Reply) -> Result<T>,
    ) -> Result<T> {
        let pack = |out| {
            let mut packer = Packer::begin(out, "HGET");
            packer.key(name)?;
            packer.one("field", field)?;
            Ok(packer.finish())
        };
        self.run(Class::Read, pack, read)
    }

    /// The values of several keys, in their order; none for each that does not exist.
    pub fn mget<T: FromRedisValue>(&self, keys: impl ToRedisArgs) -> Result<Vec<Option<T>>> {
        if keys.num_of_args() == 0 {
            return Ok(Vec::new());
        }
        self.mget_raw(&keys, typed)
    }

    pub(crate) fn mget_raw<T>(
        &self,
        keys: &impl ToRedisArgs,
        read: impl FnOnce(&mut Reply) -> Result<T>,
    ) -> Result<T> {
        self.run(Class::Read, |out| with_keys(out, "MGET", keys), read)
    }

    /// Sets several keys at once: all of them, or none. No pairs: nothing is sent.
    pub fn mset<K: ToRedisArgs, V: ToRedisArgs>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<()> {
        let mut pairs = pairs.into_iter().peekable();
        if pairs.peek().is_none() {
            return Ok(());
        }
        let pack = |out| {
            let mut packer = Packer::begin(out, "MSET");
            for (key, value) in pairs {
                packer.key(&key)?;
                packer.one("value", &value)?;
            }
            Ok(packer.finish())
        };
        self.run(Class::Repeatable, pack, nothing)
    }

    /// Asks the configured node for a sign of life.
    pub fn ping(&self) -> Result<()> {
        self.run(
            Class::Read,
            |out| Ok(Packer::begin(out, "PING").finish()),
            nothing,
        )
    }
}

fn optional<T: FromRedisValue>(reply: &mut Reply) -> Result<Option<T>> {
    match reply.kind() {
        Kind::Nil => Ok(None),
        _ => typed(reply).map(Some),
    }
}

type Packed<'a> = Result<(&'a [u8], Option<&'a [u8]>)>;

fn with_key<'a>(out: &'a mut Vec<u8>, name: &str, key: &impl ToRedisArgs) -> Packed<'a> {
    let mut packer = Packer::begin(out, name);
    packer.key(key)?;
    Ok(packer.finish())
}

fn with_number<'a>(
    out: &'a mut Vec<u8>,
    name: &str,
    key: &impl ToRedisArgs,
    number: i64,
) -> Packed<'a> {
    let mut packer = Packer::begin(out, name);
    packer.key(key)?;
    packer.number(number);
    Ok(packer.finish())
}

fn with_keys<'a>(out: &'a mut Vec<u8>, name: &str, keys: &impl ToRedisArgs) -> Packed<'a> {
    let mut packer = Packer::begin(out, name);
    match packer.any(keys) {
        0 => Err(Error::argument("keys: at least one is needed")),
        _ => Ok(packer.finish()),
    }
}
