//! What a property takes, in the words of the errors and of the documentation.

use super::value::{show_bytes, show_time};
use std::fmt;
use std::time::Duration;

/// What a property takes.
pub(super) enum Rule {
    /// Text that is not empty.
    Text,
    /// What CLIENT SETNAME takes.
    Word,
    Host,
    Path,
    /// A url of any of our schemes.
    Url,
    /// Where a cluster is met first: a list of hosts, or urls.
    Nodes,
    /// Where the sentinels are: a list of hosts, or a url.
    Sentinels,
    Flag,
    Protocol,
    Choice(&'static [&'static str]),
    /// From, to.
    Number(u64, u64),
    /// From 0, which is off, to.
    NumberOrOff(u64),
    Bytes(u64, u64),
    BytesOrOff(u64),
    Time(Duration, Duration),
    /// 0 is off; otherwise from, to.
    TimeOrOff(Duration, Duration),
}

impl Rule {
    /// The type and the unit, for the documentation.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Rule::Text | Rule::Word | Rule::Host | Rule::Path => "text",
            Rule::Url => "url",
            Rule::Nodes | Rule::Sentinels => "list of hosts, or url",
            Rule::Flag => "flag",
            Rule::Choice(_) => "choice",
            Rule::Protocol | Rule::Number(..) | Rule::NumberOrOff(_) => "number",
            Rule::Bytes(..) | Rule::BytesOrOff(_) => "bytes",
            Rule::Time(..) | Rule::TimeOrOff(..) => "time (seconds, or with its unit)",
        }
    }

    /// Whether "off" is another way to say 0.
    pub(super) fn has_off(&self) -> bool {
        matches!(
            self,
            Rule::NumberOrOff(_) | Rule::BytesOrOff(_) | Rule::TimeOrOff(..)
        )
    }

    /// The least and the most of a number.
    pub(super) fn range(&self) -> Option<(u64, u64)> {
        match *self {
            Rule::Number(least, most) | Rule::Bytes(least, most) => Some((least, most)),
            Rule::NumberOrOff(most) | Rule::BytesOrOff(most) => Some((0, most)),
            Rule::Protocol => Some((2, 3)),
            _ => None,
        }
    }

    /// Whether the text may carry a password inside a url.
    pub(super) fn holds_url(&self) -> bool {
        matches!(self, Rule::Url | Rule::Nodes | Rule::Sentinels)
    }
}

/// Completes "it takes ...".
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Text => f.write_str("text that is not empty and holds no NUL byte"),
            Rule::Word => f.write_str("printable ASCII characters without spaces"),
            Rule::Host => f.write_str("the name or the IP address of a host"),
            Rule::Path => f.write_str("the path of a file"),
            Rule::Url => write!(f, "a url that begins with {}", super::url::schemes()),
            Rule::Nodes => f.write_str("host:port,host:port or a redis+cluster:// url"),
            Rule::Sentinels => f.write_str("host:port,host:port or a redis+sentinel:// url"),
            Rule::Flag => f.write_str("true or false, also 1, 0, yes, no, on, off"),
            Rule::Protocol => f.write_str("2 or 3"),
            Rule::Choice(names) => match names {
                [all @ .., last] => write!(f, "{} or {last}", all.join(", ")),
                [] => Ok(()),
            },
            Rule::Number(least, most) => write!(f, "a whole number from {least} to {most}"),
            Rule::NumberOrOff(most) => write!(f, "a whole number from 0 (or off) to {most}"),
            Rule::Bytes(least, most) => write!(
                f,
                "a whole number of bytes, also with KiB, MiB, GiB, KB, MB or GB, from {} to {}",
                show_bytes(*least),
                show_bytes(*most)
            ),
            Rule::BytesOrOff(most) => write!(
                f,
                "a whole number of bytes, also with KiB, MiB, GiB, KB, MB or GB, from 0 (or off) to {}",
                show_bytes(*most)
            ),
            Rule::Time(least, most) => write!(
                f,
                "seconds, or a number with us, ms, s, m or h, from {} to {}",
                show_time(*least),
                show_time(*most)
            ),
            Rule::TimeOrOff(least, most) => write!(
                f,
                "seconds, or a number with us, ms, s, m or h, from {} to {}, or 0 or off",
                show_time(*least),
                show_time(*most)
            ),
        }
    }
}
