//! The seeds' manner: when Redis cannot be used, a neutral value, and a line in the log.

use redis::{FromRedisValue, ToRedisArgs};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{Client, SetOptions};
use crate::error::Result;

/// The commands of a [`Client`] that never fail: on an error they answer as if there were nothing (none, false, 0;
/// -2 for `ttl`), log the reason (in ten lines within ten seconds at most) and count it.
///
/// ```
/// let keep = redkeep::Manager::open("redis://localhost:1")?;   // nobody listens there
/// assert_eq!(keep.lenient().get::<String>("greeting"), None);
/// assert_eq!(keep.lenient().incr("visits", 1), None);
/// # redkeep::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
pub struct Lenient {
    client: Client,
}

impl Lenient {
    pub(crate) fn new(client: Client) -> Lenient {
        Lenient { client }
    }

    fn or<T>(&self, neutral: T, result: Result<T>) -> T {
        result.unwrap_or_else(|error| {
            let what = "a command was answered as if there were nothing";
            self.client.swallow(what, &error);
            neutral
        })
    }

    /// As [`Client::get`].
    pub fn get<T: FromRedisValue>(&self, key: impl ToRedisArgs) -> Option<T> {
        self.or(None, self.client.get(key))
    }

    /// As [`Client::set`]; true if it was set.
    pub fn set(&self, key: impl ToRedisArgs, value: impl ToRedisArgs) -> bool {
        self.set_with(key, value, SetOptions::new())
    }

    /// As [`Client::set_with`].
    pub fn set_with(
        &self,
        key: impl ToRedisArgs,
        value: impl ToRedisArgs,
        options: SetOptions,
    ) -> bool {
        self.or(false, self.client.set_with(key, value, options))
    }

    /// As [`Client::delete`].
    pub fn delete(&self, keys: impl ToRedisArgs) -> i64 {
        self.or(0, self.client.delete(keys))
    }

    /// As [`Client::exists`].
    pub fn exists(&self, key: impl ToRedisArgs) -> bool {
        self.or(false, self.client.exists(key))
    }

    /// As [`Client::expire`].
    pub fn expire(&self, key: impl ToRedisArgs, seconds: i64) -> bool {
        self.or(false, self.client.expire(key, seconds))
    }

    /// As [`Client::ttl`]; -2, as for a key that does not exist, on an error.
    pub fn ttl(&self, key: impl ToRedisArgs) -> i64 {
        self.or(-2, self.client.ttl(key))
    }

    /// As [`Client::incr`]; none on an error.
    pub fn incr(&self, key: impl ToRedisArgs, by: i64) -> Option<i64> {
        self.or(None, self.client.incr(key, by).map(Some))
    }

    /// As [`Client::hset`].
    pub fn hset(
        &self,
        name: impl ToRedisArgs,
        field: impl ToRedisArgs,
        value: impl ToRedisArgs,
    ) -> i64 {
        self.or(0, self.client.hset(name, field, value))
    }

    /// As [`Client::hset_many`].
    pub fn hset_many<F: ToRedisArgs, V: ToRedisArgs>(
        &self,
        name: impl ToRedisArgs,
        fields: impl IntoIterator<Item = (F, V)>,
    ) -> i64 {
        self.or(0, self.client.hset_many(name, fields))
    }

    /// As [`Client::hget`].
    pub fn hget<T: FromRedisValue>(
        &self,
        name: impl ToRedisArgs,
        field: impl ToRedisArgs,
    ) -> Option<T> {
        self.or(None, self.client.hget(name, field))
    }

    /// As [`Client::mget`]; as many nones as there are keys on an error.
    pub fn mget<T: FromRedisValue>(&self, keys: impl ToRedisArgs) -> Vec<Option<T>> {
        let none = (0..keys.num_of_args()).map(|_| None).collect();
        self.or(none, self.client.mget(keys))
    }

    /// As [`Client::mset`]; true if they were set.
    pub fn mset<K: ToRedisArgs, V: ToRedisArgs>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> bool {
        self.or(false, self.client.mset(pairs).map(|()| true))
    }

    /// As [`Client::set_json_with`].
    pub fn set_json<T: Serialize + ?Sized>(
        &self,
        key: impl ToRedisArgs,
        value: &T,
        options: SetOptions,
    ) -> bool {
        self.or(false, self.client.set_json_with(key, value, options))
    }

    /// As [`Client::get_json`].
    pub fn get_json<T: DeserializeOwned>(&self, key: impl ToRedisArgs) -> Option<T> {
        self.or(None, self.client.get_json(key))
    }

    /// As [`Client::publish`]; 0 on an error.
    pub fn publish(&self, channel: impl ToRedisArgs, data: impl ToRedisArgs) -> i64 {
        self.or(0, self.client.publish(channel, data))
    }

    /// As [`Client::publish_json`]; 0 on an error.
    pub fn publish_json<T: Serialize + ?Sized>(&self, channel: impl ToRedisArgs, value: &T) -> i64 {
        self.or(0, self.client.publish_json(channel, value))
    }

    /// As [`Client::command`]; none on an error.
    pub fn command<T: FromRedisValue>(&self, args: impl ToRedisArgs) -> Option<T> {
        self.or(None, self.client.command(args).map(Some))
    }
}
