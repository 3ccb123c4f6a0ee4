//! One direction of one connection: what was read and not yet written, and what the fault makes of it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use socket2::Socket;

use super::Fault;

/// More than this is left in the sender's hands, so that a stalled receiver is felt by the sender.
const HELD: usize = 256 * 1024;
/// With a delay, much may be under way at once: that is what "does not lower throughput" means.
const UNDER_WAY: usize = 64 * 1024 * 1024;

/// What becomes of the whole connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Lives,
    /// Both sides shall see a reset.
    Reset,
    /// Both sides shall see an end in good order.
    Close,
}

pub struct Lane {
    pub fault: Fault,
    /// Bytes that went through since the fault was set.
    passed: u64,
    queue: VecDeque<(Instant, Vec<u8>)>,
    queued: usize,
    /// When the end of the stream was read, or, with a delay, when it is due.
    end: Option<Instant>,
    end_told: bool,
    /// The receiver takes no more at the moment.
    pub blocked: bool,
    next_drip: Option<Instant>,
}

impl Lane {
    pub fn new(fault: Fault) -> Lane {
        Lane {
            fault,
            passed: 0,
            queue: VecDeque::new(),
            queued: 0,
            end: None,
            end_told: false,
            blocked: false,
            next_drip: None,
        }
    }

    pub fn set(&mut self, fault: Fault) {
        self.fault = fault;
        self.passed = 0;
        self.next_drip = None;
    }

    pub fn wants_bytes(&self) -> bool {
        let room = match self.fault {
            Fault::Delay(_) => UNDER_WAY,
            _ => HELD,
        };
        self.end.is_none() && self.queued < room
    }

    /// Nothing more will ever go this way.
    pub fn is_over(&self) -> bool {
        self.end.is_some() && (self.end_told || self.queue.is_empty())
    }

    pub fn end_is_told(&self) -> bool {
        self.end_told
    }

    /// Takes what the sender has. An error is the sender's reset.
    pub fn read(&mut self, from: &Socket, now: Instant) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let due = match self.fault {
            Fault::Delay(delay) => now + delay,
            _ => now,
        };
        match (&mut &*from).read(&mut buffer) {
            Ok(0) => self.end = Some(due),
            Ok(_) if self.fault == Fault::BlackHole => {}
            Ok(count) => {
                buffer.truncate(count);
                self.queued += count;
                self.queue.push_back((due, buffer));
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Writes what may go now, and counts it. An error is the receiver's reset.
    pub fn flush(
        &mut self,
        to: &Socket,
        now: Instant,
        counter: &AtomicU64,
    ) -> std::io::Result<Fate> {
        self.blocked = false;
        if self.fault == Fault::BlackHole {
            self.queue.clear();
            self.queued = 0;
            return Ok(Fate::Lives);
        }
        while let Some((due, bytes)) = self.queue.front() {
            if *due > now {
                return Ok(Fate::Lives);
            }
            let allowed = match self.fault {
                Fault::StallAfter(k) => k - self.passed.min(k),
                Fault::ResetAfter(k) | Fault::CloseAfter(k) => k - self.passed.min(k),
                Fault::Drip { .. } if self.next_drip.is_some_and(|next| now < next) => 0,
                Fault::Drip { .. } => 1,
                _ => u64::MAX,
            };
            if allowed == 0 {
                return Ok(self.fate_at_limit());
            }
            let length = bytes
                .len()
                .min(usize::try_from(allowed).unwrap_or(usize::MAX));
            let mut piece = bytes[..length].to_vec();
            if let Fault::CorruptAt(k, byte) = self.fault
                && (self.passed..self.passed + length as u64).contains(&k)
            {
                piece[(k - self.passed) as usize] = byte;
            }
            let written = match write_counted(to, &piece, counter) {
                Ok(written) => written,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(Fate::Lives);
                }
                Err(e) => return Err(e),
            };
            self.forget(written);
            if let Fault::Drip { every } = self.fault {
                self.next_drip = Some(now + every);
            }
            // Here and not at the next byte, which may never come.
            let k = match self.fault {
                Fault::ResetAfter(k) | Fault::CloseAfter(k) => k,
                _ => u64::MAX,
            };
            if self.passed >= k {
                return Ok(self.fate_at_limit());
            }
        }
        self.tell_end(to, now);
        Ok(Fate::Lives)
    }

    /// When there will be something to do without anything happening on the sockets.
    pub fn next_time(&self) -> Option<Instant> {
        if self.blocked || self.fault == Fault::BlackHole {
            return None;
        }
        let Some((due, _)) = self.queue.front() else {
            return self.end.filter(|_| !self.end_told && !self.is_stalled());
        };
        match (self.fault, self.next_drip) {
            (Fault::StallAfter(_), _) if self.is_stalled() => None,
            (Fault::Drip { .. }, Some(next)) => Some(next.max(*due)),
            _ => Some(*due),
        }
    }

    fn is_stalled(&self) -> bool {
        matches!(self.fault, Fault::StallAfter(k) if self.passed >= k)
    }

    fn fate_at_limit(&self) -> Fate {
        match self.fault {
            Fault::ResetAfter(_) => Fate::Reset,
            Fault::CloseAfter(_) => Fate::Close,
            _ => Fate::Lives,
        }
    }

    fn forget(&mut self, written: usize) {
        self.passed += written as u64;
        self.queued -= written;
        let (_, bytes) = self.queue.front_mut().expect("what was just written");
        bytes.drain(..written);
        if bytes.is_empty() {
            self.queue.pop_front();
        }
    }

    fn tell_end(&mut self, to: &Socket, now: Instant) {
        if self.end.is_some_and(|due| due <= now) && !self.end_told && !self.is_stalled() {
            // The receiver may be gone already; then it needs no telling.
            let _ = to.shutdown(Shutdown::Write);
            self.end_told = true;
        }
    }
}

/// Counts before it writes: whoever has received a byte finds it counted.
fn write_counted(to: &Socket, bytes: &[u8], counter: &AtomicU64) -> std::io::Result<usize> {
    let all = bytes.len();
    counter.fetch_add(all as u64, Ordering::SeqCst);
    let written = (&mut &*to).write(bytes);
    let kept = all - written.as_ref().copied().unwrap_or(0);
    counter.fetch_sub(kept as u64, Ordering::SeqCst);
    written
}

/// Whether the socket has bytes, or its end, without taking them.
pub fn has_something(socket: &Socket) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    !matches!(socket.peek(&mut byte), Err(e) if e.kind() == ErrorKind::WouldBlock)
}
