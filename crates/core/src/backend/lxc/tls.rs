//! TLS to an engine on another machine, as the engines' own clients do it: the user's client
//! certificate, and either exactly the server's certificate that the client has noted
//! (`servercerts/NAME.crt`), or one that a known authority vouches for.

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

/// The client's certificate, in its directory.
const CERTIFICATE: &str = "client.crt";
/// The key to it.
const KEY: &str = "client.key";
/// The authority whose word counts for servers, where the user has one of their own.
const AUTHORITY: &str = "client.ca";

/// Who we are to a server.
#[derive(Debug, Clone, Copy)]
pub(super) enum Identity<'a> {
    /// The user, by the certificate in this directory of a client.
    User(&'a Path),
    /// Nobody: a server with images for everybody asks for no name.
    Nobody,
}

/// What is known of a server: the certificate that the client has noted, in PEM; `None` where it
/// has noted none.
///
/// # Errors
/// `Io` where the file is there and can't be read.
pub(super) fn noted_certificate(directory: &Path, remote: &str) -> Result<Option<String>> {
    let path = directory.join("servercerts").join(format!("{remote}.crt"));
    let bytes = read(&path)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// A way to open TLS to one server.
///
/// # Errors
/// `Config` for certificates and keys that are missing or can't be used, `Unsupported` for a key that
/// is locked by a password.
pub(super) fn connector(identity: Identity<'_>, noted: Option<&str>) -> Result<TlsConnector> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("TLS", error))?;
    let builder = match noted {
        Some(pem) => {
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
                .map_err(|error| unusable("the noted certificate of the server", error))?;
            let noted = Noted::new(certificate, &provider);
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(noted))
        }
        None => builder.with_root_certificates(authorities(identity)?),
    };
    let config = match identity {
        Identity::Nobody => builder.with_no_client_auth(),
        Identity::User(directory) => {
            let (chain, key) = client_certificate(directory)?;
            let path = directory.join(CERTIFICATE);
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| unusable(&path.display().to_string(), error))?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn client_certificate(
    directory: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let (certificate, key) = (directory.join(CERTIFICATE), directory.join(KEY));
    let missing = |path: &Path| {
        let message = format!(
            "there is no client certificate: {} is missing",
            path.display()
        );
        Error::new(ErrorKind::Config, message).with_hint(
            "the engine's client makes one when it first gets a remote: `lxc remote add NAME URL`, \
             `incus remote add NAME URL`",
        )
    };
    let chain = read(&certificate)?.ok_or_else(|| missing(&certificate))?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| unusable(&certificate.display().to_string(), error))?;
    let pem = read(&key)?.ok_or_else(|| missing(&key))?;
    if String::from_utf8_lossy(&pem).contains("ENCRYPTED") {
        let message = format!("{} is locked by a password", key.display());
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("use a client certificate whose key has none"));
    }
    let parsed = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| unusable(&key.display().to_string(), error))?;
    Ok((chain, parsed))
}

/// The authorities whose word counts: the user's own, else the system's.
fn authorities(identity: Identity<'_>) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    if let Identity::User(directory) = identity {
        let path = directory.join(AUTHORITY);
        if let Some(pem) = read(&path)? {
            let said = |error| unusable(&path.display().to_string(), error);
            let certificate = CertificateDer::from_pem_slice(&pem);
            let certificate = certificate.map_err(|error| said(Cause::from(error)))?;
            store
                .add(certificate)
                .map_err(|error| said(Cause::from(error)))?;
            return Ok(store);
        }
    }
    // One that can't be read counts for nothing; a server that needs it is refused by name.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Ok(store)
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn unusable(what: &str, error: impl Into<Cause>) -> Error {
    Error::new(ErrorKind::Config, format!("{what} can't be used")).caused_by(error)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format!("cannot read {}", path.display()), error)),
    }
}

/// Takes exactly one certificate, whatever its names and dates: the user has looked at it.
#[derive(Debug)]
struct Noted {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Noted {
    fn new(certificate: CertificateDer<'static>, provider: &CryptoProvider) -> Self {
        Self {
            certificate,
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for Noted {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        if shown.as_ref() == self.certificate.as_ref() {
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

/// Whether a failed connection failed for the server's certificate.
pub(super) fn is_wrong_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // `io::Error` hides what it carries from `source`.
        let carried = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn std::error::Error + 'static));
        let error = carried.unwrap_or(error);
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

    /// A client's directory with a certificate of this kind of key in it.
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
    fn a_client_certificate_is_taken() {
        let directory = client("");
        connector(Identity::User(directory.path()), None).unwrap();
        connector(Identity::Nobody, None).unwrap();
    }

    #[test]
    fn missing_locked_and_broken_files_are_named() {
        let missing = tempfile::tempdir().unwrap();
        let locked = client("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n");
        let broken = client("nothing");
        for (directory, kind, word) in [
            (&missing, ErrorKind::Config, "client.crt is missing"),
            (&locked, ErrorKind::Unsupported, "client.key is locked"),
            (&broken, ErrorKind::Config, "client.key can't be used"),
        ] {
            let made = connector(Identity::User(directory.path()), None);
            let error = made.map(drop).unwrap_err();
            assert_eq!(error.kind(), kind, "{error:?}");
            assert!(error.report().message.contains(word), "{error:?}");
        }
    }

    /// An authority, and a server's certificate that it vouches for.
    fn vouched() -> (rcgen::Certificate, rcgen::Certificate, rcgen::KeyPair) {
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

    /// Speaks TLS with a server that shows this certificate.
    async fn shake_hands(
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
        let (shaken, _) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
        shaken.map(drop)
    }

    #[tokio::test]
    async fn without_a_noted_certificate_an_authority_has_to_vouch() {
        let (authority, certificate, key) = vouched();
        let directory = client("");
        let made = || connector(Identity::User(directory.path()), None).unwrap();
        let error = shake_hands(made(), &certificate, &key).await.unwrap_err();
        assert!(is_wrong_certificate(&error), "{error:?}");
        std::fs::write(directory.path().join(AUTHORITY), authority.pem()).unwrap();
        shake_hands(made(), &certificate, &key).await.unwrap();
    }

    #[tokio::test]
    async fn a_noted_certificate_is_taken_exactly_and_no_other() {
        let (authority, certificate, key) = vouched();
        let directory = client("");
        std::fs::write(directory.path().join(AUTHORITY), authority.pem()).unwrap();
        let made = |noted: &str| connector(Identity::User(directory.path()), Some(noted)).unwrap();
        shake_hands(made(&certificate.pem()), &certificate, &key)
            .await
            .unwrap();
        // Not even an authority's word helps one that isn't the noted one.
        let (_, other, _) = vouched();
        let refused = shake_hands(made(&other.pem()), &certificate, &key).await;
        assert!(is_wrong_certificate(&refused.unwrap_err()));
    }

    #[test]
    fn a_noted_certificate_has_to_be_one() {
        let directory = client("");
        let made = connector(Identity::User(directory.path()), Some("nothing"));
        assert_eq!(made.map(drop).unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(noted_certificate(directory.path(), "lab").unwrap(), None);
    }
}
