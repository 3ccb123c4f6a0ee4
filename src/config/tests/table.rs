//! What every property takes, and what it makes of it.

/// Property, default, then pairs of a text and what `get` gives for it, then texts that are refused.
pub(super) type Row<'a> = (
    &'a str,
    Option<&'a str>,
    &'a [(&'a str, &'a str)],
    &'a [&'a str],
);

const TIMES: &[(&str, &str)] = &[
    ("0.5", "500ms"),
    ("10", "10s"),
    ("5.0", "5s"),
    ("500ms", "500ms"),
    (" 2s ", "2s"),
    ("2 S", "2s"),
    ("1m", "60s"),
    ("1h", "1h"),
    ("2500us", "2500us"),
    ("2500000ns", "2500us"),
    ("1.5s", "1500ms"),
    ("0.0015", "1500us"),
];
const BAD_TIMES: &[&str] = &[
    "",
    "x",
    "-1",
    "1d",
    "1.",
    ".5",
    "1.2.3",
    "inf",
    "nan",
    "1e3",
    "99999999999999999999",
    "100000h",
    "250us",
];
const FLAGS: &[(&str, &str)] = &[
    ("TRUE", "true"),
    ("1", "true"),
    ("Yes", "true"),
    ("on", "true"),
    ("False", "false"),
    ("0", "false"),
    ("no", "false"),
    (" OFF ", "false"),
];
const BAD_FLAGS: &[&str] = &["", "2", "maybe", "truee"];
const OFF: &[(&str, &str)] = &[
    ("0", "off"),
    ("off", "off"),
    ("OFF", "off"),
    ("0ms", "off"),
    ("1.5", "1500ms"),
];
const TEXTS: &[(&str, &str)] = &[("some text", "some text"), (" ü ", " ü ")];
const BAD_TEXTS: &[&str] = &["", "a\0b"];
pub(super) const BAD_NUMBERS: &[&str] =
    &["", "x", "-1", "+1", "1.5", "1 2", "99999999999999999999999"];

pub(super) fn table() -> Vec<Row<'static>> {
    vec![
        (
            "url",
            Some("redis://localhost:6379/0"),
            &[("unix:///x", "unix:///x")],
            &[],
        ),
        (
            "host",
            Some("localhost"),
            &[("10.0.0.1", "10.0.0.1"), ("::1", "::1")],
            &["", "a b", "a/b", "h:1", "a\0"],
        ),
        (
            "port",
            Some("6379"),
            &[("1", "1"), ("65535", "65535")],
            &["0", "65536", "tcp://10.0.0.1:6379"],
        ),
        (
            "db",
            Some("0"),
            &[("15", "15"), ("2147483647", "2147483647")],
            &["2147483648", "off"],
        ),
        ("username", None, TEXTS, BAD_TEXTS),
        ("password", None, TEXTS, BAD_TEXTS),
        ("credentials_file", None, TEXTS, BAD_TEXTS),
        ("ssl", Some("false"), FLAGS, BAD_FLAGS),
        ("enabled", Some("true"), FLAGS, BAD_FLAGS),
        ("use_cluster", Some("false"), FLAGS, BAD_FLAGS),
        (
            "startup_nodes",
            None,
            &[("a:1,b", "a:1,b")],
            &["", "a,,b", "a:0", "unix:///x", "redis+sentinel://a"],
        ),
        (
            "sentinels",
            None,
            &[("a:1,b", "a:1,b")],
            &["", "a,,b", "a:99999", "redis://a"],
        ),
        ("master_name", Some("mymaster"), TEXTS, BAD_TEXTS),
        ("sentinel_username", None, TEXTS, BAD_TEXTS),
        ("sentinel_password", None, TEXTS, BAD_TEXTS),
        ("pools_per_node", Some("1"), &[("64", "64")], &["0", "65"]),
        (
            "max_connections",
            Some("10"),
            &[("1", "1"), (" 10000 ", "10000")],
            &["0", "10001"],
        ),
        (
            "shared_lines",
            Some("2"),
            &[("0", "0"), ("off", "0"), ("64", "64")],
            &["65"],
        ),
        ("connect_timeout", Some("5s"), TIMES, BAD_TIMES),
        ("command_timeout", Some("5s"), TIMES, BAD_TIMES),
        ("retry_on_timeout", Some("true"), FLAGS, BAD_FLAGS),
        (
            "retries",
            Some("3"),
            &[("0", "0"), ("off", "0"), ("100", "100")],
            &["101"],
        ),
        ("health_check_interval", Some("10s"), OFF, BAD_TIMES),
        ("cleanup_interval", Some("30s"), OFF, BAD_TIMES),
        ("max_idle_time", Some("300s"), OFF, BAD_TIMES),
        ("max_lifetime", Some("off"), OFF, BAD_TIMES),
        ("lease_warning", Some("60s"), OFF, BAD_TIMES),
        ("slow_call", Some("off"), OFF, BAD_TIMES),
        ("workers", Some("2"), &[("256", "256")], &["0", "257"]),
        (
            "read_from",
            Some("primary"),
            &[("Replica", "replica"), ("nearest", "nearest")],
            &["", "slave"],
        ),
        (
            "protocol",
            Some("3"),
            &[("2", "2"), ("resp2", "2"), ("RESP3", "3")],
            &["1", "4", "resp"],
        ),
        (
            "max_reply_bytes",
            Some("536870912"),
            &[
                ("4096", "4096"),
                ("1KiB", "1024"),
                ("2 mib", "2097152"),
                ("1GB", "1000000000"),
                ("3kb", "3000"),
            ],
            &[
                "0",
                "1023",
                "65GiB",
                "1.5MiB",
                "1TiB",
                "99999999999999999GiB",
                "off",
            ],
        ),
        (
            "client_name",
            Some("redkeep"),
            &[("my@app", "my@app")],
            &["", "a b", "a\n", "ü"],
        ),
        ("tls_ca", None, TEXTS, BAD_TEXTS),
        ("tls_cert", None, TEXTS, BAD_TEXTS),
        ("tls_key", None, TEXTS, BAD_TEXTS),
        (
            "tls_server_name",
            None,
            &[("example.org", "example.org")],
            &["", "a b"],
        ),
        ("tls_insecure", Some("false"), FLAGS, BAD_FLAGS),
        (
            "near_cache_bytes",
            Some("0"),
            &[("off", "0"), ("64MB", "64000000"), ("64GiB", "68719476736")],
            &["65GiB"],
        ),
        ("embedded_server", None, TEXTS, BAD_TEXTS),
        (
            "embedded_port",
            None,
            &[("0", "0"), ("6390", "6390")],
            &["", "65536", "-1", "off"],
        ),
        (
            "embedded_config",
            None,
            &[("save \"\"\nmaxmemory 1mb", "save \"\"\nmaxmemory 1mb")],
            BAD_TEXTS,
        ),
        ("embedded_data", None, TEXTS, BAD_TEXTS),
        ("embedded_faults", Some("false"), FLAGS, BAD_FLAGS),
    ]
}
