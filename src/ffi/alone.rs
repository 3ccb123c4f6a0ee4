//! What one thread uses at a time: a second one is told, and does no harm.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::error::{Error, ErrorKind, Result};

/// The inside of a handle. Nobody waits for it, so a forked child whose parent was using it is told, too.
pub(super) struct Alone<T> {
    name: &'static str,
    inside: RwLock<T>,
}

impl<T> Alone<T> {
    pub(super) fn new(name: &'static str, inside: T) -> Alone<T> {
        Alone {
            name,
            inside: RwLock::new(inside),
        }
    }

    /// For whoever changes it: alone.
    pub(super) fn change(&self) -> Result<RwLockWriteGuard<'_, T>> {
        self.inside.try_write().ok_or_else(|| self.conflict())
    }

    /// For whoever only reads: beside others who do.
    pub(super) fn read(&self) -> Result<RwLockReadGuard<'_, T>> {
        self.inside.try_read().ok_or_else(|| self.conflict())
    }

    pub(super) fn is_used(&self) -> bool {
        self.inside.is_locked()
    }

    pub(super) fn get_mut(&mut self) -> &mut T {
        self.inside.get_mut()
    }

    fn conflict(&self) -> Error {
        let text = format!("{}: another thread is using it", self.name);
        Error::new(ErrorKind::Conflict, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_together_and_who_changes_it_is_alone() {
        let alone = Alone::new("lock", 7);
        {
            let one = alone.read().unwrap();
            assert_eq!(*one, *alone.read().unwrap());
            let error = alone.change().err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert_eq!(error.message(), "lock: another thread is using it");
        }
        *alone.change().unwrap() = 8;
        let changed = alone.change().unwrap();
        assert!(alone.is_used() && alone.read().is_err() && alone.change().is_err());
        assert_eq!(*changed, 8);
    }
}
