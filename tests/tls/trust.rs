//! Who is believed, and who is not.

use crate::*;

#[test]
fn a_wrong_authority_is_refused() {
    let (_, server) = served(&[]);
    let stranger = Authority::new();
    let error = refused(trusting(&stranger, &server.tls_url()));
    says(
        &error,
        ErrorKind::Tls,
        "issued by nobody whom we trust; the property tls_ca",
    );
    // Nor does the system trust an authority that was made a moment ago.
    let error = refused(Config::new().url(server.tls_url()));
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    authority.issue("old", "DNS:localhost", -1);
    let server = Server::with_tls(&authority.server("old", "no"), &[]);
    let error = refused(trusting(&authority, &server.tls_url()));
    says(&error, ErrorKind::Tls, "has expired");
}

#[test]
fn a_wrong_name_is_refused_and_another_can_be_expected() {
    let authority = Authority::new();
    authority.issue("other", "DNS:other.example", 30);
    let server = Server::with_tls(&authority.server("other", "no"), &[]);
    let error = refused(trusting(&authority, &server.tls_url()));
    says(&error, ErrorKind::Tls, "is not for 'localhost' but for");
    says(&error, ErrorKind::Tls, "other.example");
    let keep = open(trusting(&authority, &server.tls_url()).tls_server_name("other.example"));
    keep.set("a", 1).unwrap();
}

#[test]
fn an_address_is_a_name_too() {
    let (authority, server) = served(&[]);
    let url = format!("rediss://127.0.0.1:{}", server.tls_port());
    open(trusting(&authority, &url)).set("a", 1).unwrap();
    let url = format!("rediss://127.0.0.2:{}", server.tls_port());
    let error = refused(trusting(&authority, &url).tls_server_name("127.0.0.3"));
    // The server listens on 127.0.0.1 only.
    assert_eq!(error.kind(), ErrorKind::Connect, "{error:?}");
    let url = format!("rediss://127.0.0.1:{}", server.tls_port());
    let error = refused(trusting(&authority, &url).tls_server_name("127.0.0.3"));
    says(&error, ErrorKind::Tls, "is not for '127.0.0.3'");
}

#[test]
fn a_host_and_a_port_are_spoken_to_in_tls_by_a_property() {
    let (authority, server) = served(&[]);
    let config = || {
        let config = Config::new().host("localhost").port(server.tls_port());
        config.tls_ca(authority.ca())
    };
    open(config().ssl(true)).set("a", 1).unwrap();
    for plain in [config(), config().ssl(false)] {
        // Which of them depends on whether its alert or its reset is seen first.
        let error = refused(plain);
        assert!(
            matches!(error.kind(), ErrorKind::Tls | ErrorKind::Io),
            "{error:?}"
        );
    }
}

#[test]
fn insecure_is_a_property_of_its_own() {
    let (_, server) = served(&[]);
    let keep = open(Config::new().url(server.tls_url()).tls_insecure(true));
    keep.set("a", 1).unwrap();
    let url = format!("{}?tls_insecure=true", server.tls_url());
    Manager::open(&url).unwrap().set("a", 1).unwrap();
    let error = Manager::open(&format!("{}#insecure", server.tls_url())).unwrap_err();
    says(&error, ErrorKind::Url, "tls_insecure");
}

#[test]
fn a_plain_server_is_told_from_one_that_speaks_tls() {
    let server = Server::start();
    let url = format!("rediss://localhost:{}", server.port());
    // Whether redis-server finds the end of a line in our greeting is chance: it answers an error, or waits for more.
    let keep = open(
        Config::new()
            .url(&url)
            .tls_insecure(true)
            .command_timeout(TIME),
    );
    let error = keep.get::<String>("a").unwrap_err();
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Tls => assert!(text.contains("may not speak TLS on this port"), "{text}"),
        ErrorKind::Timeout => assert!(
            text.contains("the TLS handshake was not over in time"),
            "{text}"
        ),
        other => panic!("{other:?}: {error:?}"),
    }
    // One that answers in plain text in any case.
    let port = peer(|stream| stream.write_all(b"-ERR what is this\r\n").unwrap());
    let error = refused(
        Config::new()
            .url(format!("rediss://127.0.0.1:{port}"))
            .tls_insecure(true),
    );
    says(&error, ErrorKind::Tls, "may not speak TLS on this port");
}

#[test]
fn a_plain_client_is_told_that_the_port_speaks_tls() {
    let (_, server) = served(&[]);
    let error = refused(Config::new().url(format!("redis://localhost:{}", server.tls_port())));
    assert!(
        matches!(error.kind(), ErrorKind::Tls | ErrorKind::Io),
        "{error:?}"
    );
}

#[test]
fn a_certificate_of_ours_is_shown_where_it_is_wanted() {
    let authority = Authority::new();
    authority.issue("server", "DNS:localhost", 30);
    authority.issue("client", "DNS:client", 30);
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let options = ["--tls-protocols", protocol];
        let server = Server::with_tls(&authority.server("server", "yes"), &options);
        let config = trusting(&authority, &server.tls_url());
        let with = |ca: &Authority| {
            config
                .clone()
                .tls_cert(ca.file("client.crt"))
                .tls_key(ca.file("client.key"))
        };
        open(with(&authority)).set("a", 1).unwrap();

        let error = refused(config.clone());
        says(&error, ErrorKind::Tls, "tls_cert");
        if protocol == "TLSv1.3" {
            says(
                &error,
                ErrorKind::Tls,
                "the server wants a certificate of ours",
            );
        }
        let stranger = Authority::new();
        stranger.issue("client", "DNS:client", 30);
        let error = refused(with(&stranger));
        says(
            &error,
            ErrorKind::Tls,
            "the server did not accept our certificate",
        );
    }
}

#[test]
fn files_that_cannot_be_used_are_errors_at_open_that_name_them() {
    let authority = Authority::new();
    authority.issue("one", "DNS:one", 30);
    authority.issue("two", "DNS:two", 30);
    let file = |name: &str| authority.file(name);
    let text = authority.write("text", "no certificate");
    let broken = authority.write(
        "broken",
        "-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n",
    );
    let pair = |cert: &str, key: &str| {
        Config::new()
            .tls_ca(authority.ca())
            .tls_cert(file(cert))
            .tls_key(file(key))
    };
    let cases = [
        (
            Config::new().tls_ca(file("none")),
            "tls_ca",
            file("none"),
            "cannot be read",
        ),
        (
            Config::new().tls_ca(file("")),
            "tls_ca",
            file(""),
            "cannot be read",
        ),
        (
            Config::new().tls_ca(&text),
            "tls_ca",
            text.clone(),
            "holds no certificate",
        ),
        (Config::new().tls_ca(&broken), "tls_ca", broken.clone(), ""),
        (
            pair("none", "one.key"),
            "tls_cert",
            file("none"),
            "cannot be read",
        ),
        (
            pair("one.crt", "none"),
            "tls_key",
            file("none"),
            "cannot be read",
        ),
        (
            pair("one.crt", "one.crt"),
            "tls_key",
            file("one.crt"),
            "holds no private key",
        ),
        (
            pair("one.crt", "two.key"),
            "tls_key",
            file("two.key"),
            "is not the key of the certificate in",
        ),
    ];
    for (config, property, file, what) in cases {
        // Whether or not the configured server speaks TLS: another one that is added later may.
        for url in ["redis://localhost", "rediss://localhost"] {
            let error = Manager::open_config(&config.clone().url(url)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadValue, "{error:?}");
            let said = error.to_string();
            assert!(
                said.starts_with(property) && said.contains(&file) && said.contains(what),
                "{said}"
            );
        }
    }
    open(pair("one.crt", "one.key"));
}

/// Serves one connection, after it has sent something.
fn peer(serve: impl FnOnce(&mut std::net::TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        serve(&mut stream);
        // What the client says to that is heard before the end, or a reset would overtake our answer.
        let _ = stream.read(&mut [0; 4096]);
    });
    port
}
