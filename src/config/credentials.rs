//! Credentials that are asked for at each connect, so that they can change while a manager lives.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::property::Config;
use super::secret::Secret;
use crate::error::{Error, ErrorKind, Result};

/// A password and, perhaps, the user whose it is. Printing it shows no password.
///
/// ```
/// use redkeep::Credentials;
///
/// let one = Credentials::new("secret").username("reports");
/// assert!(!format!("{one:?}").contains("secret"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    username: Option<String>,
    password: Secret,
}

impl Credentials {
    /// The password of the user that the manager is configured with, or else of the server's default user.
    pub fn new(password: impl Into<String>) -> Credentials {
        Credentials {
            username: None,
            password: Secret::new(password),
        }
    }

    /// The user whose password it is.
    #[must_use]
    pub fn username(mut self, name: impl Into<String>) -> Credentials {
        self.username = Some(name.into());
        self
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.username.as_deref()
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.password
    }
}

type Ask = dyn Fn() -> Result<Credentials> + Send + Sync;

/// Where credentials come from.
#[derive(Clone)]
pub(crate) enum Provider {
    Program(Arc<Ask>),
    File(Arc<PathBuf>),
}

impl Config {
    /// Who is asked for the credentials at each connect, in place of `password` and of `credentials_file`: one who
    /// answers with what is valid now, such as a token that is renewed every hour. Connections that are open are not
    /// affected; [`rotate_credentials`](crate::Manager::rotate_credentials) replaces them.
    ///
    /// It is called on a thread of redkeep's own, never twice at the same time for one manager, and whoever waits for
    /// it waits within its own deadline. An error of it is an error of kind [`Auth`](ErrorKind::Auth) to whoever
    /// needed the connection.
    ///
    /// ```
    /// use redkeep::{Config, Credentials};
    ///
    /// fn token() -> redkeep::Result<String> {
    ///     Ok("of the hour".to_owned())
    /// }
    ///
    /// let config = Config::new()
    ///     .url("redis://localhost")
    ///     .credentials_provider(|| Ok(Credentials::new(token()?).username("reports")));
    /// config.validate()?;
    /// # redkeep::Result::Ok(())
    /// ```
    #[must_use]
    pub fn credentials_provider(
        mut self,
        provider: impl Fn() -> Result<Credentials> + Send + Sync + 'static,
    ) -> Config {
        self.credentials_provider = Some(Provider::Program(Arc::new(provider)));
        self
    }

    /// Nobody is asked any more.
    #[must_use]
    pub(crate) fn no_credentials_provider(mut self) -> Config {
        self.credentials_provider = None;
        self
    }
}

impl Provider {
    /// At most one of the two was set.
    pub(super) fn of(program: Option<Provider>, file: Option<String>) -> Result<Option<Provider>> {
        match (program, file) {
            (Some(_), Some(_)) => Err(Error::new(
                ErrorKind::Conflict,
                "credentials_file and a credentials provider exclude each other",
            )),
            (program, None) => Ok(program),
            (None, Some(file)) => Ok(Some(Provider::File(Arc::new(file.into())))),
        }
    }

    /// A file that cannot be used is told when a manager is opened; a program is asked when it is needed.
    pub(super) fn open(&self) -> Result<()> {
        match self {
            Provider::Program(_) => Ok(()),
            Provider::File(_) => self
                .ask()
                .map(drop)
                .map_err(|error| error.kind_is(ErrorKind::BadValue)),
        }
    }

    /// The credentials of this moment.
    pub(crate) fn ask(&self) -> Result<Credentials> {
        match self {
            Provider::Program(ask) => ask().map_err(|error| {
                Error::new(ErrorKind::Auth, "the credentials provider failed").caused_by(error)
            }),
            Provider::File(file) => {
                let wrong = |what: String| {
                    let text = format!("credentials_file: {}: {what}", file.display());
                    Error::new(ErrorKind::Auth, text)
                };
                let text = fs::read_to_string(&**file)
                    .map_err(|error| wrong(format!("cannot be read: {error}")))?;
                read(&text).ok_or_else(|| {
                    wrong("holds no password; it takes one line, or a user name and a password in two".into())
                })
            }
        }
    }
}

fn read(text: &str) -> Option<Credentials> {
    let lines: Vec<&str> = text.lines().collect();
    match lines.as_slice() {
        [password] if !password.is_empty() => Some(Credentials::new(*password)),
        [user, password] if !user.is_empty() && !password.is_empty() => {
            Some(Credentials::new(*password).username(*user))
        }
        _ => None,
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Provider::Program(_) => f.write_str("a program"),
            Provider::File(file) => write!(f, "{}", file.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_line_or_two() {
        assert_eq!(read("secret\n"), Some(Credentials::new("secret")));
        assert_eq!(read("a:b c"), Some(Credentials::new("a:b c")));
        let both = Some(Credentials::new("secret").username("me"));
        assert_eq!(read("me\r\nsecret\r\n"), both);
        for bad in ["", "\n", "me\n\n", "\nsecret", "a\nb\nc"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
