//! Prometheus' text exposition format, read as its rules say, and by nothing of the library's own.

use std::collections::{BTreeMap, BTreeSet};

pub type Labels = BTreeMap<String, String>;

pub struct Family {
    pub kind: String,
    /// The rest of the name (`_bucket`), the labels, the value.
    pub samples: Vec<(String, Labels, f64)>,
}

/// The families by their names, or the first line that breaks a rule.
pub fn read(text: &str) -> Result<BTreeMap<String, Family>, String> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut current = String::new();
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        let fault = |what: &str| format!("{what}: {line}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            unescaped(help, false).ok_or_else(|| fault("a help text with a wrong escape"))?;
            if !is_name(name, true) || !helped.insert(name.to_owned()) {
                return Err(fault("a bad or a second HELP"));
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| fault("no type"))?;
            if !is_name(name, true) || !["counter", "gauge", "histogram"].contains(&kind) {
                return Err(fault("a bad name or type"));
            }
            let family = Family {
                kind: kind.to_owned(),
                samples: Vec::new(),
            };
            if families.insert(name.to_owned(), family).is_some() {
                return Err(fault("a second TYPE, or lines of a metric in two places"));
            }
            current = name.to_owned();
        } else if line.starts_with('#') {
            return Err(fault("a comment"));
        } else {
            let (name, labels, value) = sample(line).ok_or_else(|| fault("no sample"))?;
            let family = families.get_mut(&current);
            let family = family.ok_or_else(|| fault("a sample before its TYPE"))?;
            let rest = name.strip_prefix(current.as_str());
            let rest = rest.ok_or_else(|| fault("a sample of another metric"))?;
            let ends: &[&str] = match family.kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            if !ends.contains(&rest) {
                return Err(fault("a sample of another metric"));
            }
            if !seen.insert((name.clone(), labels.clone())) {
                return Err(fault("a series that is there already"));
            }
            family.samples.push((rest.to_owned(), labels, value));
        }
    }
    for (name, family) in &families {
        check(name, family)?;
    }
    Ok(families)
}

fn check(name: &str, family: &Family) -> Result<(), String> {
    let fault = |what: &str| Err(format!("{name}: {what}"));
    if (family.kind == "counter") != name.ends_with("_total") {
        return fault("counters, and only they, end with _total");
    }
    let never_less = family.kind != "gauge";
    if never_less && family.samples.iter().any(|it| it.2.is_nan() || it.2 < 0.0) {
        return fault("less than nothing");
    }
    if family.kind != "histogram" {
        return Ok(());
    }
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (rest, labels, value) in &family.samples {
        let mut own = labels.clone();
        let le = own.remove("le");
        let buckets = series.entry(own).or_default();
        match (rest.as_str(), le.map(|le| number(&le))) {
            ("_bucket", Some(Some(le))) => buckets.push((le, *value)),
            ("_bucket", _) => return fault("a bucket without its end"),
            (_, Some(_)) => return fault("a sum or a count with an end"),
            _ => (),
        }
    }
    for (labels, buckets) in series {
        let one = |end: &str| {
            let mut all = family.samples.iter();
            all.find(|it| it.0 == end && it.1 == labels).map(|it| it.2)
        };
        let (Some(_), Some(count)) = (one("_sum"), one("_count")) else {
            return fault("no sum or no count");
        };
        if buckets.last() != Some(&(f64::INFINITY, count)) {
            return fault("the last bucket is not all there is");
        }
        let grows = |two: &[(f64, f64)]| two[0].0 < two[1].0 && two[0].1 <= two[1].1;
        if !buckets.windows(2).all(grows) {
            return fault("buckets that do not grow");
        }
    }
    Ok(())
}

fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let mut escaped = false;
            let end = after.find(|c| {
                let end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                end
            })?;
            let value = unescaped(&after[..end], true)?;
            let new = labels.insert(label.to_owned(), value).is_none();
            if !new || !is_name(label, false) || label.starts_with("__") {
                return None;
            }
            rest = &after[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = number(rest.strip_prefix(' ')?)?;
    is_name(name, true).then(|| (name.to_owned(), labels, value))
}

fn is_name(name: &str, colons: bool) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || colons && c == ':';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// As Go reads a float; and no timestamp behind it.
fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        text if text.ends_with(|c: char| c.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

fn unescaped(text: &str, quotes: bool) -> Option<String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                '\\' => '\\',
                '"' if quotes => '"',
                _ => return None,
            },
            c => c,
        });
    }
    Some(plain)
}
