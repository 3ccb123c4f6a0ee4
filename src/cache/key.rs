//! Which key a value is kept under, and whether it is kept at all: decided by the arguments.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::Script;
use crate::error::{Error, ErrorKind, Result};

/// How an argument is compared by [`Cache::cache_only_for`](crate::Cache::cache_only_for).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// It is one of a list.
    In,
    /// It is none of a list.
    NotIn,
    /// It is the value: a number equals one of the same size, `1` and `1.0`.
    Equal,
    /// It is not the value.
    NotEqual,
    /// It is less: numbers and texts have an order, everything else is never less.
    Less,
    /// It is greater.
    Greater,
}

impl Operator {
    pub(crate) fn parse(text: &str) -> Option<Operator> {
        Some(match text {
            "in" => Operator::In,
            "not in" => Operator::NotIn,
            "==" => Operator::Equal,
            "!=" => Operator::NotEqual,
            "<" => Operator::Less,
            ">" => Operator::Greater,
            _ => return None,
        })
    }
}

/// What one argument must be like.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) kwarg: String,
    pub(crate) operator: Operator,
    pub(crate) value: Value,
}

/// The same in JSON, with the seeds' names.
#[derive(Debug)]
pub(crate) struct Written(pub(crate) Condition);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Written, D::Error> {
        use serde::de::Error as _;
        let mut fields = serde_json::Map::deserialize(from)?;
        let mut take = |name: &str| {
            let missing = || D::Error::custom(format!("{name} is missing"));
            fields.remove(name).ok_or_else(missing)
        };
        let (kwarg, operator, value) = (take("kwarg")?, take("operator")?, take("value")?);
        let kwarg = kwarg.as_str().map(str::to_owned);
        let operator = operator.as_str().and_then(Operator::parse);
        if let Some(name) = fields.keys().next() {
            return Err(D::Error::custom(format!("{name} means nothing here")));
        }
        match (kwarg, operator) {
            (Some(kwarg), Some(operator)) => Ok(Written(Condition {
                kwarg,
                operator,
                value,
            })),
            (None, _) => Err(D::Error::custom("kwarg takes a name")),
            _ => Err(D::Error::custom(
                "operator takes in, not in, ==, !=, < or >",
            )),
        }
    }
}

impl Condition {
    pub(crate) fn check(&self) -> Result<()> {
        let lists = matches!(self.operator, Operator::In | Operator::NotIn);
        match lists && !self.value.is_array() {
            false => Ok(()),
            true => Err(Error::argument(format!(
                "only_for: {} is compared with a list by in and not in",
                self.kwarg
            ))),
        }
    }

    /// An argument that is not there counts as null.
    pub(crate) fn holds(&self, args: &Value) -> bool {
        let arg = args.get(&self.kwarg).unwrap_or(&Value::Null);
        let listed = || {
            let list = self.value.as_array();
            list.is_some_and(|list| list.iter().any(|one| same(arg, one)))
        };
        match self.operator {
            Operator::In => listed(),
            Operator::NotIn => !listed(),
            Operator::Equal => same(arg, &self.value),
            Operator::NotEqual => !same(arg, &self.value),
            Operator::Less => order(arg, &self.value) == Some(Ordering::Less),
            Operator::Greater => order(arg, &self.value) == Some(Ordering::Greater),
        }
    }
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || a.is_number() && order(a, b) == Some(Ordering::Equal)
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => {
            let whole = |n: &serde_json::Number| {
                let unsigned = n.as_u64().map(i128::from);
                unsigned.or_else(|| n.as_i64().map(i128::from))
            };
            match (whole(a), whole(b)) {
                (Some(a), Some(b)) => Some(a.cmp(&b)),
                _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
            }
        }
        _ => None,
    }
}

/// The arguments as JSON.
pub(crate) fn arguments<A: Serialize + ?Sized>(args: &A) -> Result<Value> {
    serde_json::to_value(args).map_err(|why| {
        let text = format!("args: they cannot be written as JSON: {why}");
        Error::new(ErrorKind::Json, text)
    })
}

/// The SHA-1 of the arguments' JSON, without those to be skipped: objects in the order of their keys, no spaces.
pub(crate) fn digest(args: &Value, skip: &[String]) -> String {
    let mut text = String::new();
    write(args, skip, &mut text);
    // What names scripts names anything.
    Script::new(&text).digest().to_owned()
}

// The order of a `Map` is not relied on: a program may have switched serde_json's `preserve_order` on.
fn write(value: &Value, skip: &[String], to: &mut String) {
    match value {
        Value::Object(map) => {
            let skipped = |key: &&String| !skip.contains(*key);
            let mut keys: Vec<&String> = map.keys().filter(skipped).collect();
            keys.sort_unstable();
            to.push('{');
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    to.push(',');
                }
                *to += &Value::String(key.clone()).to_string();
                to.push(':');
                write(&map[key], &[], to);
            }
            to.push('}');
        }
        Value::Array(list) => {
            to.push('[');
            for (i, one) in list.iter().enumerate() {
                if i > 0 {
                    to.push(',');
                }
                write(one, &[], to);
            }
            to.push(']');
        }
        plain => *to += &plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_keys_does_not_matter_and_everything_else_does() {
        let text = |json: &str, skip: &[&str]| {
            let skip: Vec<String> = skip.iter().map(|&s| s.to_owned()).collect();
            let mut out = String::new();
            write(&serde_json::from_str(json).unwrap(), &skip, &mut out);
            out
        };
        let a = r#" {"b": [1, {"y": 1, "x": "ä\n"}], "a": null} "#;
        assert_eq!(text(a, &[]), r#"{"a":null,"b":[1,{"x":"ä\n","y":1}]}"#);
        assert_eq!(text(a, &["a", "x"]), r#"{"b":[1,{"x":"ä\n","y":1}]}"#);
        assert_eq!(text("[2, 1]", &[]), "[2,1]");
        assert_ne!(digest(&json!([1, 2]), &[]), digest(&json!([2, 1]), &[]));
        assert_ne!(digest(&json!("1"), &[]), digest(&json!(1), &[]));
        // Other programs, and later versions, are to find the same.
        assert_eq!(
            digest(&json!({"b": 2, "a": [1.5, true]}), &[]),
            digest(
                &serde_json::from_str(r#"{"a":[1.5,true],"b":2}"#).unwrap(),
                &[]
            )
        );
        assert_eq!(
            digest(&json!({}), &[]),
            "bf21a9e8fbc5a3846fb05b4fa0859e0917b2202f"
        );
    }

    #[test]
    fn conditions() {
        let args = json!({"state": "used", "n": 5, "f": 2.5, "list": [1], "none": null});
        let holds = |kwarg: &str, operator: &str, value: Value| {
            let condition = Condition {
                kwarg: kwarg.to_owned(),
                operator: Operator::parse(operator).unwrap(),
                value,
            };
            condition.holds(&args)
        };
        assert!(holds("state", "in", json!(["new", "used"])));
        assert!(!holds("state", "in", json!(["new"])));
        assert!(holds("state", "not in", json!(["new"])));
        assert!(!holds("n", "not in", json!([1, 5.0])));
        assert!(holds("n", "==", json!(5.0)));
        assert!(!holds("n", "==", json!("5")));
        assert!(holds("list", "==", json!([1])));
        assert!(holds("n", "!=", json!(6)));
        assert!(holds("n", "<", json!(5.5)) && !holds("n", "<", json!(5)));
        assert!(holds("f", ">", json!(2)) && !holds("f", ">", json!(2.5)));
        assert!(holds("state", "<", json!("v")) && holds("state", ">", json!("u")));
        assert!(!holds("state", "<", json!(9)) && !holds("list", ">", json!(0)));
        assert!(holds("absent", "==", json!(null)) && holds("absent", "in", json!([null])));
        assert!(holds("absent", "!=", json!(1)) && !holds("absent", "<", json!(1)));
        let big = json!({"a": u64::MAX});
        let condition = Condition {
            kwarg: "a".to_owned(),
            operator: Operator::Greater,
            value: json!(u64::MAX - 1),
        };
        assert!(condition.holds(&big));
        assert_eq!(Operator::parse("=~"), None);
    }
}
