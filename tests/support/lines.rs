//! With REDKEEP_TEST_LINES=0 in the environment, managers of clusters, of sentinels and by proxies go by the pool alone,
//! without shared lines: where something is lost on the way, that is another way to lose it.

pub fn with_lines_as_asked(url: String) -> String {
    match std::env::var("REDKEEP_TEST_LINES").as_deref() {
        Ok("0") => format!("{url}?shared_lines=0"),
        _ => url,
    }
}
