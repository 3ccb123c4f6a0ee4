//! What a feature keeps for as long as the manager lives in this process: its threads, its queues. Made on first use,
//! ended with the manager. A forked child begins without any.

use std::any::Any;
use std::sync::{Arc, Mutex};

use crate::clock::Deadline;
use crate::error::{Error, Result};
use crate::fork::lock;

pub(crate) trait Resident: Any + Send + Sync {
    /// Wakes whoever waits, and tells every thread to end. Called once, and waits for nothing.
    fn stop(&self);

    /// Waits for the threads; false if one still ran at the deadline.
    fn join(&self, deadline: Deadline) -> bool;
}

#[derive(Default)]
pub(crate) struct Residents(Mutex<House>);

#[derive(Default)]
struct House {
    closed: bool,
    all: Vec<Arc<dyn Resident>>,
}

impl Residents {
    /// The one of this type, made if there is none yet.
    pub(crate) fn get<T: Resident>(&self, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut house = lock(&self.0);
        let known = house.all.iter().find_map(|one| {
            let one: Arc<dyn Any + Send + Sync> = one.clone();
            one.downcast::<T>().ok()
        });
        if let Some(known) = known {
            return Ok(known);
        }
        if house.closed {
            return Err(Error::closed());
        }
        let new = Arc::new(make()?);
        house.all.push(new.clone());
        Ok(new)
    }

    pub(crate) fn stop(&self) {
        let all = {
            let mut house = lock(&self.0);
            match std::mem::replace(&mut house.closed, true) {
                true => Vec::new(),
                false => house.all.clone(),
            }
        };
        all.iter().for_each(|one| one.stop());
    }

    /// Waits for all of them, also after one that was late.
    pub(crate) fn join(&self, deadline: Deadline) -> bool {
        let all = lock(&self.0).all.clone();
        all.iter().filter(|one| !one.join(deadline)).count() == 0
    }
}
