//! TLS to a remote, as the engines' clients do it: with the user's client certificate, and either
//! the server certificate pinned by the client (`servercerts/NAME.crt`) or a trusted authority.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore,
    SignatureScheme,
};

use crate::error::{Error, ErrorKind, Result};

/// Files in the client's directory.
const CERTIFICATE: &str = "client.crt";
const KEY: &str = "client.key";
/// The user's own certificate authority for servers.
const AUTHORITY: &str = "client.ca";

/// Client authentication.
#[derive(Debug, Clone, Copy)]
pub(super) enum Identity<'a> {
    /// The certificate in this directory of a client.
    User(&'a Path),
    /// For public image servers.
    Anonymous,
}

/// The server certificate that the client has pinned, in PEM.
///
/// # Errors
/// `Io` for an unreadable file.
pub(super) fn pinned_certificate(directory: &Path, remote: &str) -> Result<Option<String>> {
    let path = directory.join("servercerts").join(format!("{remote}.crt"));
    let bytes = read(&path)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// A TLS connector for one server.
///
/// # Errors
/// `Config` for missing or invalid certificates and keys, `Unsupported` for an encrypted key.
pub(super) fn connector(identity: Identity<'_>, pinned: Option<&str>) -> Result<TlsConnector> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("TLS", error))?;
    let builder = match pinned {
        Some(pem) => {
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
                .map_err(|error| invalid("the server's pinned certificate", error))?;
            let pinned = PinnedCertificate::new(certificate, &provider);
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(pinned))
        }
        None => builder.with_root_certificates(authorities(identity)?),
    };
    let config = match identity {
        Identity::Anonymous => builder.with_no_client_auth(),
        Identity::User(directory) => {
            let (chain, key) = client_certificate(directory)?;
            let path = directory.join(CERTIFICATE);
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| invalid(&path.display().to_string(), error))?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn client_certificate(
    directory: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let (certificate, key) = (directory.join(CERTIFICATE), directory.join(KEY));
    let missing = |path: &Path| {
        let message = format!("no client certificate: {} is missing", path.display());
        Error::new(ErrorKind::Config, message).with_hint(
            "adding a remote creates one: `lxc remote add NAME URL`, `incus remote add NAME URL`",
        )
    };
    let chain = read(&certificate)?.ok_or_else(|| missing(&certificate))?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| invalid(&certificate.display().to_string(), error))?;
    let pem = read(&key)?.ok_or_else(|| missing(&key))?;
    if String::from_utf8_lossy(&pem).contains("ENCRYPTED") {
        let message = format!("{} is encrypted", key.display());
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("use a client certificate with an unencrypted key"));
    }
    let parsed = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| invalid(&key.display().to_string(), error))?;
    Ok((chain, parsed))
}

/// The user's own authority, else the system's.
fn authorities(identity: Identity<'_>) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    if let Identity::User(directory) = identity {
        let path = directory.join(AUTHORITY);
        if let Some(pem) = read(&path)? {
            let failed = |error| invalid(&path.display().to_string(), error);
            let certificate = CertificateDer::from_pem_slice(&pem);
            let certificate = certificate.map_err(|error| failed(Cause::from(error)))?;
            store
                .add(certificate)
                .map_err(|error| failed(Cause::from(error)))?;
            return Ok(store);
        }
    }
    // Unreadable ones are skipped: a server that needs one is refused.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Ok(store)
}

pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

fn invalid(subject: &str, error: impl Into<Cause>) -> Error {
    Error::new(ErrorKind::Config, format!("{subject} is not valid")).caused_by(error)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format!("cannot read {}", path.display()), error)),
    }
}

/// Accepts exactly one certificate with any names and dates, as the user has confirmed it.
#[derive(Debug)]
struct PinnedCertificate {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedCertificate {
    fn new(certificate: CertificateDer<'static>, provider: &CryptoProvider) -> Self {
        Self {
            certificate,
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        if certificate.as_ref() == self.certificate.as_ref() {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a connection failed because of the server's certificate.
pub(super) fn is_wrong_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // `io::Error::source` skips the wrapped error.
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn std::error::Error + 'static));
        let error = inner.unwrap_or(error);
        if let Some(TlsError::InvalidCertificate(_)) = error.downcast_ref::<TlsError>() {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a client certificate, with `key` instead of its own if not empty.
    fn client(key: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let pair = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&pair).unwrap();
        std::fs::write(directory.path().join(CERTIFICATE), certificate.pem()).unwrap();
        let key = if key.is_empty() {
            pair.serialize_pem()
        } else {
            key.to_owned()
        };
        std::fs::write(directory.path().join(KEY), key).unwrap();
        directory
    }

    #[test]
    fn accepts_a_client_certificate() {
        let directory = client("");
        connector(Identity::User(directory.path()), None).unwrap();
        connector(Identity::Anonymous, None).unwrap();
    }

    #[test]
    fn reports_missing_encrypted_and_invalid_files() {
        let missing = tempfile::tempdir().unwrap();
        let encrypted = client("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n");
        let garbage = client("nothing");
        for (directory, kind, word) in [
            (&missing, ErrorKind::Config, "client.crt is missing"),
            (
                &encrypted,
                ErrorKind::Unsupported,
                "client.key is encrypted",
            ),
            (&garbage, ErrorKind::Config, "client.key is not valid"),
        ] {
            let made = connector(Identity::User(directory.path()), None);
            let error = made.map(drop).unwrap_err();
            assert_eq!(error.kind(), kind, "{error:?}");
            assert!(error.report().message.contains(word), "{error:?}");
        }
    }

    /// An authority, and a server's certificate signed by it.
    fn signed_certificate() -> (rcgen::Certificate, rcgen::Certificate, rcgen::KeyPair) {
        let pair = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = parameters.self_signed(&pair).unwrap();
        let issuer = rcgen::Issuer::new(parameters, pair);
        let server = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.signed_by(&server, &issuer).unwrap();
        (authority, certificate, server)
    }

    /// Connects to a server with this certificate.
    async fn handshake(
        connector: TlsConnector,
        certificate: &rcgen::Certificate,
        key: &rcgen::KeyPair,
    ) -> io::Result<()> {
        let provider = Arc::new(ring::default_provider());
        let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let (near, far) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from("localhost").unwrap();
        let (connected, _) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
        connected.map(drop)
    }

    #[tokio::test]
    async fn requires_an_authority_without_a_pinned_certificate() {
        let (authority, certificate, key) = signed_certificate();
        let directory = client("");
        let made = || connector(Identity::User(directory.path()), None).unwrap();
        let error = handshake(made(), &certificate, &key).await.unwrap_err();
        assert!(is_wrong_certificate(&error), "{error:?}");
        std::fs::write(directory.path().join(AUTHORITY), authority.pem()).unwrap();
        handshake(made(), &certificate, &key).await.unwrap();
    }

    #[tokio::test]
    async fn accepts_only_the_pinned_certificate() {
        let (authority, certificate, key) = signed_certificate();
        let directory = client("");
        std::fs::write(directory.path().join(AUTHORITY), authority.pem()).unwrap();
        let made =
            |pinned: &str| connector(Identity::User(directory.path()), Some(pinned)).unwrap();
        handshake(made(&certificate.pem()), &certificate, &key)
            .await
            .unwrap();
        // Even if an authority has signed it.
        let (_, other, _) = signed_certificate();
        let refused = handshake(made(&other.pem()), &certificate, &key).await;
        assert!(is_wrong_certificate(&refused.unwrap_err()));
    }

    #[test]
    fn rejects_an_invalid_pinned_certificate() {
        let directory = client("");
        let made = connector(Identity::User(directory.path()), Some("nothing"));
        assert_eq!(made.map(drop).unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(pinned_certificate(directory.path(), "lab").unwrap(), None);
    }
}
