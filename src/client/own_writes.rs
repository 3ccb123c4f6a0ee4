//! Tells what this manager writes to those who keep copies of it, before the caller goes on: a thread reads what it
//! wrote. What others write they learn from the server.

use crate::client::unpack::{unpack, unpack_all};
use crate::dispatch::{self, Class};
use crate::node::Witnesses;

/// After these packed commands have been answered, or may have been executed.
pub(super) fn tell(witnesses: &Witnesses, packed: &[u8]) {
    if witnesses.any() {
        tell_all(witnesses, packed);
    }
}

#[cold]
fn tell_all(witnesses: &Witnesses, packed: &[u8]) {
    let all = witnesses.all();
    // Of a transaction that is here as a whole, all keys are named here.
    let mut queued_here = false;
    for command in unpack_all(packed).unwrap_or_default() {
        let args = unpack(command).unwrap_or_default();
        let Some((name, arguments)) = args.split_first() else {
            continue;
        };
        if dispatch::read(&args).class == Class::Read {
            continue;
        }
        let is = |other: &&str| name.eq_ignore_ascii_case(other.as_bytes());
        queued_here |= is(&"MULTI");
        // What EXEC executes may have been queued long before, and the old values read again since then.
        if ["FLUSHALL", "FLUSHDB", "SWAPDB"].iter().any(is) || is(&"EXEC") && !queued_here {
            all.iter().for_each(|one| one.wrote_anything());
        }
        // Which of them are keys is not known of every command: of a module's, say. A value that happens to be the name
        // of a key costs one more read.
        for argument in arguments {
            all.iter().for_each(|one| one.wrote(argument));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fork::lock;
    use crate::node::Witness;
    use crate::transport::command;
    use std::sync::{Arc, Mutex};

    #[derive(Default)]
    struct Book(Mutex<Vec<String>>);

    impl Witness for Book {
        fn wrote(&self, argument: &[u8]) {
            lock(&self.0).push(String::from_utf8_lossy(argument).into_owned());
        }

        fn wrote_anything(&self) {
            lock(&self.0).push("*".to_owned());
        }
    }

    fn told(commands: &[&[&[u8]]]) -> String {
        let (witnesses, book) = (Witnesses::default(), Arc::<Book>::default());
        let own: Arc<dyn Witness> = book.clone();
        witnesses.add(Arc::downgrade(&own));
        let mut packed = Vec::new();
        commands.iter().for_each(|one| command(&mut packed, one));
        tell(&witnesses, &packed);
        lock(&book.0).join(" ")
    }

    #[test]
    fn what_may_have_been_written_is_told() {
        assert_eq!(told(&[&[b"GET", b"a"]]), "");
        assert_eq!(told(&[&[b"SET", b"a", b"1"], &[b"GET", b"b"]]), "a 1");
        assert_eq!(told(&[&[b"flushall"]]), "*");
        // What it executes was queued by it, and told with it.
        let whole: [&[&[u8]]; 3] = [&[b"MULTI"], &[b"DEL", b"a"], &[b"EXEC"]];
        assert_eq!(told(&whole), "a");
        // What it executes was queued before, when copies of the old values could still be made.
        assert_eq!(told(&[&[b"exec"]]), "*");
        assert_eq!(told(&[&[b"GET", b"a"], &[b"EXEC"]]), "*");
    }
}
