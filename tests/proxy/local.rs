//! The proxy in this process, with services on loopback.

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use libtest_mimic::{Failed, Trial};
use lxc_dev_manager_core::backend::GuestStream;
use lxc_dev_manager_core::model::{HostPort, ListenScope};
use lxc_dev_manager_core::proxy::{self, RouteName, Routes, Service, Shared, Table, Upstream};
use lxc_dev_manager_core::view::EnvRef;
use lxc_dev_manager_core::{Error, ErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::stage::free_port;

/// Time for expected events.
pub const TIMEOUT: Duration = Duration::from_secs(20);

pub fn trials() -> Vec<Trial> {
    vec![
        trial("half_closes_are_passed_on", half_closes_are_passed_on),
        trial("resets_are_passed_on", resets_are_passed_on),
        trial("slow_reader_blocks_sender", slow_reader_blocks_sender),
        trial("host_is_parsed_byte_by_byte", host_is_parsed_byte_by_byte),
        trial("first_speaker_decides_target", first_speaker_decides_target),
        trial("malformed_hosts_are_refused", malformed_hosts_are_refused),
        trial(
            "foreign_names_are_refused_on_every_port",
            foreign_names_are_refused_on_every_port,
        ),
        trial("endless_head_is_refused", endless_head_is_refused),
        trial(
            "http2_and_tls_get_native_errors",
            http2_and_tls_get_native_errors,
        ),
        trial("cut_connections_are_reset", cut_connections_are_reset),
        trial("late_service_is_reached", late_service_is_reached),
    ]
}

pub fn trial<F: Future<Output = Result<()>> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(format!("local::{name}"), move || {
        let failed = |error: anyhow::Error| Failed::from(format!("{error:#}"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| failed(error.into()))?;
        runtime.block_on(test()).map_err(failed)
    })
}

/// A service of the test, with its accepted connections.
struct Local {
    accepted: mpsc::Receiver<TcpStream>,
    dialled: mpsc::UnboundedReceiver<()>,
    upstream: Arc<Upstream>,
}

/// Dials a port and reports success.
struct Connect(u16, mpsc::UnboundedSender<()>);

#[async_trait]
impl Service for Connect {
    async fn dial(&self) -> lxc_dev_manager_core::Result<GuestStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.0)).await;
        let stream = stream.map_err(|_| Error::new(ErrorKind::Guest, "nothing listens"))?;
        // The receiver may be gone.
        let _ = self.1.send(());
        Ok(GuestStream::Socket(stream))
    }
}

impl Local {
    async fn new(env: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (sender, accepted) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if sender.send(stream).await.is_err() {
                    return;
                }
            }
        });
        let (connected, dialled) = mpsc::unbounded_channel();
        Ok(Self {
            accepted,
            dialled,
            upstream: upstream(env, port, connected),
        })
    }

    /// Accepts a connection dialled early, after the proxy has it.
    async fn accept_early(&mut self) -> Result<TcpStream> {
        let accepted = self.accept().await?;
        let dialled = tokio::time::timeout(TIMEOUT, self.dialled.recv()).await;
        dialled.context("not dialled")?.context("it ended")?;
        Ok(accepted)
    }

    async fn accept(&mut self) -> Result<TcpStream> {
        let accepted = tokio::time::timeout(TIMEOUT, self.accepted.recv()).await;
        accepted.context("no connection")?.context("it ended")
    }
}

fn upstream(env: &str, port: u16, connected: mpsc::UnboundedSender<()>) -> Arc<Upstream> {
    let name = RouteName::of(env, Some("web"));
    let env = EnvRef {
        project_path: "/web".to_owned(),
        env: env.parse().unwrap(),
    };
    Arc::new(Upstream::new(env, name, Arc::new(Connect(port, connected))))
}

/// A port shared by `a` and `b`, with default target `a`.
struct Port {
    number: u16,
    a: Local,
    b: Local,
    end: CancellationToken,
}

impl Port {
    async fn new() -> Result<Self> {
        let (a, b) = (Local::new("a").await?, Local::new("b").await?);
        let number = free_port()?;
        let table = Table {
            hosts: vec![("shop.test".to_owned(), a.upstream.clone())],
            default: Some(a.upstream.clone()),
            named: vec![a.upstream.clone(), b.upstream.clone()],
            ..Table::default()
        };
        let end = serve(number, table)?;
        Ok(Self { number, a, b, end })
    }

    /// The own port of `a`.
    async fn own() -> Result<Self> {
        let (a, b) = (Local::new("a").await?, Local::new("b").await?);
        let number = free_port()?;
        let table = Table {
            hosts: vec![("shop.test".to_owned(), a.upstream.clone())],
            default: Some(a.upstream.clone()),
            ..Table::default()
        };
        let end = serve(number, table)?;
        Ok(Self { number, a, b, end })
    }

    async fn connect(&self) -> Result<TcpStream> {
        Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, self.number)).await?)
    }

    /// Returns the response to a request.
    async fn answer(&self, request: &[u8]) -> Result<String> {
        let mut client = self.connect().await?;
        client.write_all(request).await?;
        let mut answer = Vec::new();
        tokio::time::timeout(TIMEOUT, client.read_to_end(&mut answer))
            .await
            .context("no end")??;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

pub fn serve(number: u16, table: Table) -> Result<CancellationToken> {
    let port = HostPort::new(number).context("no port")?;
    let listeners = Arc::new(proxy::bind(port, ListenScope::Loopback)?);
    let routes = Arc::new(Routes::default());
    routes.set(table, Table::default());
    let end = CancellationToken::new();
    tokio::spawn(proxy::serve(
        listeners,
        routes,
        Shared::default(),
        end.clone(),
    ));
    Ok(end)
}

async fn half_closes_are_passed_on() -> Result<()> {
    let mut port = Port::new().await?;
    let mut client = port.connect().await?;
    client.write_all(b"question\n").await?;
    client.shutdown().await?;
    let mut guest = port.a.accept().await?;
    let mut received = String::new();
    guest.read_to_string(&mut received).await?;
    ensure!(received == "question\n", "{received}");
    guest.write_all(b"answer").await?;
    guest.shutdown().await?;
    received.clear();
    client.read_to_string(&mut received).await?;
    ensure!(received == "answer", "{received}");
    // The service half-closes first.
    let mut client = port.connect().await?;
    client.write_all(b"\0").await?;
    let mut guest = port.a.accept().await?;
    guest.shutdown().await?;
    ensure!(client.read(&mut [0]).await? == 0);
    client.write_all(b"still there").await?;
    client.shutdown().await?;
    received.clear();
    guest.read_to_string(&mut received).await?;
    ensure!(received == "\0still there", "{received:?}");
    Ok(())
}

async fn resets_are_passed_on() -> Result<()> {
    let mut port = Port::new().await?;
    for guest_resets in [false, true] {
        let mut client = port.connect().await?;
        client.write_all(b"\0").await?;
        let mut guest = port.a.accept().await?;
        ensure!(guest.read(&mut [0]).await? == 1);
        let (resetting, mut peer) = if guest_resets {
            (guest, client)
        } else {
            (client, guest)
        };
        resetting.set_zero_linger()?;
        drop(resetting);
        let seen = tokio::time::timeout(TIMEOUT, peer.read(&mut [0])).await?;
        let error = seen.err().context("ended without a reset")?;
        ensure!(
            error.kind() == std::io::ErrorKind::ConnectionReset,
            "{error}"
        );
    }
    Ok(())
}

async fn slow_reader_blocks_sender() -> Result<()> {
    const ALL: usize = 64 * 1024 * 1024;
    let mut port = Port::new().await?;
    let mut client = port.connect().await?;
    client.write_all(b"\0").await?;
    let mut guest = port.a.accept().await?;
    // Closing with unread data would cause a reset.
    ensure!(guest.read(&mut [0]).await? == 1);
    let sending = tokio::spawn(async move {
        let chunk: Vec<u8> = (0..65_536_u32).map(|i| (i % 251) as u8).collect();
        let mut sent = 0;
        while sent < ALL {
            guest.write_all(&chunk).await?;
            sent += chunk.len();
        }
        anyhow::Ok(())
    });
    // Without a reader, the sender must block.
    let stuck = tokio::time::timeout(Duration::from_millis(500), async {
        while port.a.upstream.traffic.view().sent < ALL as u64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    ensure!(stuck.await.is_err(), "everything was buffered");
    let mut received = Vec::with_capacity(ALL);
    client.read_to_end(&mut received).await?;
    sending.await??;
    ensure!(received.len() == ALL, "{} bytes", received.len());
    let is_expected = |(at, byte): (usize, &u8)| usize::from(*byte) == at % 65_536 % 251;
    ensure!(
        received.iter().enumerate().all(is_expected),
        "bytes were changed"
    );
    ensure!(port.a.upstream.traffic.view().sent == ALL as u64);
    Ok(())
}

async fn host_is_parsed_byte_by_byte() -> Result<()> {
    let mut port = Port::new().await?;
    let mut client = port.connect().await?;
    client.set_nodelay(true)?;
    let head = b"GET / HTTP/1.1\r\nHost: B.Web.localhost\r\n\r\n";
    for byte in head {
        client.write_all(&[*byte]).await?;
        tokio::task::yield_now().await;
    }
    let mut guest = port.b.accept().await?;
    let mut received = vec![0; head.len()];
    guest.read_exact(&mut received).await?;
    ensure!(received == head);
    Ok(())
}

async fn first_speaker_decides_target() -> Result<()> {
    let mut port = Port::new().await?;
    // The server speaks first.
    let mut client = port.connect().await?;
    let mut guest = port.a.accept_early().await?;
    guest.write_all(b"220 hello\r\n").await?;
    let mut received = vec![0; 11];
    client.read_exact(&mut received).await?;
    ensure!(received == b"220 hello\r\n");
    // A browser preconnects and then requests another env: the early connection is dropped.
    let mut client = port.connect().await?;
    let mut early = port.a.accept_early().await?;
    let head = b"GET / HTTP/1.1\r\nHost: b.web.localhost\r\n\r\n";
    client.write_all(head).await?;
    let mut guest = port.b.accept().await?;
    let mut received = vec![0; head.len()];
    guest.read_exact(&mut received).await?;
    ensure!(received == head);
    ensure!(
        early.read(&mut [0]).await? == 0,
        "bytes sent to the wrong env"
    );
    // A request for the default target uses the early connection.
    let mut client = port.connect().await?;
    let mut early = port.a.accept_early().await?;
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a.web.localhost\r\n\r\n")
        .await?;
    ensure!(early.read(&mut [0; 64]).await? > 0);
    Ok(())
}

async fn malformed_hosts_are_refused() -> Result<()> {
    let mut port = Port::new().await?;
    for (host, status) in [
        ("b.web.localhost@a.web.localhost", "400"),
        ("b..web.localhost", "400"),
        ("b\u{301}.web.localhost", "400"),
        ("b.web.localhost:80:80", "400"),
        ("b.web.localhost\r\nHost: a.web.localhost", "400"),
        ("c.web.localhost", "404"),
        ("localhost.web.localhost", "404"),
    ] {
        let answer = port
            .answer(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
            .await?;
        ensure!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{host}: {answer}"
        );
    }
    ensure!(port.b.accepted.try_recv().is_err());
    // The default target may be dialled early but must receive nothing.
    while let Ok(mut early) = port.a.accepted.try_recv() {
        let received = early.read(&mut [0; 1]).await;
        ensure!(!matches!(received, Ok(1..)), "{received:?}");
    }
    Ok(())
}

async fn foreign_names_are_refused_on_every_port() -> Result<()> {
    let port = Port::new().await?;
    let own = Port::own().await?;
    for (port, what) in [(&port, "shared"), (&own, "own")] {
        for head in [
            "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.example:80\r\n\r\n",
            "GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        ] {
            let answer = port.answer(head.as_bytes()).await?;
            ensure!(
                answer.starts_with("HTTP/1.1 421 "),
                "{what}: {head}: {answer}"
            );
            ensure!(answer.contains("add it to `hosts:`"), "{answer}");
        }
    }
    // Neither env has received a byte of it.
    for mut port in [port, own] {
        while let Ok(mut early) = port.a.accepted.try_recv() {
            let received = early.read(&mut [0; 1]).await;
            ensure!(!matches!(received, Ok(1..)), "{received:?}");
        }
        for host in ["127.0.0.1", "localhost:80", "[::1]", "shop.test"] {
            let mut client = port.connect().await?;
            client
                .write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
                .await?;
            ensure!(
                port.a.accept().await?.read(&mut [0; 8]).await? > 0,
                "{host}"
            );
        }
    }
    Ok(())
}

async fn endless_head_is_refused() -> Result<()> {
    let port = Port::new().await?;
    let mut head = b"GET / HTTP/1.1\r\nHost: b.web.localhost\r\nX: ".to_vec();
    head.resize(proxy::MAX_HEAD_BYTES + 10_000, b'a');
    let answer = port.answer(&head).await?;
    ensure!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    Ok(())
}

async fn http2_and_tls_get_native_errors() -> Result<()> {
    let port = Port::new().await?;
    let client = port.connect().await?;
    let (mut sender, connection) = h2::client::handshake(client).await?;
    let driven = tokio::spawn(connection);
    let request = hyper::Request::builder()
        .uri("http://c.web.localhost/")
        .body(())?;
    let (answer, _) = sender.send_request(request, true)?;
    let answer = tokio::time::timeout(TIMEOUT, answer).await??;
    ensure!(answer.status() == 404, "{answer:?}");
    driven.abort();
    // A client hello with an unknown name gets an alert.
    let mut client = port.connect().await?;
    client.write_all(&client_hello("c.web.localhost")?).await?;
    let mut alert = Vec::new();
    client.read_to_end(&mut alert).await?;
    ensure!(alert == [21, 3, 3, 0, 2, 2, 112], "{alert:?}");
    Ok(())
}

/// Returns a client hello for a name.
fn client_hello(name: &str) -> Result<Vec<u8>> {
    use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::ring};
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), name.to_owned().try_into()?)?;
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes)?;
    Ok(bytes)
}

async fn cut_connections_are_reset() -> Result<()> {
    let mut port = Port::new().await?;
    let mut client = port.connect().await?;
    client.write_all(b"\0").await?;
    let mut guest = port.a.accept().await?;
    ensure!(guest.read(&mut [0]).await? == 1);
    port.a.upstream.cut();
    for side in [&mut client, &mut guest] {
        let seen = tokio::time::timeout(TIMEOUT, side.read(&mut [0])).await?;
        ensure!(seen.is_err(), "ended without a reset");
    }
    // New connections work.
    let mut client = port.connect().await?;
    client.write_all(b"\0").await?;
    ensure!(port.a.accept().await?.read(&mut [0]).await? == 1);
    Ok(())
}

async fn late_service_is_reached() -> Result<()> {
    let late = free_port()?;
    let number = free_port()?;
    let default = Some(upstream("a", late, mpsc::unbounded_channel().0));
    let end = serve(
        number,
        Table {
            default,
            ..Table::default()
        },
    )?;
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await?;
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, late)).await?;
    let (mut guest, _) = tokio::time::timeout(TIMEOUT, listener.accept()).await??;
    ensure!(guest.read(&mut [0; 64]).await? > 0);
    drop((guest, listener));
    // Browsers get a reloading page at once.
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await?;
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n")
        .await?;
    let mut page = String::new();
    client.read_to_string(&mut page).await?;
    ensure!(
        page.starts_with("HTTP/1.1 503") && page.contains("refresh"),
        "{page}"
    );
    end.cancel();
    Ok(())
}
