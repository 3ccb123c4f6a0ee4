//! Urls without their passwords.

use super::secret::MASK;
use super::url::{Login, Pieces, is_password, nodes, parameters, parse, sentinels};

/// The text with every password in it replaced; all of it, where it is not clear what it says.
pub(super) fn masked(text: &str) -> String {
    let understood = parse(text).is_ok()
        || nodes(text, Login::default()).is_ok()
        || sentinels(text, Login::default()).is_ok();
    let several = text.matches("://").count() > 1;
    // A comma behind a '?' may belong to a password or end a url.
    if !understood || (several && text.contains('?')) {
        return MASK.to_owned();
    }
    match several {
        true => text.split(',').map(mask_one).collect::<Vec<_>>().join(","),
        false => mask_one(text),
    }
}

fn mask_one(text: &str) -> String {
    let Some(pieces) = Pieces::of(text) else {
        return text.to_owned();
    };
    let mut out = format!("{}://", pieces.scheme);
    if let Some(user) = pieces.user {
        match user.split_once(':') {
            Some((name, password)) if !password.is_empty() => out += &format!("{name}:{MASK}@"),
            _ => out += &format!("{user}@"),
        }
    }
    out += pieces.hosts;
    out += pieces.path;
    if let Some(query) = pieces.query {
        let masked: Vec<String> = parameters(query)
            .map(|(name, value)| match value {
                Some(_) if is_password(name) => format!("{name}={MASK}"),
                Some(value) => format!("{name}={value}"),
                None => name.to_owned(),
            })
            .collect();
        out += "?";
        out += &masked.join("&");
    }
    out
}
