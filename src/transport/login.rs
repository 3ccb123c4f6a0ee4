//! Asking for credentials within a deadline.
//!
//! Whoever provides them may take long, or never answer, so it is asked on a thread of its own, one at a time: who
//! comes meanwhile waits for the same answer, and whoever gives up leaves it behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use crate::clock::Deadline;
use crate::config::{Credentials, Provider};
use crate::error::{Error, ErrorKind, Result};
use crate::fork::lock;
use crate::sys;
use crate::transport::Lifeline;
use crate::worker::Latch;

/// How often a waiter looks whether its manager was closed meanwhile.
const GLANCE: Duration = Duration::from_millis(20);

/// A question under way, or answered.
#[derive(Default)]
pub(crate) struct Asked {
    answer: OnceLock<Result<Credentials>>,
    done: Latch,
}

impl Asked {
    fn finish(&self, answer: Result<Credentials>) {
        let _ = self.answer.set(answer);
        self.done.open();
    }

    pub(crate) fn answer(&self) -> Option<Result<Credentials>> {
        self.answer.get().cloned()
    }
}

#[derive(Default)]
pub(crate) struct Desk {
    asked: Mutex<Option<Arc<Asked>>>,
}

impl Desk {
    /// Begins to ask, or joins a question that is under way.
    pub(crate) fn begin(&self, provider: &Provider) -> Arc<Asked> {
        let mine = Arc::new(Asked::default());
        {
            let mut asked = lock(&self.asked);
            if let Some(running) = asked.as_ref().filter(|asked| !asked.done.is_open()) {
                return running.clone();
            }
            *asked = Some(mine.clone());
        }
        let (provider, slot) = (provider.clone(), mine.clone());
        let started = thread::Builder::new()
            .name("redkeep-creds".into())
            .spawn(move || {
                sys::block_signals();
                let answer = catch_unwind(AssertUnwindSafe(|| provider.ask()));
                // Gone before the answer is there: then nobody who has it waits for the provider's end in vain.
                drop(provider);
                slot.finish(answer.unwrap_or_else(|_| {
                    Err(Error::new(
                        ErrorKind::Auth,
                        "the credentials provider panicked",
                    ))
                }));
            });
        if let Err(error) = started {
            let no_thread = Error::new(ErrorKind::System, "no thread to ask for credentials");
            mine.finish(Err(no_thread.caused_by(error)));
        }
        mine
    }

    pub(crate) fn ask(
        &self,
        provider: &Provider,
        lifeline: &Lifeline,
        deadline: Deadline,
    ) -> Result<Credentials> {
        let asked = self.begin(provider);
        while !asked.done.wait(deadline.within(GLANCE)) {
            if lifeline.is_cut() {
                return Err(Error::closed());
            }
            if deadline.passed() {
                let text = "the credentials provider did not answer in time";
                return Err(Error::new(ErrorKind::Timeout, text));
            }
        }
        asked.answer().expect("an answered question")
    }
}
