//! Reads commands that were packed before.

use std::ops::Deref;

/// Commands of so many arguments are read without memory of their own.
const FEW: usize = 4;

/// The arguments of one command, its name first.
#[derive(Default)]
pub(crate) struct Args<'a> {
    few: [&'a [u8]; FEW],
    count: usize,
    /// All of them, where they are more.
    many: Vec<&'a [u8]>,
}

impl<'a> Args<'a> {
    pub(crate) fn of(all: impl ExactSizeIterator<Item = &'a [u8]>) -> Args<'a> {
        let mut args = Args {
            count: all.len(),
            ..Args::default()
        };
        match args.count > FEW {
            true => args.many = all.collect(),
            false => args.few.iter_mut().zip(all).for_each(|(to, arg)| *to = arg),
        }
        args
    }
}

impl<'a> Deref for Args<'a> {
    type Target = [&'a [u8]];

    fn deref(&self) -> &[&'a [u8]] {
        match self.many.is_empty() {
            true => &self.few[..self.count],
            false => &self.many,
        }
    }
}

/// The arguments of a packed command; none if that is not one whole command.
pub(crate) fn unpack(packed: &[u8]) -> Option<Args<'_>> {
    let mut rest = packed;
    let args = next_command(&mut rest)?;
    rest.is_empty().then_some(args)
}

/// The commands that were packed one behind the other, each still packed; none if that is not what they are.
pub(crate) fn unpack_all(packed: &[u8]) -> Option<Vec<&[u8]>> {
    let mut commands = Vec::new();
    let mut rest = packed;
    while !rest.is_empty() {
        let before = rest;
        next_command(&mut rest)?;
        commands.push(&before[..before.len() - rest.len()]);
    }
    Some(commands)
}

fn next_command<'a>(rest: &mut &'a [u8]) -> Option<Args<'a>> {
    let count = length(rest, b'*')?;
    let mut args = Args {
        count,
        ..Args::default()
    };
    if count > FEW {
        // Each takes six bytes at least, so that what is merely announced reserves nothing.
        args.many.reserve(count.min(rest.len() / 6));
    }
    for at in 0..count {
        let length = length(rest, b'$')?;
        let (arg, behind) = rest.split_at_checked(length)?;
        *rest = behind.strip_prefix(b"\r\n")?;
        match count > FEW {
            true => args.many.push(arg),
            false => args.few[at] = arg,
        }
    }
    Some(args)
}

fn length(rest: &mut &[u8], sigil: u8) -> Option<usize> {
    // Nearly every one has one digit.
    if let [first, digit @ b'0'..=b'9', b'\r', b'\n', behind @ ..] = *rest
        && *first == sigil
    {
        *rest = behind;
        return Some(usize::from(digit - b'0'));
    }
    let digits = rest.strip_prefix(&[sigil])?;
    let mut length = None;
    let mut behind = digits;
    while let Some((digit @ b'0'..=b'9', more)) = behind.split_first() {
        let so_far = length.unwrap_or(0usize).checked_mul(10)?;
        length = Some(so_far.checked_add(usize::from(digit - b'0'))?);
        behind = more;
    }
    *rest = behind.strip_prefix(b"\r\n")?;
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_one_packed_command_is_told() {
        for bad in [
            "",
            "*",
            "*1\r\n",
            "*1\r\n$3\r\nab\r\n",
            "*1\r\n$1\r\na\r\nrest",
            "*1\r\n$1\r\nab\r",
            "*9999999999999\r\n",
            "$1\r\na\r\n",
            "*1\r\n$-1\r\n",
            "*1\r\n$12\r\nabc\r\n",
        ] {
            assert!(unpack(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn few_arguments_and_many() {
        for count in [1, FEW - 1, FEW, FEW + 1, 120] {
            let words: Vec<String> = (0..count).map(|n| "x".repeat(n)).collect();
            let mut packed = Vec::new();
            let slices: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            crate::transport::command(&mut packed, &slices);
            assert_eq!(*unpack(&packed).unwrap(), slices);
            let twice = packed.repeat(2);
            assert!(unpack(&twice).is_none());
            assert_eq!(unpack_all(&twice).unwrap(), [&packed[..], &packed[..]]);
        }
        assert_eq!(unpack(b"*0\r\n").unwrap().len(), 0);
    }
}
