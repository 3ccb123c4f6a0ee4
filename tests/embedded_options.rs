//! What a user's tests can ask of an `embedded://` server: which program, where it listens, its settings, its data.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use redkeep::{Config, Error, ErrorKind, Manager};
use support::{PATIENCE, is_alone, myself, named_server, wait_until};

/// An `embedded://` server of the program that the tests run on.
fn config() -> Config {
    let config = Config::new().url("embedded://");
    match named_server() {
        Some(program) => config.embedded_server(program),
        None => config,
    }
}

fn refused(config: &Config) -> Error {
    let error = Manager::open_config(config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Embedded, "{error}");
    error
}

fn address(keep: &Manager) -> String {
    keep.fetch_pool_status().nodes[0].address.clone()
}

/// Gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("redkeep-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Folder(path)
    }

    fn config(&self) -> Config {
        config().embedded_data(self.0.to_str().expect("UTF-8"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn it_listens_at_a_port_where_others_find_it() {
    let keep = Manager::open_config(&config().embedded_port(0)).unwrap();
    let address = address(&keep);
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    keep.set("a", 1).unwrap();
    let other = Manager::open(&format!("redis://{address}")).unwrap();
    assert_eq!(other.get::<i64>("a").unwrap(), Some(1));
    keep.close(PATIENCE).unwrap();
    assert!(other.ping().is_err());
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for faults in [false, true] {
        let config = config().embedded_port(port).embedded_faults(faults);
        let error = refused(&config);
        let text = format!("{error} {:?}", std::error::Error::source(&error));
        assert!(
            text.contains(&port.to_string()) || text.contains("in use"),
            "{text}"
        );
    }
    drop(taken);
    let keep = Manager::open_config(&config().embedded_port(port)).unwrap();
    assert_eq!(address(&keep), format!("127.0.0.1:{port}"));
}

#[test]
fn it_takes_more_settings() {
    let lines = "maxmemory 12mb\n# a comment\nmaxmemory-policy \"allkeys-lru\"";
    let keep = Manager::open_config(&config().embedded_config(lines)).unwrap();
    let get = |name: &str| {
        keep.command::<(String, String)>(("CONFIG", "GET", name))
            .unwrap()
            .1
    };
    assert_eq!(get("maxmemory"), (12 << 20).to_string());
    assert_eq!(get("maxmemory-policy"), "allkeys-lru");
    // What makes it private stays.
    let lines = "port 7\nunixsocket /tmp/elsewhere\nbind 0.0.0.0\ndaemonize yes";
    let keep = Manager::open_config(&config().embedded_config(lines)).unwrap();
    keep.ping().unwrap();
    assert!(!Path::new("/tmp/elsewhere").exists());
    drop(keep);

    let keep = Manager::open("embedded://?embedded_config=maxmemory%2010mb%0Ahz%2050").unwrap();
    let hz: (String, String) = keep.command(("CONFIG", "GET", "hz")).unwrap();
    assert_eq!(hz.1, "50");
}

#[test]
fn a_setting_that_it_does_not_take_is_named_and_its_value_is_not() {
    let canary = support::CANARY_PASSWORD;
    let error = refused(&config().embedded_config(format!("hz 10\nrequirepas {canary}")));
    let text = error.to_string();
    assert!(text.contains("embedded_config: requirepas: "), "{text}");
    assert!(!format!("{error:?} {text}").contains(canary), "{text}");
    let shown = config().embedded_config(format!("requirepass {canary}"));
    assert!(!format!("{shown:?} {}", shown.dump()).contains(canary));
}

#[test]
fn a_password_of_its_settings_is_given_as_any_other() {
    use redkeep::Credentials;
    let config = config().embedded_config("requirepass hidden");
    let keep = Manager::open_config(&config).unwrap();
    assert_eq!(keep.ping().unwrap_err().kind(), ErrorKind::Auth);
    let provider = || Ok::<_, Error>(Credentials::new("hidden"));
    let keep = Manager::open_config(&config.credentials_provider(provider)).unwrap();
    keep.ping().unwrap();
}

#[test]
fn the_program_can_be_chosen() {
    let folder = Folder::new("program");
    fs::create_dir_all(&folder.0).unwrap();
    let real = match std::env::var("REDKEEP_TEST_SERVER") {
        Ok(named) => named,
        Err(_) => "redis-server".to_owned(),
    };
    let script = folder.0.join("chosen");
    let marker = folder.0.join("marker");
    let text = format!(
        "#!/bin/sh\ntouch {}\nexec {real} \"$@\"\n",
        marker.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let chosen = config().embedded_server(script.to_str().unwrap());
    Manager::open_config(&chosen).unwrap().ping().unwrap();
    assert!(marker.exists());

    for wrong in [
        "/no/such/server",
        "no-such-server",
        marker.to_str().unwrap(),
    ] {
        let error = refused(&config().embedded_server(wrong));
        assert!(error.to_string().contains(wrong), "{error}");
    }
    // One that ends at once, with a word.
    fs::write(&script, "#!/bin/sh\necho not today\nexit 1\n").unwrap();
    let error = refused(&chosen);
    assert!(error.to_string().contains("not today"), "{error}");
}

/// Examples and documents ask for no program: what they find is the one that the tests were told of.
#[test]
fn by_make_the_server_of_the_tests_is_the_first_to_be_found() {
    let folder = Folder::new("named");
    fs::create_dir_all(&folder.0).unwrap();
    let (script, links) = (folder.0.join("of-the-test"), folder.0.join("links"));
    fs::write(&script, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let make = |named: &Path| {
        let mut make = Command::new("make");
        make.current_dir(env!("CARGO_MANIFEST_DIR"))
            .args([
                "--silent",
                "--eval",
                "found: ; @command -v redis-server",
                "found",
            ])
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .env("NAMED_SERVER", &links)
            .env("REDKEEP_TEST_SERVER", named);
        make.output().unwrap()
    };
    let output = make(&script);
    let found = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{found}");
    assert_eq!(found.trim(), links.join("redis-server").to_str().unwrap());
    assert_eq!(fs::canonicalize(found.trim()).unwrap(), script);

    let output = make(Path::new("/no/such/server"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{error}");
    assert!(
        error.contains("there is no program /no/such/server"),
        "{error}"
    );
}

#[test]
fn data_are_kept_where_that_is_asked_for() {
    let folder = Folder::new("data");
    for n in 1..=3 {
        let keep = Manager::open_config(&folder.config()).unwrap();
        assert_eq!(keep.incr("opened", 1).unwrap(), n);
        if n == 2 {
            keep.close(PATIENCE).unwrap();
        }
    }
    let mode = fs::metadata(&folder.0).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn data_survive_an_owner_that_is_killed() {
    const NAME: &str = "data_survive_an_owner_that_is_killed";
    if is_alone() {
        let folder = PathBuf::from(std::env::var("REDKEEP_TEST_DATA").unwrap());
        let config = config().embedded_data(folder.to_str().unwrap());
        let keep = Manager::open_config(&config).unwrap();
        for n in 1.. {
            keep.set("n", n).unwrap();
            if n == 1000 {
                fs::write(folder.join("reached"), "").unwrap();
            }
        }
    }
    let folder = Folder::new("killed");
    let mut owner = myself(NAME)
        .env("REDKEEP_TEST_DATA", &folder.0)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until(PATIENCE, || folder.0.join("reached").exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    // Its server may still have the folder, for a moment.
    let keep = Manager::open_config(&folder.config()).unwrap();
    assert!(keep.get::<i64>("n").unwrap().unwrap() >= 1000);
}

#[test]
fn one_server_has_the_data_at_a_time() {
    let folder = Folder::new("shared");
    let one = Manager::open_config(&folder.config()).unwrap();
    let error = refused(&folder.config());
    assert!(error.to_string().contains("is in use"), "{error}");
    one.set("a", 1).unwrap();
    drop(one);
    let two = Manager::open_config(&folder.config()).unwrap();
    assert_eq!(two.get::<i64>("a").unwrap(), Some(1));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let error = refused(&config().embedded_data("/proc/nowhere/data"));
    assert!(
        error
            .to_string()
            .contains("embedded_data: /proc/nowhere/data"),
        "{error}"
    );
}
