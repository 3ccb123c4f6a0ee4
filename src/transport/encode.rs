//! Commands as bytes: an array of bulk strings, the one form that every server understands.

/// Appends a whole command.
pub(crate) fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    // `$`, up to 20 digits and two line ends; most need far less, and the buffer is reused.
    let framing = args.len().saturating_add(1).saturating_mul(16);
    let size = args
        .iter()
        .fold(framing, |sum, arg| sum.saturating_add(arg.len()));
    out.reserve(size);
    header(out, args.len());
    for bytes in args {
        arg(out, bytes);
    }
}

/// Begins a command of `n_args` arguments, its name among them; each is then appended with [`arg`].
fn header(out: &mut Vec<u8>, n_args: usize) {
    prefix(out, b'*', n_args);
}

/// Appends one argument.
pub(crate) fn arg(out: &mut Vec<u8>, bytes: &[u8]) {
    prefix(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn prefix(out: &mut Vec<u8>, sigil: u8, n: usize) {
    // Nearly every length has one or two digits.
    if n < 10 {
        out.extend_from_slice(&[sigil, b'0' + n as u8, b'\r', b'\n']);
    } else if n < 100 {
        let (tens, ones) = (b'0' + (n / 10) as u8, b'0' + (n % 10) as u8);
        out.extend_from_slice(&[sigil, tens, ones, b'\r', b'\n']);
    } else {
        long_prefix(out, sigil, n);
    }
}

fn long_prefix(out: &mut Vec<u8>, sigil: u8, mut n: usize) {
    let mut text = *b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n";
    let mut at = text.len() - 2;
    loop {
        at -= 1;
        text[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    text[at - 1] = sigil;
    out.extend_from_slice(&text[at - 1..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut out = Vec::new();
        command(&mut out, &[b"SET", b"k", b"", b"\r\n\0\xff"]);
        assert_eq!(
            out,
            b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n$4\r\n\r\n\0\xff\r\n"
        );
    }

    #[test]
    fn lengths_of_every_width_are_written_as_std_writes_them() {
        let mut n = 0usize;
        loop {
            let mut out = Vec::new();
            header(&mut out, n);
            assert_eq!(out, format!("*{n}\r\n").into_bytes());
            if n == usize::MAX {
                break;
            }
            n = if n < 2000 { n + 1 } else { n.saturating_mul(7) };
        }
    }

    #[test]
    fn commands_are_appended_to_what_is_there() {
        let mut out = b"+".to_vec();
        command(&mut out, &[&[b'x'; 300]]);
        assert!(out.starts_with(b"+*1\r\n$300\r\nxxx"));
        assert_eq!(out.len(), 1 + 4 + 6 + 300 + 2);
    }
}
