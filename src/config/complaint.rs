//! The errors about properties: what was given, and what would have been right.

use super::property::{PROPERTIES, Property};
use super::secret::MASK;
use crate::error::{Error, ErrorKind};

pub(super) fn bad_value(property: &Property, value: &str) -> Error {
    let value = match property.secret || property.rule.holds_url() {
        true => MASK.to_owned(),
        false => quote(value),
    };
    let text = format!(
        "{}: {value} is not allowed; it takes {}",
        property.name, property.rule
    );
    Error::new(ErrorKind::BadValue, text)
}

pub(super) fn unknown(name: &str) -> Error {
    let mut text = format!("no property is called {}", quote(name));
    match nearest(name).as_slice() {
        [] => {}
        [names @ .., last] if !names.is_empty() => {
            text += &format!("; did you mean {} or {last}?", names.join(", "));
        }
        [.., last] => text += &format!("; did you mean {last}?"),
    }
    Error::new(ErrorKind::UnknownProperty, text)
}

/// The same error, said of the variable or the property it came from.
pub(super) fn said_of(name: &str, error: &Error) -> Error {
    Error::new(error.kind(), format!("{name}: {}", error.message()))
}

/// Something a user wrote, fit to stand in one line of text. With an `@` in it, it may be a url and a password in a
/// place where neither belongs, and is not repeated.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.is_empty() {
        return "\"\"".to_owned();
    }
    if text.contains('@') {
        return MASK.to_owned();
    }
    let mut shown = String::new();
    for c in text.chars().take(LONGEST) {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// At most three names that the given one may have been meant for, the nearest first.
fn nearest(name: &str) -> Vec<&'static str> {
    // Nobody mistypes a name into something this long, and the distance takes quadratic time.
    if name.len() > 64 {
        return Vec::new();
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    let far = 1 + name.len() / 4;
    let mut near: Vec<(usize, &str)> = PROPERTIES
        .iter()
        .filter_map(|property| {
            let names = property.also.iter().chain([&property.name]);
            let least = names.map(|known| distance(&name, known)).min()?;
            let part = name.len() >= 3 && property.name.contains(&name);
            (least <= far || part).then_some((least, property.name))
        })
        .collect();
    let mut nearest = Vec::new();
    while nearest.len() < 3
        && let Some(&next) = near.iter().min()
    {
        near.retain(|one| *one != next);
        nearest.push(next.1);
    }
    nearest
}

/// How many letters must be added, dropped or changed (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}
