//! A thread that is interrupted all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Signals for the thread that asked for them, one each millisecond, until this is dropped.
pub struct Signals {
    over: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Signals {
    /// The handler is the whole process's: only for tests that run alone.
    pub fn to_this_thread() -> Signals {
        extern "C" fn nothing(_: libc::c_int) {}
        let handler: extern "C" fn(libc::c_int) = nothing;
        // SAFETY: the handler does nothing, and without SA_RESTART every system call sees EINTR.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            let set = libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
            assert_eq!(set, 0);
        }
        // SAFETY: plain. With musl it is a pointer, which no other thread would be handed.
        let target = unsafe { libc::pthread_self() } as usize;
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        let sender = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                // SAFETY: the thread waits for this one in `drop` before it ends.
                unsafe { libc::pthread_kill(target as libc::pthread_t, libc::SIGUSR1) };
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let sender = Some(sender);
        Signals { over, sender }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.sender.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|result| result.is_ok()));
    }
}
