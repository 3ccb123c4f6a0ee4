//! How an embedded server can be made to fail.

use std::str::FromStr;
use std::time::Duration;

use crate::config::Setting;
use crate::error::{Error, ErrorKind, Result};
use crate::manager::Manager;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How an `embedded://` server fails, so that the tests of a program see what the program does then; see
/// [`Manager::embedded_fault`]. From text: `none`, `freeze`, `drop`, or `slow:` with a time, such as `slow:50ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Fault {
    /// Not at all: everything passes.
    #[default]
    None,
    /// Nothing passes in either direction, and connections stay open: what a server looks like that hangs, or a
    /// network that loses everything. Connecting succeeds, and no answer comes. What was sent meanwhile reaches the
    /// server when the fault ends, as it would one that hung.
    Freeze,
    /// Every connection is closed, those that wait for something or that receive messages among them, and so is every
    /// new one as soon as it is made: what a server looks like that ended. Its data stay. Followed by [`Fault::None`]
    /// at once, it is a short interruption.
    Drop,
    /// Whatever the server sends arrives that much later: answers, and messages of subscriptions. What belongs
    /// together is delayed together, so that a pipeline is delayed once. At most 24 hours.
    Slow(Duration),
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Fault> {
        if let Some(time) = text.strip_prefix("slow:") {
            let name = "fault: slow";
            let time = Setting { name, value: time }.time(Duration::ZERO, DAY)?;
            return Ok(Fault::Slow(time));
        }
        match text {
            "none" => Ok(Fault::None),
            "freeze" => Ok(Fault::Freeze),
            "drop" => Ok(Fault::Drop),
            other => Err(Setting {
                name: "fault",
                value: other,
            }
            .bad("none, freeze, drop, or slow: with a time, such as slow:50ms")),
        }
    }
}

impl Manager {
    /// Makes the `embedded://` server of this manager fail, for everybody who talks to it, until another fault is set
    /// ([`Fault::None`]: none). It holds when this returns. The manager must have been opened with the property
    /// [`embedded_faults`](crate::Config::embedded_faults); every other one is refused with an error of kind
    /// [`Embedded`](ErrorKind::Embedded).
    ///
    /// A server that failed for a while is known to be down. When the fault ends, it is found again within a second,
    /// or at once by [`wait_for_ready`](Manager::wait_for_ready).
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// use redkeep::{ErrorKind, Fault, Manager, Outcome};
    /// use std::time::Duration;
    ///
    /// let keep = Manager::open("embedded://?embedded_faults=on&command_timeout=200ms")?;
    /// keep.set("visits", 1)?;
    ///
    /// keep.embedded_fault(Fault::Freeze)?;
    /// let error = keep.incr("visits", 1).unwrap_err();      // your own code here
    /// assert_eq!((error.kind(), error.outcome()), (ErrorKind::Timeout, Outcome::Unknown));
    ///
    /// keep.embedded_fault(Fault::None)?;
    /// keep.wait_for_ready(None, Duration::from_secs(5), Duration::from_millis(20), 100)?;
    /// assert!(keep.get::<i64>("visits")?.is_some());
    /// # Ok(()) }
    /// ```
    pub fn embedded_fault(&self, fault: Fault) -> Result<()> {
        if let Fault::Slow(time) = fault
            && time > DAY
        {
            return Err(Error::argument("fault: slower than 24 hours"));
        }
        self.live()?;
        match &self.embedded {
            Some(embedded) => embedded.fail(fault),
            None => Err(Error::new(
                ErrorKind::Embedded,
                "only the server of embedded:// can be made to fail, and this manager was opened for another",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_from_text() {
        let read = |text: &str| text.parse::<Fault>().unwrap();
        assert_eq!(read("none"), Fault::None);
        assert_eq!(read("freeze"), Fault::Freeze);
        assert_eq!(read("drop"), Fault::Drop);
        assert_eq!(read("slow:50ms"), Fault::Slow(Duration::from_millis(50)));
        assert_eq!(read("slow:0.5"), Fault::Slow(Duration::from_millis(500)));
        for bad in ["", "slow", "Freeze", "freeze:1s"] {
            let error = bad.parse::<Fault>().unwrap_err().to_string();
            assert!(
                error.contains("it takes none, freeze, drop, or slow:"),
                "{error}"
            );
        }
        for bad in ["slow:", "slow:fast", "slow:25h"] {
            let error = bad.parse::<Fault>().unwrap_err().to_string();
            assert!(
                error.starts_with("fault: slow: ") && error.contains("24h"),
                "{error}"
            );
        }
    }
}
