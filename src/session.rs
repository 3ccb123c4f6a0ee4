//! Sessions of users: flat JSON under `session:{id}`, found again by the user.
//!
//! ```text
//! session:{id}             {"user_id": …, "created_at": …, the data side by side}     expires
//! user_sessions:{user_id}  a sorted set: ids, by the time when each may be forgotten  expires with the last
//! ```
//!
//! The two live in different slots of a cluster, so no step changes both. What holds is this: an id is in the index
//! before its session exists, and stays there for twice as long as the session lives, so that the index never lacks a
//! live session; ids that are left over are found to be dead, and go.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::client::{Client, Script, SetOptions, parse};
use crate::clock;
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::manager::Manager;
use crate::sys;
use crate::transport::Reply;

/// Sessions that expire unless they are used.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// # let keep = redkeep::Manager::open("embedded://")?;
/// use redkeep::Sessions;
/// use serde_json::{Value, json};
///
/// let sessions = keep.sessions(Sessions::TTL);
/// let id = sessions.create("user:1", &json!({"theme": "dark"}))?;
/// let session: Option<Value> = sessions.get(&id)?;
/// assert_eq!(session.unwrap()["theme"], "dark");
/// sessions.update(&id, &json!({"cart": [7, 9]}))?;
/// sessions.touch(&id)?;                           // lives for another day
/// assert_eq!(sessions.all_of("user:1")?, [id]);
/// assert_eq!(sessions.delete_all_of("user:1")?, 1);
/// # Ok(()) }
/// ```
///
/// A session is a JSON object under the key `session:{id}` (the braces are not part of it): `user_id`, `created_at` (by
/// this machine's clock, in seconds since 1970, with a fraction) and the data beside them, as other programs store them
/// too. Its id is a random UUID (version 4) from the system's randomness. Whoever knows the id has the session: it
/// appears in no log and in no error.
///
/// The sessions of a user are noted under `user_sessions:{user_id}`, which cannot live in the same slot of a cluster as
/// the sessions themselves: creating and touching are two steps, the note first or renewed in time, so that no live
/// session is missing there. A session that another program made is there from the first [`touch`](Sessions::touch) on.
#[derive(Clone, Debug)]
pub struct Sessions {
    client: Client,
    ttl: Duration,
}

impl Manager {
    /// Sessions that live for `ttl` after they were created or last touched; [`Sessions::TTL`] is a day.
    pub fn sessions(&self, ttl: Duration) -> Sessions {
        Sessions {
            client: self.client(),
            ttl,
        }
    }
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// How often an update begins anew because somebody else changed the session meanwhile, and the longest pause before.
const TRIES: u32 = 16;
const PAUSE: Duration = Duration::from_millis(20);

/// What the session itself keeps.
const USER: &str = "user_id";
const CREATED: &str = "created_at";

/// A JSON object, its values as they were written.
type Fields = BTreeMap<String, Box<RawValue>>;

impl Sessions {
    /// The usual time to live: 24 hours.
    pub const TTL: Duration = Duration::from_secs(24 * 3600);

    /// Creates a session and returns its id. `data` is whatever serde makes a JSON object of; a field called `user_id`
    /// or `created_at` is refused.
    pub fn create<T: Serialize + ?Sized>(&self, user_id: &str, data: &T) -> Result<String> {
        self.create_text(user_id, &text_of(data)?)
    }

    pub(crate) fn create_text(&self, user_id: &str, data: &str) -> Result<String> {
        self.valid()?;
        let mut fields = data_fields(data)?;
        let index = index(user_id)?;
        let id = new_id()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let created = now.unwrap_or_default().as_secs_f64();
        fields.insert(USER.to_owned(), raw(text_of(user_id)?)?);
        fields.insert(CREATED.to_owned(), raw(text_of(&created)?)?);
        self.note(&index, &id)?;
        let options = SetOptions::new().px(self.ttl.as_millis() as i64);
        self.client
            .set_with(key(&id)?, text_of(&fields)?, options)
            .map(|_| id)
    }

    /// The whole session, `user_id` and `created_at` among its fields, as the type asked for; none if there is no such
    /// session, or none any more. An id of anything but letters, digits, `-`, `_` and `.`, or longer than 128, is an
    /// error of kind [`Argument`](ErrorKind::Argument) here and everywhere, and is not sent.
    pub fn get<T: DeserializeOwned>(&self, id: &str) -> Result<Option<T>> {
        self.client.get_json(key(id)?)
    }

    pub(crate) fn get_raw<T>(
        &self,
        id: &str,
        read: impl FnOnce(&mut Reply) -> T,
    ) -> Result<Option<T>> {
        self.client.get_json_raw(key(id)?, read)
    }

    /// Sets the fields of `data` in a session, and takes those out that are null; the others stay as they are, `user_id`,
    /// `created_at` and the time that the session has left among them. False if there is no such session. Nothing that
    /// others change meanwhile is lost: it is read again, 16 times at most, after which the error is of kind
    /// [`Watched`](ErrorKind::Watched).
    pub fn update<T: Serialize + ?Sized>(&self, id: &str, data: &T) -> Result<bool> {
        self.update_text(id, &text_of(data)?)
    }

    pub(crate) fn update_text(&self, id: &str, data: &str) -> Result<bool> {
        static SWAP: OnceLock<Script> = OnceLock::new();
        let swap = Script::kept(
            &SWAP,
            "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
             redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
             return 1",
        );
        let key = key(id)?;
        let changes = data_fields(data)?;
        for _ in 0..TRIES {
            let Some(before) = self.client.get::<Vec<u8>>(&key)? else {
                return Ok(false);
            };
            let mut fields: Fields = parse(&before)?;
            for (name, value) in &changes {
                match value.get() {
                    "null" => fields.remove(name),
                    _ => fields.insert(name.clone(), value.clone()),
                };
            }
            if self.client.eval(swap, &key, (before, text_of(&fields)?))? {
                return Ok(true);
            }
            std::thread::sleep(clock::between(Duration::ZERO, PAUSE));
        }
        Err(Error::new(
            ErrorKind::Watched,
            "the session is changed by others all the time; nothing was changed",
        )
        .outcome_is(Outcome::Refused))
    }

    /// Lets a session live for the whole time again, from now on; false if there is no such session.
    pub fn touch(&self, id: &str) -> Result<bool> {
        self.valid()?;
        let ms = self.ttl.as_millis() as u64;
        let session: Option<Vec<u8>> = self.client.command(("GETEX", key(id)?, "PX", ms))?;
        let Some(session) = session else {
            return Ok(false);
        };
        // Should this fail, the note lasts until the next touch: twice as long as the session did.
        if let Some(user) = user_of(&session) {
            self.note(&index(&user)?, id)?;
        }
        Ok(true)
    }

    /// Deletes a session; false if there was none.
    pub fn delete(&self, id: &str) -> Result<bool> {
        let session: Option<Vec<u8>> = self.client.command(("GETDEL", key(id)?))?;
        let Some(session) = session else {
            return Ok(false);
        };
        if let Some(index) = user_of(&session).and_then(|user| index(&user).ok()) {
            // The session is gone; a note that is left over says nothing, and goes by itself.
            let gone: Result<i64> = self.client.command(("ZREM", index, id));
            if let Err(error) = gone {
                let what = "a session was deleted, the note of it was not";
                self.client.swallow(what, &error);
            }
        }
        Ok(true)
    }

    /// The ids of a user's live sessions, in no order.
    pub fn all_of(&self, user_id: &str) -> Result<Vec<String>> {
        let noted = self.noted(&index(user_id)?)?;
        let live: Vec<bool> = self.of_each("EXISTS", &noted)?;
        let pairs = noted.into_iter().zip(live);
        Ok(pairs.filter_map(|(id, live)| live.then_some(id)).collect())
    }

    /// Deletes all sessions of a user, and returns how many those were. One that is created meanwhile may stay.
    pub fn delete_all_of(&self, user_id: &str) -> Result<i64> {
        let index = index(user_id)?;
        let noted = self.noted(&index)?;
        if noted.is_empty() {
            return Ok(0);
        }
        let deleted: Vec<i64> = self.of_each("DEL", &noted)?;
        let _: i64 = self.client.command(("ZREM", &index, &noted))?;
        Ok(deleted.iter().sum())
    }

    pub(crate) fn valid(&self) -> Result<()> {
        match (SHORTEST..=LONGEST).contains(&self.ttl) {
            true => Ok(()),
            false => Err(Error::argument(format!(
                "ttl: {:?} is not allowed; it takes a time from 1 ms to 10 years",
                self.ttl
            ))),
        }
    }

    fn noted(&self, index: &str) -> Result<Vec<String>> {
        self.client.command(("ZRANGE", index, 0, -1))
    }

    /// The answers to one command for each of these sessions, in one round trip.
    fn of_each<T: redis::FromRedisValue>(&self, name: &str, ids: &[String]) -> Result<Vec<T>> {
        let mut pipe = self.client.pipeline();
        for id in ids {
            pipe.command((name, format!("session:{id}")))?;
        }
        pipe.query()
    }

    /// Writes the id down, for twice the time that its session lives; forgets what is over.
    fn note(&self, index: &str, id: &str) -> Result<()> {
        static NOTE: OnceLock<Script> = OnceLock::new();
        let note = Script::kept(
            &NOTE,
            "local clock = redis.call('TIME')
             local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
             redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
             redis.call('ZADD', KEYS[1], 'GT', string.format('%.0f', now + ARGV[2]), ARGV[1])
             local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
             redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', tonumber(last)))",
        );
        let life = 2 * self.ttl.as_millis() as u64;
        self.client.eval(note, index, (id, life))
    }
}

fn new_id() -> Result<String> {
    let mut bytes: [u8; 16] = sys::random().map_err(|error| {
        Error::new(ErrorKind::System, "the system gave no random bytes").caused_by(error)
    })?;
    // Version 4, variant 1, as RFC 9562 has it.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    Ok(parts.map(|part| &digits[part]).join("-"))
}

fn key(id: &str) -> Result<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    match (1..=128).contains(&id.len()) && id.bytes().all(plain) {
        true => Ok(format!("session:{id}")),
        // The id itself is not repeated: it may be somebody's.
        false => Err(Error::argument(
            "id: no session has such an id; it takes 1 to 128 letters, digits, -, _ and .",
        )),
    }
}

fn index(user_id: &str) -> Result<String> {
    match user_id.is_empty() {
        true => Err(Error::argument("user_id: it is empty")),
        false => Ok(format!("user_sessions:{user_id}")),
    }
}

/// Whose session it is. Other programs may store a number.
fn user_of(session: &[u8]) -> Option<String> {
    let fields: Fields = serde_json::from_slice(session).ok()?;
    let user = fields.get(USER)?.get();
    Some(serde_json::from_str(user).unwrap_or_else(|_| user.to_owned()))
}

/// What the caller hands over: an object, with nothing of ours in it.
fn data_fields(data: &str) -> Result<Fields> {
    let fields: Fields = serde_json::from_str(data).map_err(|why| {
        let (line, column) = (why.line(), why.column());
        let text = match why.is_data() {
            true => "data: a JSON object is needed".to_owned(),
            false => format!("data: the text is not JSON (line {line}, column {column})"),
        };
        Error::new(ErrorKind::Json, text)
    })?;
    match [USER, CREATED]
        .iter()
        .find(|name| fields.contains_key(**name))
    {
        None => Ok(fields),
        Some(name) => Err(Error::argument(format!(
            "data: the field {name} is the session's own; it takes any other name"
        ))),
    }
}

fn text_of<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|why| {
        let text = format!("data: it cannot be written as JSON: {why}");
        Error::new(ErrorKind::Json, text)
    })
}

fn raw(text: String) -> Result<Box<RawValue>> {
    RawValue::from_string(text).map_err(|why| {
        Error::new(ErrorKind::Internal, "what was written as JSON is none").caused_by(why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_random_uuids_of_version_4() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| new_id().unwrap()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            let bytes = id.as_bytes();
            assert_eq!(bytes.len(), 36);
            for (i, b) in bytes.iter().enumerate() {
                match i {
                    8 | 13 | 18 | 23 => assert_eq!(*b, b'-'),
                    14 => assert_eq!(*b, b'4'),
                    19 => assert!(b"89ab".contains(b), "{id}"),
                    _ => assert!(b.is_ascii_digit() || (b'a'..=b'f').contains(b), "{id}"),
                }
            }
        }
    }
}
