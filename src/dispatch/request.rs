//! A request on its way down: what is sent, what may be done with it, and by when it must be answered.

use std::time::Duration;

use crate::clock::{Deadline, Moment};
use crate::node::Company;

/// What may be done when it is not known whether the server executed a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// It changes nothing: it may be sent again.
    Read,
    /// It changes something, but twice is the same as once, and the answer is the same: it may be sent again.
    Repeatable,
    /// It must not be sent again (INCR), or its answer would lie the second time (DEL, SET NX).
    Once,
    /// As `Once`; and an error may come after part of it was executed (EVAL).
    Script,
}

impl Class {
    pub(crate) fn may_repeat(self) -> bool {
        matches!(self, Class::Read | Class::Repeatable)
    }
}

pub(crate) struct Request<'a> {
    /// In RESP, ready to be sent.
    pub(crate) bytes: &'a [u8],
    pub(crate) class: Class,
    /// The first key, by which a cluster picks the node.
    pub(crate) key: Option<&'a [u8]>,
    /// It may take long: nobody else's command may wait behind it.
    pub(crate) apart: bool,
    pub(crate) started: Moment,
    pub(crate) deadline: Deadline,
}

impl<'a> Request<'a> {
    /// A request that begins now and is over within `time`.
    pub(crate) fn new(
        bytes: &'a [u8],
        class: Class,
        key: Option<&'a [u8]>,
        time: Duration,
    ) -> Request<'a> {
        let started = Moment::now();
        Request {
            bytes,
            class,
            key,
            apart: false,
            started,
            deadline: Deadline::at(started, time),
        }
    }

    /// Whether it may share a connection, after so many tries.
    pub(super) fn company(&self, tries: u32) -> Company {
        match tries {
            _ if self.apart => Company::Never,
            0 | 1 => Company::Welcome,
            // Twice it went wrong, and on a shared line that may have been another's fault.
            _ => Company::RatherNot,
        }
    }
}
