//! Source without its comments and literals, line for line, and the words that remain.

use std::iter::Peekable;
use std::str::Chars;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub line: usize,
    pub text: String,
}

/// Names, numbers, `::`, and every other character by itself.
pub fn words(source: &str) -> Vec<Word> {
    let bare = without_comments_and_literals(source);
    let mut words: Vec<Word> = Vec::new();
    for (index, text) in bare.lines().enumerate() {
        let line = index + 1;
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let name = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let length = match name.unwrap_or(rest.len()) {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                length => length,
            };
            let text = rest[..length].to_owned();
            words.push(Word { line, text });
            rest = rest[length..].trim_start();
        }
    }
    words
}

/// Every character of a comment, a string or a character literal becomes a space; lines stay where they are.
pub fn without_comments_and_literals(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut in_name = false;
    while let Some(first) = rest.chars().next() {
        // Within a name, `r` and `b` begin no literal.
        let length = if in_name { 0 } else { hidden_length(rest) };
        if length == 0 {
            out.push(first);
            in_name = first.is_alphanumeric() || first == '_';
            rest = &rest[first.len_utf8()..];
        } else {
            let hidden = rest[..length].chars();
            out.extend(hidden.map(|c| if c == '\n' { '\n' } else { ' ' }));
            in_name = false;
            rest = &rest[length..];
        }
    }
    out
}

/// How long the comment or literal is that begins here; 0 for none.
fn hidden_length(rest: &str) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    let prefix = rest.len() - rest.trim_start_matches(['b', 'c', 'r']).len();
    let (letters, literal) = rest.split_at(prefix.min(2));
    let hashes = literal.len() - literal.trim_start_matches('#').len();
    match literal[hashes..].chars().next() {
        Some('"') if letters.ends_with('r') => {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &literal[hashes + 1..];
            let body_length = body.find(&end).map_or(body.len(), |at| at + end.len());
            letters.len() + hashes + 1 + body_length
        }
        Some('"') if hashes == 0 => letters.len() + quoted(literal, '"'),
        Some('\'') if hashes == 0 && (letters.is_empty() || letters == "b") => {
            match is_character(literal) {
                true => letters.len() + quoted(literal, '\''),
                false => 0,
            }
        }
        _ => 0,
    }
}

/// They nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// `'a'` and `'\n'` are characters; `'a` is a lifetime.
fn is_character(literal: &str) -> bool {
    let mut chars = literal.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

fn quoted(literal: &str, mark: char) -> usize {
    let mut chars: Peekable<Chars> = literal.chars().peekable();
    let mut length = chars.next().map_or(0, char::len_utf8);
    while let Some(c) = chars.next() {
        length += c.len_utf8();
        if c == '\\' {
            length += chars.next().map_or(0, char::len_utf8);
        } else if c == mark {
            break;
        }
    }
    length
}
