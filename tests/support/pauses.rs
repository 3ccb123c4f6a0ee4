//! What the machine itself adds to the time that something takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// So many are woken one after the other before what is measured has happened: a timer or the server, the thread that
/// listens, the one that waits, the server, and the one that waits once more. On a busy machine each may come as late
/// as any other thread that sleeps.
const CHAIN: u32 = 5;

const STEP: Duration = Duration::from_millis(1);

/// Measures, from its beginning on, how much later than due a thread that sleeps is woken on this machine.
pub struct Pauses {
    over: Arc<AtomicBool>,
    watch: JoinHandle<Duration>,
}

impl Pauses {
    pub fn measure() -> Pauses {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let watch = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !seen.load(Ordering::SeqCst) {
                let slept = Instant::now();
                std::thread::sleep(STEP);
                longest = longest.max(slept.elapsed().saturating_sub(STEP));
            }
            longest
        });
        Pauses { over, watch }
    }

    /// The longest so far; the measurement ends.
    pub fn longest(self) -> Duration {
        self.over.store(true, Ordering::SeqCst);
        self.watch.join().expect("it only sleeps")
    }

    /// What may take `time` on an idle machine may take so long on this one.
    pub fn beside(self, time: Duration) -> Duration {
        time + CHAIN * self.longest()
    }
}
