//! Lua scripts, called by their digest.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::{FromRedisValue, ToRedisArgs};

use crate::client::{Client, Load, Packer, Pipeline, typed};
use crate::clock::Moment;
use crate::dispatch::Class;
use crate::error::{ErrorKind, Result};
use crate::transport::{Reply, command};

/// A Lua script and its digest. Make it once and keep it: calls then send the digest alone, and the text only where
/// the server does not know it yet.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// # let keep = redkeep::Manager::open("embedded://")?;
/// use redkeep::Script;
///
/// let add_up = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
/// let sum: i64 = keep.eval(&add_up, "sum", 5)?;
/// assert_eq!(sum, 5);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Script {
    text: Arc<str>,
    digest: Arc<str>,
}

impl Script {
    /// A script of this text. It is not sent before it is called.
    pub fn new(text: &str) -> Script {
        Script {
            text: text.into(),
            digest: redis::Script::new(text).get_hash().into(),
        }
    }

    /// A script of the library's own, made on first use. It is made outside of its OnceLock: should this process fork
    /// meanwhile, its child finds the lock free.
    pub(crate) fn kept(place: &'static OnceLock<Script>, text: &str) -> &'static Script {
        match place.get() {
            Some(script) => script,
            None => {
                let script = Script::new(text);
                place.get_or_init(|| script)
            }
        }
    }

    /// The SHA-1 of its text, by which the server knows it.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl Client {
    /// Calls a script with its keys and arguments, each one value or several. It is not repeated when it is not known
    /// whether it was executed.
    pub fn eval<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: impl ToRedisArgs,
        args: impl ToRedisArgs,
    ) -> Result<T> {
        self.eval_raw(script, &keys, &args, typed)
    }

    /// The same within a time of its own.
    pub(crate) fn eval_within<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: impl ToRedisArgs,
        args: impl ToRedisArgs,
        time: Duration,
    ) -> Result<T> {
        self.eval_raw_within(Class::Script, script, &keys, &args, time, typed)
    }

    pub(crate) fn eval_raw<T>(
        &self,
        script: &Script,
        keys: &impl ToRedisArgs,
        args: &impl ToRedisArgs,
        read: impl Fn(&mut Reply) -> Result<T>,
    ) -> Result<T> {
        self.eval_raw_within(Class::Script, script, keys, args, self.timeout()?, read)
    }

    /// The same for a script of our own, of which it is known what a second time does.
    pub(crate) fn eval_as<T>(
        &self,
        class: Class,
        script: &Script,
        keys: &impl ToRedisArgs,
        args: &impl ToRedisArgs,
        read: impl Fn(&mut Reply) -> Result<T>,
    ) -> Result<T> {
        self.eval_raw_within(class, script, keys, args, self.timeout()?, read)
    }

    fn eval_raw_within<T>(
        &self,
        class: Class,
        script: &Script,
        keys: &impl ToRedisArgs,
        args: &impl ToRedisArgs,
        time: Duration,
        read: impl Fn(&mut Reply) -> Result<T>,
    ) -> Result<T> {
        let started = Moment::now();
        let known = self.run_within(
            "EVALSHA",
            class,
            time,
            |to| call(to, &script.digest, keys, args),
            &read,
        );
        match known {
            // EVAL brings the text along, and the server keeps it.
            Err(error) if error.kind() == ErrorKind::NoScript => self.run_within(
                "EVAL",
                class,
                time.saturating_sub(started.elapsed()),
                |to| call(to, &script.text, keys, args),
                read,
            ),
            other => other,
        }
    }
}

/// What follows the command's name: the script, the number of keys, the keys, the arguments.
fn call(
    to: &mut Packer<'_>,
    script: &str,
    keys: &impl ToRedisArgs,
    args: &impl ToRedisArgs,
) -> Result<()> {
    to.bytes(script.as_bytes());
    to.counted_keys(keys)?;
    to.any(args);
    Ok(())
}

impl<'c> Pipeline<'c> {
    /// Adds the call of a script. The first call of each script in a pipeline brings its text along, the others its
    /// digest alone, so that the server always knows it.
    pub fn eval(
        &mut self,
        script: &Script,
        keys: impl ToRedisArgs,
        args: impl ToRedisArgs,
    ) -> Result<&mut Pipeline<'c>> {
        self.load.add_eval(script, &keys, &args)?;
        Ok(self)
    }
}

/// A script that a pipeline calls.
pub(super) struct Known {
    pub(super) digest: Arc<str>,
    /// The command by which a server of a cluster learns it: each that the pipeline reaches has to.
    pub(super) teaching: Vec<u8>,
}

impl Load {
    pub(crate) fn add_eval(
        &mut self,
        script: &Script,
        keys: &impl ToRedisArgs,
        args: &impl ToRedisArgs,
    ) -> Result<()> {
        let mut scripts = self.scripts.iter();
        let known = scripts.position(|known| known.digest == script.digest);
        let (name, text) = match known {
            None => ("EVAL", &script.text),
            Some(_) => ("EVALSHA", &script.digest),
        };
        self.add_with(false, |packer| {
            packer.bytes(name.as_bytes());
            call(packer, text, keys, args)
        })?;
        let at = known.unwrap_or_else(|| {
            let mut teaching = Vec::new();
            command(&mut teaching, &[b"SCRIPT", b"LOAD", script.text.as_bytes()]);
            let digest = script.digest.clone();
            self.scripts.push(Known { digest, teaching });
            self.scripts.len() - 1
        });
        self.calls_script(at);
        Ok(())
    }
}
