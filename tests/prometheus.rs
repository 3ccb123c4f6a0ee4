//! The text for Prometheus, read by the rules of its format, says what the JSON says, whatever the names look like.

mod exposition;
mod support;

use std::time::Duration;

use exposition::{Labels, read};
use redkeep::{ChannelOptions, Config, Manager, Message, Received};
use serde_json::Value;
use support::{PATIENCE, Server, wait_until};

const SCHEMA: &str = include_str!("../src/stats/schema.md");

/// A channel and a socket that try everything a label may hold.
const CHANNEL: &str = "or\"de\\r\ns {le=\"1\"} ü,";
const SOCKET: &str = "/nowhere/\"a\\n\nb},c=\" d";

/// Everything that is counted has been used, and nothing happens any more.
fn quiet() -> (Server, Manager, [Box<dyn Send>; 2]) {
    let server = Server::start();
    let config = Config::new()
        .url(server.url())
        .command_timeout(PATIENCE)
        .health_check_interval(Duration::from_millis(50));
    let keep = Manager::open_config(&config).unwrap();
    keep.set("key", 1).unwrap();
    let near = keep.near_cache(1 << 20);
    assert_eq!(near.get::<i64>("key").unwrap(), Some(1));
    drop(keep.lock("report").acquire(PATIENCE).unwrap());
    let _ = keep.add_node_pool(&format!("unix://{}", percent(SOCKET)));
    let sender = keep.sender().register_channel(CHANNEL);
    let consumer = keep
        .consumer("billing \"of\"\\")
        .register_channel(CHANNEL, ChannelOptions::new())
        .register_handler(CHANNEL, |_: &Received| Ok::<(), String>(()));
    let message = Message::from_json("made", "1").unwrap();
    sender.send(CHANNEL, &message).unwrap();
    assert_eq!(
        consumer
            .consume_all_channels(Duration::from_secs(1))
            .unwrap(),
        1
    );
    wait_until(PATIENCE, || {
        keep.stats()["pools"]["nodes"][0]["latency_ms"].is_f64()
    });
    keep.stop_health_checks();
    (server, keep, [Box::new(near), Box::new(consumer)])
}

fn percent(path: &str) -> String {
    let each = path.bytes().map(|byte| match byte {
        b'/' | b'a'..=b'z' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    each.collect()
}

#[test]
fn the_text_keeps_the_rules_and_tells_what_the_json_tells() {
    let (_server, keep, _in_use) = quiet();
    let text = keep.stats_prometheus();
    let stats = keep.stats();
    // What still came to its end meanwhile, such as a health check under way, is not what this is about.
    let (mut text, mut stats) = (text, stats);
    wait_until(PATIENCE, || {
        let before = text.clone();
        stats = keep.stats();
        text = keep.stats_prometheus();
        before == text
    });
    let families = read(&text).unwrap_or_else(|fault| panic!("{fault}\n{text}"));

    let mut compared = 0;
    let table = SCHEMA.split("## For Prometheus\n").nth(1).unwrap();
    for row in table.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`');
        let family = &families[name];
        if name == "redkeep_node" {
            continue;
        }
        let field = cells[3].split('`').nth(1).expect("as a field");
        for (end, labels, value) in &family.samples {
            let told = &owner(&stats, labels, field)[field];
            let told = match (end.as_str(), labels.get("le")) {
                ("_sum", _) => &told["seconds"],
                ("_count", _) => count(told, None),
                (_, Some(le)) => count(told, le.parse().ok().filter(|le| *le < f64::INFINITY)),
                _ => told,
            };
            let told = match told {
                Value::Bool(truth) => f64::from(u8::from(*truth)),
                told => told
                    .as_f64()
                    .unwrap_or_else(|| panic!("{name} {labels:?}: {told}")),
            };
            let told = told * if field.ends_with("_ms") { 0.001 } else { 1.0 };
            // Milliseconds have three digits behind the point.
            assert!(
                (told - value).abs() < 1e-6,
                "{name} {labels:?}: {told}, {value}"
            );
            compared += 1;
        }
    }
    assert!(compared >= 50, "{compared} values:\n{text}");

    let handled = &families["redkeep_stream_handled_total"].samples;
    assert_eq!(
        (handled[0].1["channel"].as_str(), handled[0].2),
        (CHANNEL, 1.0)
    );
    assert!(handled[0].1["group"].contains("billing \"of\"\\"));
    let down = &families["redkeep_node"].samples[1].1;
    assert_eq!(
        (down["node"].as_str(), down["state"].as_str()),
        (SOCKET, "down")
    );
    let buckets = &families["redkeep_stream_handler_seconds"].samples;
    assert!(buckets.iter().any(|it| it.0 == "_count" && it.2 == 1.0));
}

/// How many were not beyond this end of a bucket.
fn count(histogram: &Value, le: Option<f64>) -> &Value {
    let mut buckets = histogram["buckets"].as_array().expect("buckets").iter();
    let bucket = buckets.find(|it| it["le"].as_f64() == le);
    &bucket.expect("the bucket")["count"]
}

/// The object of the JSON that a series with these labels tells of.
fn owner<'a>(stats: &'a Value, labels: &Labels, field: &str) -> &'a Value {
    let all = |list: &'a Value| list.as_array().expect("a list").iter();
    let label = |name: &str| labels.get(name);
    if let Some(node) = label("node") {
        let mut nodes = all(&stats["pools"]["nodes"]);
        let node = nodes.find(|it| it["address"] == **node);
        let node = node.unwrap_or_else(|| panic!("no node {labels:?}"));
        let place = |list: &str, at: &String| &node[list][at.parse::<usize>().expect("a place")];
        return match (label("pool"), label("line")) {
            (Some(pool), _) => place("pools", pool),
            (_, Some(line)) => place("lines", line),
            // Who waits, waits for whichever pool: each of them tells the same.
            _ if field == "waiting" => &node["pools"][0],
            _ => node,
        };
    }
    if let Some(cache) = label("cache") {
        let mut caches = all(&stats["near"]);
        return caches
            .find(|it| it["cache"].as_u64() == cache.parse().ok())
            .expect("a near cache");
    }
    match label("channel") {
        Some(_) => &stats["consumers"][0]["channels"][0],
        None => stats,
    }
}

#[test]
fn what_breaks_a_rule_is_seen() {
    let head = "# HELP a_total Words.\n# TYPE a_total counter\n";
    assert!(
        read(&format!(
            "{head}a_total 1\na_total{{b=\"\\\\\\\"\\n\"}} 2\n"
        ))
        .is_ok()
    );
    for lines in [
        "a_total 1",
        "a_total 1\na_total 2\n",
        "a_total -1\n",
        "a_total one\n",
        "a_total{b=\"\\t\"} 1\n",
        "a_total{b=\"c\"d\"} 1\n",
        "a_total{b=\"c\",b=\"d\"} 1\n",
        "a_total{1b=\"c\"} 1\n",
        "b_total 1\n",
        "a_total 1\n# TYPE a_total counter\n",
        "# HELP a_total Again.\n",
        "# TYPE a gauge\na{b=\"c\nd\"} 1\n",
        "# TYPE a counter\na 1\n",
    ] {
        assert!(read(&format!("{head}{lines}")).is_err(), "{lines}");
    }
    let histogram = |lines: &str| read(&format!("# TYPE h histogram\n{lines}"));
    let good = "h_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n";
    assert!(histogram(good).is_ok());
    for (from, to) in [
        ("le=\"+Inf\"} 2", "le=\"1\"} 2"),
        ("h_count 2", "h_count 3"),
        ("h_sum 3\n", ""),
        ("le=\"0.5\"} 1", "le=\"0.5\"} 3"),
        ("h_sum", "h_max"),
    ] {
        assert!(histogram(&good.replace(from, to)).is_err(), "{to}");
    }
}
