//! The everyday commands. Everything else is reached by [`Client::command`].

use redis::{FromRedisValue, ToRedisArgs};

use crate::client::{Client, Packer, SetOptions, integer, nothing, truth, typed};
use crate::dispatch::Class;
use crate::error::Result;
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
        self.run("GET", Class::Read, |to| to.key(key), read)
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
        let pack = |to: &mut Packer<'_>| {
            to.key(&key)?;
            to.one("value", &value)?;
            options.pack(to);
            Ok(())
        };
        self.run("SET", class, pack, truth)
    }

    /// Deletes a key or several; returns how many there were.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// # let keep = redkeep::Manager::open("embedded://")?;
    /// keep.mset([("a", 1), ("b", 2)])?;
    /// assert_eq!(keep.delete(&["a", "b", "no such key"])?, 2);
    /// # Ok(()) }
    /// ```
    pub fn delete(&self, keys: impl ToRedisArgs) -> Result<i64> {
        if keys.num_of_args() == 0 {
            return Ok(0);
        }
        self.run("DEL", Class::Once, |to| to.keys(&keys), integer)
    }

    /// Whether a key exists.
    pub fn exists(&self, key: impl ToRedisArgs) -> Result<bool> {
        self.run("EXISTS", Class::Read, |to| to.key(&key), truth)
    }

    /// Lets a key expire after this many seconds (0 or less deletes it at once); false if there is no such key.
    pub fn expire(&self, key: impl ToRedisArgs, seconds: i64) -> Result<bool> {
        let pack = |to: &mut Packer<'_>| to.key_and_number(&key, seconds);
        // Deleting a key works once only.
        let class = match seconds {
            1.. => Class::Repeatable,
            _ => Class::Once,
        };
        self.run("EXPIRE", class, pack, truth)
    }

    /// The seconds that a key has left: -1 if it never expires, -2 if there is no such key.
    pub fn ttl(&self, key: impl ToRedisArgs) -> Result<i64> {
        self.run("TTL", Class::Read, |to| to.key(&key), integer)
    }

    /// Adds to the number stored at a key (0 if there is none) and returns the sum.
    pub fn incr(&self, key: impl ToRedisArgs, by: i64) -> Result<i64> {
        let pack = |to: &mut Packer<'_>| to.key_and_number(&key, by);
        self.run("INCRBY", Class::Once, pack, integer)
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
        let pack = |to: &mut Packer<'_>| {
            to.key(&name)?;
            if let Some((field, value)) = &one {
                to.one("field", field)?;
                to.one("value", value)?;
            }
            for (field, value) in mapping {
                to.one("field", &field)?;
                to.one("value", &value)?;
            }
            Ok(())
        };
        self.run("HSET", Class::Once, pack, integer)
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
        let pack = |to: &mut Packer<'_>| {
            to.key(name)?;
            to.one("field", field)
        };
        self.run("HGET", Class::Read, pack, read)
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
        self.run("MGET", Class::Read, |to| to.keys(keys), read)
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
        let pack = |to: &mut Packer<'_>| {
            for (key, value) in pairs {
                to.key(&key)?;
                to.one("value", &value)?;
            }
            Ok(())
        };
        self.run("MSET", Class::Repeatable, pack, nothing)
    }

    /// Sends a message to whoever subscribes to the channel now; how many those were (on a cluster, on one node). It is
    /// kept nowhere. Not repeated when it is not known whether it was sent.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// # let keep = redkeep::Manager::open("embedded://")?;
    /// assert_eq!(keep.publish("news", "hello")?, 0);   // nobody listens
    /// # Ok(()) }
    /// ```
    pub fn publish(&self, channel: impl ToRedisArgs, data: impl ToRedisArgs) -> Result<i64> {
        let pack = |to: &mut Packer<'_>| {
            to.one("channel", &channel)?;
            to.one("data", &data)
        };
        self.run("PUBLISH", Class::Once, pack, integer)
    }

    /// As [`publish`](Client::publish), to a sharded channel, which belongs to the slot of its name. Servers from 7.0 on
    /// have them.
    pub fn publish_sharded(
        &self,
        channel: impl ToRedisArgs,
        data: impl ToRedisArgs,
    ) -> Result<i64> {
        let pack = |to: &mut Packer<'_>| {
            to.key(&channel)?;
            to.one("data", &data)
        };
        self.run("SPUBLISH", Class::Once, pack, integer)
    }

    /// Asks the configured node for a sign of life.
    pub fn ping(&self) -> Result<()> {
        self.run("PING", Class::Read, |_| Ok(()), nothing)
    }
}

fn optional<T: FromRedisValue>(reply: &mut Reply) -> Result<Option<T>> {
    match reply.kind() {
        Kind::Nil => Ok(None),
        _ => typed(reply).map(Some),
    }
}
