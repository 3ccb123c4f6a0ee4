//! One direction of one connection through the relay: what was read, and is not yet written.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::Instant;

use crate::sys::{self, Sleep};

const PIECE: usize = 64 * 1024;
/// More than this is left in the sender's hands, who then feels that the receiver takes nothing.
const MOST: usize = 4 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Flow {
    /// What was read, each with the moment from which it may be written.
    held: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// What of the first piece was written already.
    written: usize,
    /// The sender has nothing more to send.
    ended: bool,
    /// The receiver takes nothing at the moment.
    pub(super) blocked: bool,
}

impl Flow {
    pub(super) fn wants(&self) -> bool {
        !self.ended && self.bytes < MOST
    }

    /// Nothing more will ever go this way.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.held.is_empty()
    }

    /// Takes what there is, to be written from `due` on. An error is the sender's.
    pub(super) fn read(&mut self, from: &impl AsFd, due: Instant) -> io::Result<()> {
        let mut piece = Vec::new();
        match sys::recv(from.as_fd(), &mut piece, PIECE, Sleep::Never) {
            Ok(0) => self.ended = true,
            Ok(count) => {
                piece.shrink_to_fit();
                self.bytes += count;
                self.held.push_back((due, piece));
            }
            Err(error) if passes(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes what is due. An error is the receiver's.
    pub(super) fn write(&mut self, to: &impl AsFd, now: Instant) -> io::Result<()> {
        self.blocked = false;
        while let Some((due, piece)) = self.held.front()
            && *due <= now
        {
            match sys::send(to.as_fd(), &piece[self.written..], Sleep::Never) {
                Ok(count) => {
                    self.bytes -= count;
                    self.written += count;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if passes(&error) => {
                    self.blocked = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            if self.written == piece.len() {
                self.held.pop_front();
                self.written = 0;
            }
        }
        Ok(())
    }

    /// All that is held may be written.
    pub(super) fn release(&mut self, now: Instant) {
        self.held.iter_mut().for_each(|(due, _)| *due = now);
    }

    /// When there will be something to write, if nothing happens before.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.blocked {
            true => None,
            false => self.held.front().map(|(due, _)| *due),
        }
    }
}

fn passes(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
