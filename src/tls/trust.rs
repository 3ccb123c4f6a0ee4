//! What all TLS connections of one manager have in common.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::{Options, Session, files};
use crate::clock::tell;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::{self, lock};

/// How many tickets of one endpoint are kept. A server gives two with each full handshake, and one is used up by each
/// new connection.
const TICKETS: usize = 8;

/// The properties, and what was made of them once: copies share it.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) options: Options,
    made: Arc<Made>,
}

#[derive(Default)]
struct Made {
    /// Files and certificates, read once.
    base: OnceLock<ClientConfig>,
    /// With the tickets of each endpoint. A server takes its own tickets only, and two that share a name would use up
    /// each other's.
    endpoints: OnceLock<fork::Cell<Endpoints>>,
}

type Endpoints = Mutex<HashMap<String, Arc<ClientConfig>>>;

impl Tls {
    pub(crate) fn new(options: Options) -> Tls {
        Tls {
            options,
            made: Arc::default(),
        }
    }

    /// Reads and checks what was set. Without any of it there is nothing to do before the first TLS connection.
    pub(crate) fn open(&self) -> Result<()> {
        if self.options.insecure {
            tell!(
                Warn,
                "servers' certificates are accepted unseen (property tls_insecure)"
            );
        }
        if let Some(name) = &self.options.server_name {
            server_name(name)?;
        }
        match self.options.any() {
            true => self.base().map(drop),
            false => Ok(()),
        }
    }

    /// A session with the server at `endpoint`, whose certificate must bear the name `host` or `tls_server_name`.
    pub(crate) fn session(&self, host: &str, endpoint: &str) -> Result<Session> {
        let name = server_name(self.options.server_name.as_deref().unwrap_or(host))?;
        let connection = UnbufferedClientConnection::new(self.config(endpoint)?, name);
        connection
            .map(Session::new)
            .map_err(|error| Error::new(ErrorKind::Tls, "TLS could not be begun").caused_by(error))
    }

    fn config(&self, endpoint: &str) -> Result<Arc<ClientConfig>> {
        let endpoints = match self.made.endpoints.get() {
            Some(endpoints) => endpoints,
            None => {
                let made = fork::Cell::new(|_| Ok(Endpoints::default()))?;
                self.made.endpoints.get_or_init(|| made)
            }
        };
        let base = self.base()?;
        let mut known = lock(endpoints.get()?);
        if let Some(config) = known.get(endpoint) {
            return Ok(config.clone());
        }
        let mut config = base.clone();
        config.resumption = Resumption::in_memory_sessions(TICKETS);
        let config = Arc::new(config);
        known.insert(endpoint.to_owned(), config.clone());
        Ok(config)
    }

    fn base(&self) -> Result<&ClientConfig> {
        match self.made.base.get() {
            Some(base) => Ok(base),
            None => {
                let base = build(&self.options)?;
                Ok(self.made.base.get_or_init(|| base))
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)
    }
}

fn build(options: &Options) -> Result<ClientConfig> {
    // Named here, not installed for the process: the program may have a provider of its own.
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    let builder = match (options.insecure, &options.ca) {
        (true, ca) => {
            if let Some(ca) = ca {
                files::roots("tls_ca", ca)?;
            }
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unseen(provider)))
        }
        (false, Some(ca)) => builder.with_root_certificates(files::roots("tls_ca", ca)?),
        (false, None) => builder.with_root_certificates(files::system_roots()?),
    };
    match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            let chain = files::certificates("tls_cert", cert)?;
            let private = files::key("tls_key", key)?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => files::wrong(
                        "tls_key",
                        key,
                        format!("is not the key of the certificate in {}", cert.display()),
                    ),
                    rustls::Error::InvalidCertificate(why) => {
                        files::wrong("tls_cert", cert, format!("cannot be used: {why}"))
                    }
                    other => files::wrong("tls_key", key, format!("cannot be used: {other}")),
                })
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>> {
    // The zone of a link-local address is this machine's business.
    let bare = match host.split_once('%') {
        Some((address, _)) if address.contains(':') => address,
        _ => host,
    };
    ServerName::try_from(bare.to_owned()).map_err(|_| {
        Error::new(
            ErrorKind::Tls,
            format!("no certificate can bear the name '{host}'; the property tls_server_name names another"),
        )
    })
}

/// Accepts every certificate (`tls_insecure`), but only from a server that has its key.
#[derive(Debug)]
struct Unseen(Arc<CryptoProvider>);

impl ServerCertVerifier for Unseen {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
