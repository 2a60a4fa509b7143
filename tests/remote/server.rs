//! Servers of a test, on loopback, until dropped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::admin::Admin;
use crate::visitor::{LAB, Visitor};

/// A server on its own thread, until dropped.
struct Running {
    end: Option<DropGuard>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(serve: impl AsyncFnOnce() + Send + 'static) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let token = CancellationToken::new();
        let end = Some(token.clone().drop_guard());
        let thread = std::thread::spawn(move || {
            let serving = tokio::task::LocalSet::new();
            serving.block_on(&runtime, async {
                tokio::select! {
                    () = token.cancelled() => {}
                    () = serve() => {}
                }
            });
        });
        Ok(Self {
            end,
            thread: Some(thread),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("a server of a test has failed");
        }
    }
}

/// A Unix socket whose connections go to the engine's HTTPS port, with the visitor's certificate.
pub struct Relay(#[allow(dead_code)] Running);

impl Relay {
    pub fn start(socket: &Path, visitor: &Visitor) -> Result<Self> {
        let pem = |name: &str| std::fs::read(visitor.path(name));
        let mut roots = RootCertStore::empty();
        let noted = pem(&format!("servercerts/{LAB}.crt"))?;
        roots.add(CertificateDer::from_pem_slice(&noted)?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(&pem("client.crt")?)?],
                PrivateKeyDer::from_pem_slice(&pem("client.key")?)?,
            )?;
        let connector = TlsConnector::from(Arc::new(config));
        let port = Admin::new(visitor.engine())?.port()?;
        let listener = std::os::unix::net::UnixListener::bind(socket)?;
        listener.set_nonblocking(true)?;
        let serve = async move || {
            let Ok(listener) = UnixListener::from_std(listener) else {
                return;
            };
            while let Ok((mut near, _)) = listener.accept().await {
                let connector = connector.clone();
                tokio::task::spawn_local(async move {
                    let far = TcpStream::connect(("127.0.0.1", port)).await?;
                    let name = ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
                    let mut far = connector.connect(name, far).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                });
            }
        };
        Ok(Self(Running::start(serve)?))
    }
}

/// A server with one image, by the `streams/v1` protocol.
pub struct ImageServer {
    _running: Running,
    pub address: SocketAddr,
    /// PEM.
    pub certificate: String,
}

type Pages = BTreeMap<String, Page>;

#[derive(Clone)]
enum Page {
    Text(String),
    File(PathBuf),
}

impl ImageServer {
    /// Serves the test image as `OS/RELEASE`.
    pub fn start(image: &Path, alias: &str) -> Result<Self> {
        let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![own.cert.der().clone()],
                PrivateKeyDer::try_from(own.signing_key.serialize_der())
                    .map_err(anyhow::Error::msg)?,
            )?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let pages = Arc::new(pages(image, alias)?);
        let serve = async move || {
            let Ok(listener) = TcpListener::from_std(listener) else {
                return;
            };
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, pages) = (acceptor.clone(), pages.clone());
                tokio::task::spawn_local(async move {
                    answer(acceptor.accept(stream).await?, &pages).await
                });
            }
        };
        Ok(Self {
            _running: Running::start(serve)?,
            address,
            certificate: own.cert.pem(),
        })
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, pages: &Pages) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let mut words = first.split(' ');
    let (method, path) = (words.next(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    let body = match pages.get(path) {
        Some(Page::Text(text)) => text.clone().into_bytes(),
        Some(Page::File(file)) => std::fs::read(file)?,
        None => {
            let missing =
                b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(missing).await?;
            return stream.shutdown().await;
        }
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if method != Some("HEAD") {
        stream.write_all(&body).await?;
    }
    stream.shutdown().await
}

/// Format: <https://documentation.ubuntu.com/lxd/latest/reference/remote_image_servers/>.
fn pages(image: &Path, alias: &str) -> Result<Pages> {
    let (os, release) = alias.split_once('/').context("an alias is OS/RELEASE")?;
    let (meta, root) = (image.join("metadata.tar.xz"), image.join("rootfs.squashfs"));
    let both = hash(&[&meta, &root])?;
    let item = |kind: &str, file: &Path, path: &str| -> Result<serde_json::Value> {
        Ok(json!({
            "ftype": kind,
            "path": path,
            "size": file.metadata()?.len(),
            "sha256": hash(&[file])?,
            "combined_squashfs_sha256": both,
        }))
    };
    let product = format!("{os}:{release}:{}:default", architecture());
    let images = json!({
        "datatype": "image-downloads",
        "format": "products:1.0",
        "content_id": "images",
        "products": { &product: {
            "aliases": alias,
            "arch": architecture(),
            "os": os,
            "release": release,
            "release_title": release,
            "requirements": {},
            "variant": "default",
            "versions": { "20260101_00:00": { "items": {
                "lxd.tar.xz": item("lxd.tar.xz", &meta, "files/lxd.tar.xz")?,
                "incus.tar.xz": item("incus.tar.xz", &meta, "files/incus.tar.xz")?,
                "root.squashfs": item("squashfs", &root, "files/root.squashfs")?,
            }}},
        }},
    });
    let index = json!({
        "format": "index:1.0",
        "index": { "images": {
            "datatype": "image-downloads",
            "path": "streams/v1/images.json",
            "format": "products:1.0",
            "products": [product],
        }},
    });
    Ok(BTreeMap::from([
        (
            "/streams/v1/index.json".to_owned(),
            Page::Text(index.to_string()),
        ),
        (
            "/streams/v1/images.json".to_owned(),
            Page::Text(images.to_string()),
        ),
        ("/files/lxd.tar.xz".to_owned(), Page::File(meta.clone())),
        ("/files/incus.tar.xz".to_owned(), Page::File(meta)),
        ("/files/root.squashfs".to_owned(), Page::File(root)),
    ]))
}

/// The architecture in Debian's notation, which image servers use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn hash(files: &[&Path]) -> Result<String> {
    let mut hash = Sha256::new();
    for file in files {
        io::copy(&mut File::open(file)?, &mut hash)?;
    }
    let bytes = hash.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
