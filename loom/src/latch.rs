//! The latch: whoever waits is woken, whenever it opens; and what was done before it opened is seen behind it.

use crate::sync::Arc;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::worker::latch::Latch;
use loom::thread;

#[test]
fn all_who_wait_come_through() {
    loom::model(|| {
        let latch = Arc::new(Latch::default());
        let done = Arc::new(AtomicUsize::new(0));
        let wait = || {
            let (latch, done) = (latch.clone(), done.clone());
            thread::spawn(move || {
                latch.wait_for_ever();
                assert!(latch.is_open());
                assert_eq!(done.load(Ordering::Relaxed), 7);
            })
        };
        let waiters = [wait(), wait()];
        done.store(7, Ordering::Relaxed);
        latch.open();
        for one in waiters {
            one.join().unwrap();
        }
    });
}

#[test]
fn who_only_looks_sees_what_was_done_before() {
    loom::model(|| {
        let latch = Arc::new(Latch::default());
        let done = Arc::new(AtomicUsize::new(0));
        let (theirs, work) = (latch.clone(), done.clone());
        let opener = thread::spawn(move || {
            work.store(7, Ordering::Relaxed);
            theirs.open();
            theirs.open();
        });
        if latch.is_open() {
            assert_eq!(done.load(Ordering::Relaxed), 7);
        }
        opener.join().unwrap();
        assert!(latch.is_open());
    });
}
