//! What is to be acknowledged: collected, packed, and taken off once it was sent.

use std::io::Write;

use crate::fork::lock;
use crate::stream::channel::Channel;
use crate::transport::arg;

/// Ids to be acknowledged, each as an argument of XACK.
#[derive(Default)]
pub(super) struct Acks {
    packed: Vec<u8>,
    count: usize,
    /// How many bytes, and ids, were taken off the front so far.
    sent: (u64, u64),
}

/// How far acknowledgements go that are under way.
#[derive(Clone, Copy)]
pub(super) struct Sending {
    bytes: u64,
    ids: u64,
}

impl Acks {
    pub(super) fn add(&mut self, id: &[u8]) {
        arg(&mut self.packed, id);
        self.count += 1;
    }

    pub(super) fn take_over(&mut self, other: &mut Acks) {
        self.packed.extend_from_slice(&other.packed);
        self.count += other.count;
        other.packed.clear();
        other.count = 0;
    }

    fn remove(&mut self, sent: Sending) {
        // Somebody else may have sent some of them too, and been faster.
        if sent.bytes > self.sent.0 {
            self.packed.drain(..(sent.bytes - self.sent.0) as usize);
            self.count -= (sent.ids - self.sent.1) as usize;
            self.sent = (sent.bytes, sent.ids);
        }
    }

    pub(super) fn ids(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.packed);
        let words = text.split("\r\n").filter(|word| !word.starts_with('$'));
        words
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

impl Channel {
    pub(super) fn has_acks(&self) -> bool {
        lock(&self.state).acks.count > 0
    }

    /// XACK of all that is to be acknowledged.
    pub(super) fn pack_acks(&self, out: &mut Vec<u8>) -> Option<Sending> {
        let state = lock(&self.state);
        let acks = &state.acks;
        if acks.count == 0 {
            return None;
        }
        // Writing into memory does not fail.
        let _ = write!(out, "*{}\r\n$4\r\nXACK\r\n", acks.count + 3);
        arg(out, self.name.as_bytes());
        arg(out, self.group.as_bytes());
        out.extend_from_slice(&acks.packed);
        Some(Sending {
            bytes: acks.sent.0 + acks.packed.len() as u64,
            ids: acks.sent.1 + acks.count as u64,
        })
    }

    pub(super) fn acks_sent(&self, sent: Sending) {
        lock(&self.state).acks.remove(sent);
    }

    /// Acknowledges now, over the connections that all share. What cannot be is left to the reader.
    pub(super) fn send_acks(&self) -> bool {
        let mut packed = Vec::new();
        let Some(sending) = self.pack_acks(&mut packed) else {
            return true;
        };
        match self.shared.send(&packed, &self.name) {
            Ok(()) => self.acks_sent(sending),
            Err(error) => {
                log::debug!(target: "redkeep", "channel {}: not acknowledged yet: {error}", self.name);
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_taken_off_once_they_were_sent() {
        let mut acks = Acks::default();
        let sending = |acks: &Acks| Sending {
            bytes: acks.sent.0 + acks.packed.len() as u64,
            ids: acks.sent.1 + acks.count as u64,
        };
        acks.add(b"1-1");
        acks.add(b"22-2");
        let first = sending(&acks);
        acks.add(b"3-3");
        let both = sending(&acks);
        assert_eq!(acks.ids(), ["1-1", "22-2", "3-3"]);
        acks.remove(first);
        assert_eq!((acks.ids(), acks.count), (vec!["3-3".to_owned()], 1));
        acks.remove(first);
        assert_eq!(acks.count, 1);
        acks.remove(both);
        assert_eq!((acks.packed.len(), acks.count), (0, 0));
        // The slower of two who sent the same takes nothing of what came since.
        acks.add(b"4-4");
        acks.remove(first);
        assert_eq!(acks.ids(), ["4-4"]);
    }
}
