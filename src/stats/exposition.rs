//! Text for Prometheus: metrics are collected, then written, each under one head however many told of it.

use std::fmt::Write;
use std::time::Duration;

#[derive(Default)]
pub(crate) struct Exposition {
    families: Vec<Family>,
}

struct Family {
    name: String,
    kind: &'static str,
    help: String,
    /// The rest of the name (`_bucket`), labels in their braces, value.
    samples: Vec<(&'static str, String, f64)>,
}

/// What becomes of two values of the same name and labels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alike {
    Added,
    /// They tell of the same thing: the larger one.
    TheSame,
}

impl Exposition {
    pub(crate) fn counter(&mut self, name: &str, help: &str, labels: &str, value: u64) {
        let family = self.family(name, "counter", help);
        family.add("", labels, value as f64, Alike::Added);
    }

    pub(crate) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        labels: &str,
        value: Option<i64>,
        alike: Alike,
    ) {
        let family = self.family(name, "gauge", help);
        if let Some(value) = value {
            family.add("", labels, value as f64, alike);
        }
    }

    /// A gauge that is no whole number, in seconds.
    pub(crate) fn seconds(&mut self, name: &str, help: &str, labels: &str, time: Option<Duration>) {
        let family = self.family(name, "gauge", help);
        if let Some(time) = time {
            family.add("", labels, time.as_secs_f64(), Alike::TheSame);
        }
    }

    /// `buckets`: the end of each, and how many were not beyond it; the last one has no end.
    pub(crate) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        labels: &str,
        buckets: impl Iterator<Item = (Option<f64>, u64)>,
        sum: f64,
    ) {
        let family = self.family(name, "histogram", help);
        let mut count = 0;
        for (end, n) in buckets {
            count = n;
            let end = end.map_or("+Inf".to_owned(), |end| end.to_string());
            let labels = match labels {
                "" => format!("le=\"{end}\""),
                labels => format!("{labels},le=\"{end}\""),
            };
            family.add("_bucket", &labels, n as f64, Alike::Added);
        }
        family.add("_sum", labels, sum, Alike::Added);
        family.add("_count", labels, count as f64, Alike::Added);
    }

    fn family(&mut self, name: &str, kind: &'static str, help: &str) -> &mut Family {
        let known = self.families.iter().position(|it| it.name == name);
        let at = known.unwrap_or_else(|| {
            self.families.push(Family {
                name: name.to_owned(),
                kind,
                help: help.to_owned(),
                samples: Vec::new(),
            });
            self.families.len() - 1
        });
        &mut self.families[at]
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for Family {
            name,
            kind,
            help,
            samples,
        } in &self.families
        {
            // Writing into memory does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (rest, labels, value) in samples {
                let _ = match labels.as_str() {
                    "" => writeln!(text, "{name}{rest} {value}"),
                    labels => writeln!(text, "{name}{rest}{{{labels}}} {value}"),
                };
            }
        }
        text
    }
}

impl Family {
    fn add(&mut self, rest: &'static str, labels: &str, value: f64, alike: Alike) {
        let mut samples = self.samples.iter_mut();
        match samples.find(|it| it.0 == rest && it.1 == labels) {
            Some(known) if alike == Alike::Added => known.2 += value,
            Some(known) => known.2 = known.2.max(value),
            None => self.samples.push((rest, labels.to_owned(), value)),
        }
    }
}

/// Pairs of a label's name and value, as they stand in the braces.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> String {
    let escape = |text: &str| {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        text.replace('\n', "\\n")
    };
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escape(value)));
    pairs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_has_one_head_and_what_is_alike_one_line() {
        let mut it = Exposition::default();
        let own = labels(&[("a", "b\"c\n")]);
        it.counter("n", "How many.", &own, 2);
        it.gauge("g", "Now.", "", None, Alike::Added);
        it.counter("n", "How many.", &own, 3);
        it.gauge("s", "Same.", "", Some(3), Alike::TheSame);
        it.gauge("s", "Same.", "", Some(2), Alike::TheSame);
        let buckets = [(Some(0.5), 1), (None, 2)];
        it.histogram("h", "Time.", "", buckets.into_iter(), 1.5);
        assert_eq!(
            it.text(),
            "# HELP n How many.\n# TYPE n counter\nn{a=\"b\\\"c\\n\"} 5\n\
             # HELP g Now.\n# TYPE g gauge\n\
             # HELP s Same.\n# TYPE s gauge\ns 3\n\
             # HELP h Time.\n# TYPE h histogram\n\
             h_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1.5\nh_count 2\n"
        );
    }
}
