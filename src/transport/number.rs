//! Numbers as RESP writes them: no blanks, no garbage, none at all for an empty text.

/// A 64-bit integer with an optional sign.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    // Counted downwards, for the lowest number has no positive twin.
    let mut value = 0i64;
    for &byte in digits {
        value = value
            .checked_mul(10)?
            .checked_sub(i64::from(digit(byte)?))?;
    }
    if negative {
        Some(value)
    } else {
        value.checked_neg()
    }
}

/// A length: digits only, and no larger than the protocol's own 64-bit integers.
pub(crate) fn length(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'+' | b'-' => None,
        _ => usize::try_from(integer(text)?).ok(),
    }
}

/// A floating point number, with exponents, `inf`, `-inf` and `nan`.
pub(crate) fn double(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether it is an integer of any size.
pub(crate) fn is_big_number(text: &[u8]) -> bool {
    let digits = text
        .strip_prefix(b"-")
        .or(text.strip_prefix(b"+"))
        .unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

fn digit(byte: u8) -> Option<u8> {
    let value = byte.wrapping_sub(b'0');
    (value < 10).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_cover_the_whole_range_and_nothing_beyond() {
        for n in [
            0,
            1,
            -1,
            9,
            10,
            i64::MAX,
            i64::MIN,
            i64::MAX - 1,
            i64::MIN + 1,
        ] {
            assert_eq!(integer(n.to_string().as_bytes()), Some(n));
        }
        assert_eq!(integer(b"+7"), Some(7));
        assert_eq!(integer(b"-0"), Some(0));
        for bad in [
            "",
            "-",
            "+",
            "--1",
            "+-1",
            " 1",
            "1 ",
            "1x",
            "0x1",
            "1.0",
            "9223372036854775808",
        ] {
            assert_eq!(integer(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(integer(b"-9223372036854775809"), None);
        assert_eq!(integer(b"99999999999999999999999999"), None);
    }

    #[test]
    fn lengths_have_no_sign() {
        assert_eq!(length(b"12"), Some(12));
        for bad in ["", "-1", "+1", "-0", "1 ", "9223372036854775808"] {
            assert_eq!(length(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn doubles_are_read_in_all_their_forms() {
        for (text, value) in [
            ("1", 1.0),
            ("-1.5", -1.5),
            ("1e-7", 1e-7),
            ("1.7E+308", 1.7e308),
        ] {
            assert_eq!(double(text.as_bytes()), Some(value));
        }
        assert_eq!(double(b"inf"), Some(f64::INFINITY));
        assert_eq!(double(b"-inf"), Some(f64::NEG_INFINITY));
        assert!(double(b"nan").is_some_and(f64::is_nan));
        assert!(double(b"-nan").is_some_and(f64::is_nan));
        for bad in ["", " 1", "1 ", "x", "1,5", "."] {
            assert_eq!(double(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
