//! Starts programs that die with the test process, also when that is killed.
//!
//! PR_SET_PDEATHSIG fires when the *thread* that forked ends, and every test runs in a thread of its own: a server
//! shared by two tests would die with the first. So one thread, which lives as long as the process, starts them all.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

struct Order {
    command: Command,
    done: Sender<io::Result<Child>>,
}

static STARTER: OnceLock<Sender<Order>> = OnceLock::new();

pub fn spawn(command: Command) -> io::Result<Child> {
    let (done, started) = channel();
    let starter = STARTER.get_or_init(starter);
    starter
        .send(Order { command, done })
        .expect("the starting thread lives as long as the process");
    started.recv().expect("every order is answered")
}

fn starter() -> Sender<Order> {
    let (orders, inbox) = channel::<Order>();
    std::thread::Builder::new()
        .name("test-starter".to_owned())
        .spawn(move || {
            for Order { mut command, done } in inbox {
                die_with_us(&mut command);
                // Nobody listens when the test has gone; then nobody owns the program either.
                if let Err(unwanted) = done.send(command.spawn())
                    && let Ok(mut child) = unwanted.0
                {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        })
        .expect("a thread");
    orders
}

fn die_with_us(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only prctl and getppid are called, and both are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the request was made: then no signal would ever come.
            if libc::getppid() as u32 != parent {
                return Err(io::ErrorKind::NotConnected.into());
            }
            Ok(())
        });
    }
}
