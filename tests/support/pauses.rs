//! What the machine itself adds to the time that something takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// So many are woken one after the other before what is measured has happened: a timer or the server, the thread that
/// listens, the one that waits, the server, and the one that waits once more. On a busy machine each may come as late
/// as any other thread that sleeps.
const CHAIN: u32 = 5;

const STEP: Duration = Duration::from_millis(1);
/// Shorter ones excuse nothing, and are not kept.
const SHORT: Duration = Duration::from_millis(4);

/// Since when somebody slept, and when he was woken, later than due.
pub struct Pause(pub Instant, pub Instant);

impl Pause {
    fn length(&self) -> Duration {
        (self.1 - self.0).saturating_sub(STEP)
    }
}

/// Measures, from its beginning on, how much later than due a thread that sleeps is woken on this machine.
pub struct Pauses {
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Pause>>>,
    watch: Option<JoinHandle<Duration>>,
}

impl Drop for Pauses {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

impl Pauses {
    pub fn measure() -> Pauses {
        let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (ended, list) = (over.clone(), Arc::<Mutex<Vec<Pause>>>::clone(&seen));
        let watch = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !ended.load(Ordering::SeqCst) {
                let slept = Instant::now();
                std::thread::sleep(STEP);
                let pause = Pause(slept, Instant::now());
                longest = longest.max(pause.length());
                if pause.length() >= SHORT {
                    list.lock().unwrap().push(pause);
                }
            }
            longest
        });
        Pauses {
            over,
            seen,
            watch: Some(watch),
        }
    }

    /// The longest so far; the measurement ends.
    pub fn longest(mut self) -> Duration {
        self.over.store(true, Ordering::SeqCst);
        let watch = self.watch.take().expect("it is asked once");
        watch.join().expect("it only sleeps")
    }

    /// What may take `time` on an idle machine may take so long on this one.
    pub fn beside(self, time: Duration) -> Duration {
        time + CHAIN * self.longest()
    }

    /// The same, for what happened between these two moments: what the machine did before and after excuses nothing.
    /// A pause that still lasts is not known yet, so this is asked a while later.
    pub fn then(&self, from: Instant, to: Instant, time: Duration) -> Duration {
        time + CHAIN * longest_between(&self.seen.lock().unwrap(), from, to)
    }
}

/// Makes a call that takes no longer than this where the machine does not stand still meanwhile.
#[track_caller]
pub fn takes_at_most<T>(most: Duration, call: impl FnOnce() -> T) -> T {
    let (pauses, started) = (Pauses::measure(), Instant::now());
    let result = call();
    let took = started.elapsed();
    let allowed = pauses.beside(most);
    assert!(took < allowed, "{took:?}, not {allowed:?}");
    result
}

/// Of pauses in their order, the longest that has to do with this time.
pub fn longest_between(pauses: &[Pause], from: Instant, to: Instant) -> Duration {
    let first = pauses.partition_point(|pause| pause.1 < from);
    let at_that_time = pauses[first..].iter().take_while(|pause| pause.0 <= to);
    at_that_time.map(Pause::length).max().unwrap_or_default()
}
