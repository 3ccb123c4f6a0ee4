//! The PEM files that the properties name, and the certificates that the system trusts.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, ErrorKind, Result};

/// An error of the property `name`, about its file.
pub(super) fn wrong(name: &str, file: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::BadValue,
        format!("{name}: {}: {what}", file.display()),
    )
}

fn read(name: &str, file: &Path) -> Result<Vec<u8>> {
    fs::read(file).map_err(|error| wrong(name, file, format!("cannot be read: {error}")))
}

/// All certificates of a file; there is at least one.
pub(super) fn certificates(name: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read(name, file)?;
    let found = CertificateDer::pem_slice_iter(&pem)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| wrong(name, file, format!("is not a PEM file: {error}")))?;
    match found.is_empty() {
        true => Err(wrong(name, file, "holds no certificate in PEM form")),
        false => Ok(found),
    }
}

pub(super) fn key(name: &str, file: &Path) -> Result<PrivateKeyDer<'static>> {
    let pem = read(name, file)?;
    // What is wrong with a key is told without a word of it.
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        wrong(
            name,
            file,
            "holds no private key in PEM form that could be used; one that is encrypted cannot be",
        )
    })
}

/// The certificates of a file, as those to trust.
pub(super) fn roots(name: &str, file: &Path) -> Result<Arc<RootCertStore>> {
    let mut store = RootCertStore::empty();
    for (i, certificate) in certificates(name, file)?.into_iter().enumerate() {
        store.add(certificate).map_err(|error| {
            wrong(
                name,
                file,
                format!("certificate {} cannot be used: {error}", i + 1),
            )
        })?;
    }
    Ok(Arc::new(store))
}

/// Those that the system trusts, read once in the life of the process.
pub(super) fn system_roots() -> Result<Arc<RootCertStore>> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(known) = ROOTS.get() {
        return Ok(known.clone());
    }
    // Read outside of the OnceLock: should another thread fork meanwhile, its child must not find the lock held.
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Some systems keep certificates that no longer conform; they are passed over, as elsewhere.
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let error = Error::new(
            ErrorKind::Tls,
            "the system has no certificates that could be trusted; the property tls_ca names a file of them",
        );
        return Err(match found.errors.into_iter().next() {
            Some(cause) => error.caused_by(cause),
            None => error,
        });
    }
    Ok(ROOTS.get_or_init(|| Arc::new(store)).clone())
}
