//! A certificate authority of a test's own, made with openssl in a private folder that goes with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::server::new_folder;

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    pub fn new() -> Authority {
        let it = Authority {
            folder: new_folder(),
        };
        it.write(
            "req.cnf",
            "[req]\ndistinguished_name=dn\nx509_extensions=v3\n[dn]\n[v3]\nbasicConstraints=critical,CA:TRUE\n",
        );
        it.openssl(&format!(
            "req -x509 -config req.cnf {NEW_KEY} -keyout ca.key -out ca.crt -days 30 -subj /CN=redkeep-test-ca"
        ));
        it
    }

    /// Its own certificate: what a client trusts.
    pub fn ca(&self) -> String {
        self.file("ca.crt")
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Makes `name.crt` and `name.key`, for the names of `alt` (`DNS:localhost,IP:127.0.0.1`), valid for so many days
    /// from now on; below 0, no longer.
    pub fn issue(&self, name: &str, alt: &str, days: i32) {
        self.write(
            "extensions",
            &format!("subjectAltName={alt}\nbasicConstraints=CA:FALSE\n"),
        );
        self.openssl(&format!(
            "req -config req.cnf {NEW_KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        if days >= 0 {
            return self.openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile extensions -out {name}.crt \
                 -days {days}"
            ));
        }
        // `openssl x509` takes no dates in older versions; `openssl ca` does in all.
        let folder = self.folder.display();
        self.write("index", "");
        self.write(
            "ca.cnf",
            &format!(
                "[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/index\nnew_certs_dir={folder}\nrand_serial=yes\n\
                 default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
            ),
        );
        self.openssl(&format!(
            "ca -batch -config ca.cnf -in {name}.csr -cert ca.crt -keyfile ca.key -extfile extensions -out {name}.crt \
             -startdate 20200101000000Z -enddate 20200102000000Z"
        ));
    }

    /// The options by which a server uses `name.crt`, and trusts clients of this authority. `clients` is "yes", "no"
    /// or "optional": whether a client has to show a certificate.
    pub fn server(&self, name: &str, clients: &str) -> Vec<String> {
        let options = [
            ("--tls-cert-file", self.file(&format!("{name}.crt"))),
            ("--tls-key-file", self.file(&format!("{name}.key"))),
            ("--tls-ca-cert-file", self.ca()),
            ("--tls-auth-clients", clients.to_owned()),
        ];
        let pairs = options.into_iter();
        pairs
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect()
    }

    /// A file of any content beside the others.
    pub fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.folder.join(name), text).expect("a file in our own folder");
        self.file(name)
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .output()
            .expect("openssl on PATH (`make setup-tests` installs it)");
        assert!(
            output.status.success(),
            "openssl {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
