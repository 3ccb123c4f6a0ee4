//! A build without the feature `tls` says so wherever TLS is asked for, and is otherwise the same.
#![cfg(not(feature = "tls"))]

mod support;

use redkeep::{Config, ErrorKind, Manager};
use support::Server;

#[test]
fn whatever_asks_for_tls_is_told_that_there_is_none() {
    let server = Server::start();
    let plain = Manager::open(&server.url()).unwrap();
    plain.set("a", 1).unwrap();
    let node = format!("rediss://{}", server.address());
    let errors = [
        Manager::open(&node)
            .unwrap()
            .get::<String>("a")
            .unwrap_err(),
        plain.add_node_pool(&node).unwrap_err(),
        Manager::open_config(&Config::new().tls_ca("ca.crt")).unwrap_err(),
        Manager::open_config(&Config::new().tls_insecure(true)).unwrap_err(),
        Manager::open_config(&Config::new().tls_cert("a").tls_key("b")).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
        assert!(
            error
                .to_string()
                .contains("this build of redkeep has no TLS"),
            "{error}"
        );
    }
    assert_eq!(plain.get::<i64>("a").unwrap(), Some(1));
}
