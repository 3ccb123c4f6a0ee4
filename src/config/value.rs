//! How a property's value is read from text, checked against its rule, and written again.

use super::address;
use super::rule::Rule;
use serde_json::Value as Json;
use std::time::Duration;

/// A type that a property may have.
pub(super) trait Value: Sized {
    /// None where the text is not of this type.
    fn read(text: &str, rule: &Rule) -> Option<Self>;

    /// Whether the rule allows it: values from the builder have not been read.
    fn fits(&self, rule: &Rule) -> bool;

    /// In a form that [`read`](Value::read) understands.
    fn write(&self, rule: &Rule) -> Json;
}

impl Value for String {
    fn read(text: &str, _: &Rule) -> Option<String> {
        Some(text.to_owned())
    }

    fn fits(&self, rule: &Rule) -> bool {
        let plain = !self.is_empty() && !self.contains('\0');
        match rule {
            Rule::Host => address::host(self).is_some(),
            Rule::Word => plain && self.bytes().all(|b| b.is_ascii_graphic()),
            // The parser says what is wrong with a url, in words of its own.
            _ if rule.holds_url() => true,
            _ => plain,
        }
    }

    fn write(&self, _: &Rule) -> Json {
        Json::from(self.as_str())
    }
}

impl Value for bool {
    fn read(text: &str, _: &Rule) -> Option<bool> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    fn fits(&self, _: &Rule) -> bool {
        true
    }

    fn write(&self, _: &Rule) -> Json {
        Json::from(*self)
    }
}

macro_rules! numbers {
    ($($type:ty)*) => { $(
        impl Value for $type {
            fn read(text: &str, rule: &Rule) -> Option<$type> {
                <$type>::try_from(read_number(text, rule)?).ok()
            }

            fn fits(&self, rule: &Rule) -> bool {
                let range = rule.range();
                u64::try_from(*self).is_ok_and(|n| range.is_none_or(|(least, most)| least <= n && n <= most))
            }

            fn write(&self, _: &Rule) -> Json {
                Json::from(*self)
            }
        }
    )* };
}

numbers! { u8 u16 u32 usize }

impl Value for Duration {
    fn read(text: &str, rule: &Rule) -> Option<Duration> {
        let text = text.trim();
        if rule.has_off() && text.eq_ignore_ascii_case("off") {
            return Some(Duration::ZERO);
        }
        read_time(text)
    }

    fn fits(&self, rule: &Rule) -> bool {
        match rule {
            Rule::Time(least, most) => least <= self && self <= most,
            Rule::TimeOrOff(least, most) => self.is_zero() || (least <= self && self <= most),
            _ => true,
        }
    }

    fn write(&self, rule: &Rule) -> Json {
        match self.is_zero() && rule.has_off() {
            true => Json::from("off"),
            false => Json::from(show_time(*self)),
        }
    }
}

/// Which servers answer commands that only read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ReadFrom {
    /// The primary alone: what was written is what is read.
    #[default]
    Primary,
    /// A replica where there is one, which may be a little behind.
    Replica,
    /// Whichever server answers fastest, primary or replica.
    Nearest,
}

impl Value for ReadFrom {
    fn read(text: &str, _: &Rule) -> Option<ReadFrom> {
        match text.trim().to_ascii_lowercase().as_str() {
            "primary" => Some(ReadFrom::Primary),
            "replica" => Some(ReadFrom::Replica),
            "nearest" => Some(ReadFrom::Nearest),
            _ => None,
        }
    }

    fn fits(&self, _: &Rule) -> bool {
        true
    }

    fn write(&self, _: &Rule) -> Json {
        Json::from(match self {
            ReadFrom::Primary => "primary",
            ReadFrom::Replica => "replica",
            ReadFrom::Nearest => "nearest",
        })
    }
}

fn read_number(text: &str, rule: &Rule) -> Option<u64> {
    let text = text.trim();
    if rule.has_off() && text.eq_ignore_ascii_case("off") {
        return Some(0);
    }
    match rule {
        Rule::Protocol => {
            let text = text.to_ascii_lowercase();
            digits(text.strip_prefix("resp").unwrap_or(&text))
        }
        Rule::Bytes(..) | Rule::BytesOrOff(_) => {
            let (number, unit) = split_unit(text);
            let factor = match unit.to_ascii_lowercase().as_str() {
                "" | "b" => 1,
                "kib" => 1 << 10,
                "mib" => 1 << 20,
                "gib" => 1 << 30,
                "kb" => 1_000,
                "mb" => 1_000_000,
                "gb" => 1_000_000_000,
                _ => return None,
            };
            digits(number)?.checked_mul(factor)
        }
        _ => digits(text),
    }
}

/// Decimal digits and nothing else: `u64::from_str` would take a plus sign as well.
pub(super) fn digits(text: &str) -> Option<u64> {
    match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse().ok(),
        false => None,
    }
}

/// The number, and the unit behind it.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// In whole numbers throughout, so that what was written is what is read, to the nanosecond.
fn read_time(text: &str) -> Option<Duration> {
    const SECOND: u128 = 1_000_000_000;
    let (number, unit) = split_unit(text);
    let unit = match unit.to_ascii_lowercase().as_str() {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "" | "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    // Eighteen digits behind the point still fit a u64, and are more than anyone means.
    if part.is_empty() || part.len() > 18 {
        return None;
    }
    let scale = 10u128.pow(u32::try_from(part.len()).ok()?);
    let nanos = u128::from(digits(whole)?) * unit + u128::from(digits(part)?) * unit / scale;
    let seconds = u64::try_from(nanos / SECOND).ok()?;
    Some(Duration::new(seconds, u32::try_from(nanos % SECOND).ok()?))
}

/// In the largest unit that leaves no remainder.
pub(super) fn show_time(time: Duration) -> String {
    let nanos = time.as_nanos();
    let units = [
        (3_600_000_000_000, "h"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
    ];
    if nanos == 0 {
        return "0s".to_owned();
    }
    match units.iter().find(|(unit, _)| nanos.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", nanos / unit),
        None => format!("{nanos}ns"),
    }
}

pub(super) fn show_bytes(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units
        .iter()
        .find(|(unit, _)| bytes != 0 && bytes.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}
