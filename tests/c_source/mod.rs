//! Reading C as text: what a header declares, what a program calls.

use std::collections::BTreeSet;

/// The source without its comments.
pub fn code(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(at) = rest.find('/') {
        let (before, from) = rest.split_at(at);
        code.push_str(before);
        let end = match from.get(..2) {
            Some("/*") => from.find("*/").map(|end| end + 2),
            // What stands behind a colon is a URL.
            Some("//") if !before.ends_with(':') => from.find('\n'),
            _ => {
                code.push('/');
                Some(1)
            }
        };
        rest = &from[end.unwrap_or(from.len())..];
    }
    code.push_str(rest);
    code
}

/// Every word that begins with rk_, and what follows it.
pub fn words(code: &str) -> impl Iterator<Item = (&str, &str)> {
    let starts = code.match_indices("rk_").map(|(at, _)| at);
    let starts = starts.filter(|&at| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    });
    starts.map(|at| {
        let from = &code[at..];
        let len = from.find(|c: char| !c.is_alphanumeric() && c != '_');
        from.split_at(len.unwrap_or(from.len()))
    })
}

/// The functions that a header declares, or a program calls.
pub fn functions(source: &str) -> BTreeSet<String> {
    words(&code(source))
        .filter(|(_, after)| after.starts_with('('))
        .map(|(name, _)| name.to_owned())
        .collect()
}
