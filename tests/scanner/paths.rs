//! Paths that begin with `crate` or `super`, followed to what they name.

use super::text::Word;

/// A path, counted from the crate's root: `["node", "pool", "Pool"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub line: usize,
    pub path: Vec<String>,
}

/// Every path in these words that begins with `crate` or `super`, groups spread out. `module` is where the file stands,
/// such as `["node", "pool"]`.
pub fn uses(words: &[Word], module: &[String]) -> Vec<Use> {
    let mut found = Vec::new();
    let mut here = module.to_vec();
    // For each open brace, whether it opened a module.
    let mut braces = Vec::new();
    let mut at = 0;
    while at < words.len() {
        match text(words, at) {
            "crate" if text(words, at + 1) == "::" => {
                at = follow(words, at + 2, Vec::new(), &mut found);
                continue;
            }
            // The whole crate under another name would hide everything that follows.
            "crate" if text(words, at + 1) == "as" => {
                let (line, path) = (words[at].line, Vec::new());
                found.push(Use { line, path });
            }
            "super" if text(words, at + 1) == "::" => {
                at = follow(words, at, here.clone(), &mut found);
                continue;
            }
            "mod" if text(words, at + 2) == "{" => {
                here.push(text(words, at + 1).to_owned());
                braces.push(true);
                at += 2;
            }
            "{" => braces.push(false),
            "}" if braces.pop() == Some(true) => {
                here.pop();
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads on from `at`, where a part of a path begins; returns where reading goes on after it.
fn follow(words: &[Word], mut at: usize, mut path: Vec<String>, found: &mut Vec<Use>) -> usize {
    loop {
        let line = words.get(at).map_or(0, |word| word.line);
        match text(words, at) {
            "super" => {
                path.pop();
            }
            "self" => {}
            "{" => return follow_group(words, at + 1, &path, found),
            "" => return at,
            part => path.push(part.to_owned()),
        }
        if text(words, at + 1) != "::" {
            found.push(Use { line, path });
            return at + 1;
        }
        // `Vec::<u8>::new`: what stands in the brackets is read as words of its own.
        if text(words, at + 2) == "<" {
            found.push(Use { line, path });
            return at + 2;
        }
        at += 2;
    }
}

fn follow_group(words: &[Word], mut at: usize, path: &[String], found: &mut Vec<Use>) -> usize {
    loop {
        match text(words, at) {
            "}" | "" => return at + 1,
            "," => at += 1,
            // The new name is nothing of the crate's.
            "as" => at += 2,
            _ => at = follow(words, at, path.to_vec(), found),
        }
    }
}

fn text(words: &[Word], at: usize) -> &str {
    words.get(at).map_or("", |word| word.text.as_str())
}
