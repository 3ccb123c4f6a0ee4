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
    for command in unpack_all(packed).unwrap_or_default() {
        let args = unpack(command).unwrap_or_default();
        let Some((name, arguments)) = args.split_first() else {
            continue;
        };
        if dispatch::read(&args).class == Class::Read {
            continue;
        }
        let whole = ["FLUSHALL", "FLUSHDB", "SWAPDB"];
        if whole
            .iter()
            .any(|it| name.eq_ignore_ascii_case(it.as_bytes()))
        {
            all.iter().for_each(|one| one.wrote_anything());
        }
        // Which of them are keys is not known of every command: of a module's, say. A value that happens to be the name
        // of a key costs one more read.
        for argument in arguments {
            all.iter().for_each(|one| one.wrote(argument));
        }
    }
}

/// After EXEC on a leased connection: what was queued before it is executed only now.
pub(super) fn tell_of_exec(witnesses: &Witnesses, args: &[&[u8]]) {
    if witnesses.any() && args[0].eq_ignore_ascii_case(b"EXEC") {
        (witnesses.all().iter()).for_each(|one| one.wrote_anything());
    }
}
