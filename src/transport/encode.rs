//! Commands as bytes: an array of bulk strings, the one form that every server understands.

/// Appends a whole command.
pub(crate) fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    // `$`, up to 20 digits and two line ends; most need far less, and the buffer is reused.
    let framing = args.len().saturating_add(1).saturating_mul(16);
    let size = args
        .iter()
        .fold(framing, |sum, arg| sum.saturating_add(arg.len()));
    out.reserve(size);
    begin_array(out, args.len());
    for bytes in args {
        arg(out, bytes);
    }
}

/// Begins a command of `n_args` arguments, its name among them; each is then appended with [`arg`].
pub(crate) fn begin_array(out: &mut Vec<u8>, n_args: usize) {
    prefix(out, b'*', n_args);
}

/// Appends one argument.
pub(crate) fn arg(out: &mut Vec<u8>, bytes: &[u8]) {
    append(out, b"", bytes);
}

/// Begins a command with its name; the number of its arguments, after the sigil, is for the caller to set.
pub(crate) fn begin_command(out: &mut Vec<u8>, bytes: &[u8]) {
    append(out, b"*0\r\n", bytes);
}

/// Up to here an argument is put together first and then appended in one piece, since each piece costs more than what is
/// in it.
const SHORT: usize = 64;

#[inline(always)]
fn append(out: &mut Vec<u8>, lead: &[u8], bytes: &[u8]) {
    let n = bytes.len();
    if n > SHORT {
        out.extend_from_slice(lead);
        prefix(out, b'$', n);
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
        return;
    }
    // What leads, `$`, two digits, two line ends.
    let mut piece = [0; 4 + 1 + 2 + 4 + SHORT];
    piece[..lead.len()].copy_from_slice(lead);
    let mut at = lead.len();
    piece[at] = b'$';
    if n >= 10 {
        at += 1;
        piece[at] = b'0' + (n / 10) as u8;
    }
    piece[at + 1] = b'0' + (n % 10) as u8;
    piece[at + 2] = b'\r';
    piece[at + 3] = b'\n';
    at += 4;
    piece[at..at + n].copy_from_slice(bytes);
    at += n;
    piece[at] = b'\r';
    piece[at + 1] = b'\n';
    out.extend_from_slice(&piece[..at + 2]);
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
    fn short_and_long_arguments_are_written_alike() {
        for n in [0, 1, 9, 10, 63, 64, 65, 99, 100, 1000] {
            let bytes = vec![b'x'; n];
            let mut out = b"+".to_vec();
            begin_command(&mut out, &bytes);
            arg(&mut out, &bytes);
            let text = String::from_utf8(bytes).unwrap();
            let expected = format!("+*0\r\n${n}\r\n{text}\r\n${n}\r\n{text}\r\n");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn lengths_of_every_width_are_written_as_std_writes_them() {
        let mut n = 0usize;
        loop {
            let mut out = Vec::new();
            begin_array(&mut out, n);
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
