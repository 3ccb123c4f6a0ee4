//! What went wrong with a peer, in a user's words.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use super::Failure;

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(match &error {
            Error::InvalidCertificate(why) => certificate(why),
            Error::AlertReceived(alert) => refused(*alert),
            // Plain RESP, or anything else, in place of the first record.
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                "what the server answered is not TLS: it may not speak TLS on this port".to_owned()
            }
            Error::PeerIncompatible(why) => {
                format!("the server and redkeep have no kind of TLS in common: {why:?}")
            }
            other => format!("TLS failed: {other}"),
        })
    }
}

fn certificate(why: &CertificateError) -> String {
    match why {
        // The second: an authority of the same name with another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the server's certificate was issued by nobody whom we trust; the property tls_ca names whom to trust"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet; look at this machine's clock".to_owned()
        }
        CertificateError::NotValidForName => {
            "the server's certificate bears another name; the property tls_server_name names it".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the server's certificate is not for '{}' but for {}; the property tls_server_name names whom to expect",
            expected.to_str(),
            match presented.is_empty() {
                true => "no name at all".to_owned(),
                false => presented.join(", "),
            }
        ),
        CertificateError::Revoked => "the server's certificate was revoked".to_owned(),
        other => format!("the server's certificate cannot be accepted: {other}"),
    }
}

fn refused(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the server wants a certificate of ours; the properties tls_cert and tls_key name it".to_owned()
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked => {
            format!("the server did not accept our certificate (alert {alert:?}); see the property tls_cert")
        }
        AlertDescription::HandshakeFailure => {
            "the server broke TLS off (alert HandshakeFailure): it may want a certificate of ours (properties \
             tls_cert, tls_key), or have no kind of TLS in common with us"
                .to_owned()
        }
        other => format!("the server broke TLS off (alert {other:?})"),
    }
}
