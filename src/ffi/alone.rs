//! What one thread uses at a time: a second one is told, and does no harm.

use std::sync::{
    PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError, TryLockResult,
};

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
        self.unless_used(self.inside.try_write())
    }

    /// For whoever only reads: beside others who do.
    pub(super) fn read(&self) -> Result<RwLockReadGuard<'_, T>> {
        self.unless_used(self.inside.try_read())
    }

    pub(super) fn is_used(&self) -> bool {
        self.change().is_err()
    }

    pub(super) fn get_mut(&mut self) -> &mut T {
        self.inside
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn unless_used<G>(&self, guard: TryLockResult<G>) -> Result<G> {
        match guard {
            Ok(guard) => Ok(guard),
            // A panic of a program's callback leaves what was inside as it was.
            Err(TryLockError::Poisoned(guard)) => Ok(guard.into_inner()),
            Err(TryLockError::WouldBlock) => Err(conflict(self.name)),
        }
    }
}

// Once for all kinds of handles.
#[cold]
#[inline(never)]
fn conflict(name: &str) -> Error {
    let text = format!("{name}: another thread is using it");
    Error::new(ErrorKind::Conflict, text)
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
