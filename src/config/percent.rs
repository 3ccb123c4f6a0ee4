//! Percent-encoding.

use std::borrow::Cow;

/// Text as it may stand between the special characters of a url.
pub(super) fn encode(text: &str, also_plain: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if byte.is_ascii_alphanumeric() || "-._~".contains(c) || also_plain.contains(c) {
            out.push(c);
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

/// Undoes percent-encoding. What is wrong is told without repeating the text.
pub(super) fn decode(text: &str) -> std::result::Result<Cow<'_, str>, &'static str> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut hex = || char::from(bytes.next()?).to_digit(16);
        match hex().zip(hex()) {
            Some((0, 0)) => return Err("%00 is a NUL byte, which is not allowed"),
            Some((high, low)) => out.push((high * 16 + low) as u8),
            None => {
                return Err(
                    "two hexadecimal digits must follow a '%'; a '%' itself is written %25",
                );
            }
        }
    }
    match String::from_utf8(out) {
        Ok(text) => Ok(Cow::Owned(text)),
        Err(_) => Err("what is percent-encoded is not UTF-8"),
    }
}
