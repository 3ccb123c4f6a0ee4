//! Arguments that a server reads back in its errors: keys, values, a password whose `>` was forgotten. An error is
//! printed, and those are not for everybody who reads what is printed.

/// How such an error begins, and what ends the argument; it goes to the end of the text where nothing does.
const READ_BACK: &[(&str, &str)] = &[
    ("ERR unknown subcommand '", "'"),
    (
        "ERR Unknown subcommand or wrong number of arguments for '",
        "'",
    ),
    ("ERR Unknown PFDEBUG subcommand '", "'"),
    ("ERR Unknown option or number of arguments for ", ""),
    ("ERR Unknown option given: ", ""),
    ("ERR Unknown argument ", ""),
    ("ERR Unsupported option ", ""),
    ("ERR Unsupported CONFIG parameter: ", ""),
    ("ERR Invalid argument '", "'"),
    ("ERR Error in ACL SETUSER modifier '", "'"),
    ("ERR Unknown category '", "'"),
    ("ERR User '", "'"),
    ("ERR Command '", "'"),
    ("ERR Engine '", "'"),
    ("ERR Library '", "'"),
    ("ERR No samples available for event '", "'"),
    ("ERR Prefix '", "'"),
    ("ERR Unknown node ", ""),
    ("ERR Invalid TCP base port specified: ", ""),
    ("ERR Invalid TCP bus port specified: ", ""),
    ("ERR invalid longitude,latitude pair ", ""),
    ("NOGROUP No such key '", "'"),
    ("NOGROUP No such consumer group '", "'"),
];

/// The text without the arguments in it, where it is known to hold some.
pub(super) fn cut(text: &mut String) {
    // To a command that it does not know.
    if let Some(at) = text.find(", with args beginning with:") {
        text.truncate(at);
    }
    let known = READ_BACK.iter().find(|(start, _)| text.starts_with(start));
    if let Some(&(start, end)) = known {
        // An argument may have the same mark in it, so that the last one ends it.
        let argument = match end {
            "" => None,
            mark => text[start.len()..].rfind(mark),
        };
        let end = argument.map_or(text.len(), |len| start.len() + len);
        text.replace_range(start.len()..end, "...");
    }
}

#[cfg(test)]
mod tests {
    use crate::error::Error;

    #[test]
    fn what_a_server_reads_back_is_cut_off() {
        for (text, left) in [
            (
                "ERR unknown command 'NOSUCH', with args beginning with: 'secret' ",
                "ERR unknown command 'NOSUCH'",
            ),
            (
                "ERR unknown subcommand 'secret'. Try OBJECT HELP.",
                "ERR unknown subcommand '...'. Try OBJECT HELP.",
            ),
            (
                "ERR Error in ACL SETUSER modifier 'it's secret': Syntax error",
                "ERR Error in ACL SETUSER modifier '...': Syntax error",
            ),
            (
                "ERR Unsupported option secret",
                "ERR Unsupported option ...",
            ),
            (
                "ERR Unknown PFDEBUG subcommand 'secret'",
                "ERR Unknown PFDEBUG subcommand '...'",
            ),
            ("ERR Unsupported option ", "ERR Unsupported option ..."),
            (
                "NOGROUP No such key 'secret' or consumer group 'secret' in XREADGROUP with GROUP option",
                "NOGROUP No such key '...' in XREADGROUP with GROUP option",
            ),
            // Torn off where a long argument was.
            ("ERR User 'secret", "ERR User '..."),
            // What is no argument stays.
            (
                "ERR wrong number of arguments for 'get' command",
                "ERR wrong number of arguments for 'get' command",
            ),
            (
                "ERR my script says: ERR User 'x'",
                "ERR my script says: ERR User 'x'",
            ),
        ] {
            assert_eq!(Error::from_server(text.as_bytes()).message(), left);
        }
    }
}
