//! The names of keys, groups and consumers, as programs of other makes expect them.

use std::sync::OnceLock;

use crate::error::{Error, Result};

/// The group in which all consumers of one listener share the messages of a channel.
pub(super) fn group(channel: &str, listener: &str) -> String {
    format!("{channel}:{listener}:cg")
}

/// Where the ids of handled messages stand, for delivery by ledger.
pub(super) fn ledger(channel: &str, group: &str) -> String {
    format!("stream:{channel}:group:{group}:processed")
}

/// Where messages go that could not be handled: beside the channel, so that both change in one step.
pub(super) fn dead(channel: &str) -> Result<String> {
    beside(channel, "dead")
}

/// The mark that a message with this idempotency key was sent.
pub(super) fn sent(channel: &str, key: &str) -> Result<String> {
    beside(channel, &format!("sent:{key}"))
}

/// `{listener}.{host}.{pid}.{8 random}`
pub(super) fn consumer(listener: &str) -> String {
    static HOST: OnceLock<String> = OnceLock::new();
    let host = HOST.get_or_init(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        match name.trim() {
            "" => "localhost".to_owned(),
            name => name.to_owned(),
        }
    });
    format!("{listener}.{host}.{}.{:08x}", std::process::id(), random())
}

fn random() -> u32 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Seeded by the system once for each thread, and counted on from there; a fork would go on alike.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    hasher.write_u128(now.unwrap_or_default().as_nanos());
    hasher.finish() as u32
}

/// A channel must have a name.
pub(super) fn check(what: &str, name: &str) -> Result<()> {
    match name.is_empty() || name.contains('\0') {
        true => Err(Error::argument(format!(
            "{what}: it must have a name, without zero bytes"
        ))),
        false => Ok(()),
    }
}

/// A key in the same slot of a cluster as `key`.
fn beside(key: &str, suffix: &str) -> Result<String> {
    let helper = match tag(key) {
        Some(_) => format!("{key}:{suffix}"),
        None => format!("{{{key}}}:{suffix}"),
    };
    match tag(&helper) == Some(tag(key).unwrap_or(key)) {
        true => Ok(helper),
        false => Err(Error::argument(format!(
            "channel: the braces in \"{key}\" leave no name for a key in the same slot of a cluster"
        ))),
    }
}

/// What a cluster hashes of a key instead of all of it.
fn tag(key: &str) -> Option<&str> {
    let (_, behind) = key.split_once('{')?;
    let (tag, _) = behind.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_seed() {
        assert_eq!(group("orders", "billing"), "orders:billing:cg");
        assert_eq!(
            ledger("orders", "orders:billing:cg"),
            "stream:orders:group:orders:billing:cg:processed"
        );
        assert_eq!(dead("orders").unwrap(), "{orders}:dead");
        let name = consumer("billing");
        let pid = format!(".{}.", std::process::id());
        assert!(name.starts_with("billing.") && name.contains(&pid));
        assert_ne!(name, consumer("billing"));
    }

    #[test]
    fn helper_keys_share_the_slot_or_are_refused() {
        assert_eq!(dead("orders:{eu}").unwrap(), "orders:{eu}:dead");
        assert_eq!(dead("{eu}").unwrap(), "{eu}:dead");
        assert!(dead("a}b").is_err());
        assert!(dead("{}").is_err());
        assert!(sent("orders", "a{b}").is_ok());
        assert!(check("channel", "").is_err());
    }
}
