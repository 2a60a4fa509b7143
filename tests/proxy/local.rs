//! What clients and services may do to a forwarder: in this process, with services on loopback.

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use libtest_mimic::{Failed, Trial};
use lxc_dev_manager_core::backend::GuestStream;
use lxc_dev_manager_core::model::{HostPort, Reach};
use lxc_dev_manager_core::proxy::{self, RouteName, Routes, Service, Shared, Table, Upstream};
use lxc_dev_manager_core::view::EnvRef;
use lxc_dev_manager_core::{Error, ErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::stage::free_port;

/// How long something may take that is about to happen.
pub const SOON: Duration = Duration::from_secs(20);

/// The tests, each with its name.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("half_closes_arrive_both_ways", half_closes_arrive_both_ways),
        trial("resets_arrive_both_ways", resets_arrive_both_ways),
        trial(
            "a_slow_reader_holds_the_sender_back",
            a_slow_reader_holds_the_sender_back,
        ),
        trial("a_name_may_come_byte_by_byte", a_name_may_come_byte_by_byte),
        trial("who_speaks_first_decides", who_speaks_first_decides),
        trial(
            "hosts_with_tricks_reach_nobody",
            hosts_with_tricks_reach_nobody,
        ),
        trial(
            "a_head_without_end_is_refused",
            a_head_without_end_is_refused,
        ),
        trial(
            "http2_and_tls_are_told_in_their_own_way",
            http2_and_tls_are_told_in_their_own_way,
        ),
        trial("what_is_cut_is_reset", what_is_cut_is_reset),
        trial(
            "a_service_that_comes_late_is_met",
            a_service_that_comes_late_is_met,
        ),
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

/// A service of the test: hands its connections over.
struct Local {
    accepted: mpsc::Receiver<TcpStream>,
    dialled: mpsc::UnboundedReceiver<()>,
    upstream: Arc<Upstream>,
}

/// Connects to a port, and says so when it has.
struct Connect(u16, mpsc::UnboundedSender<()>);

#[async_trait]
impl Service for Connect {
    async fn dial(&self) -> lxc_dev_manager_core::Result<GuestStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.0)).await;
        let stream = stream.map_err(|_| Error::new(ErrorKind::Guest, "nothing listens"))?;
        // A test that doesn't ask has no receiver.
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

    /// One that was dialled for a silent client; the forwarder has it by now.
    async fn accept_early(&mut self) -> Result<TcpStream> {
        let accepted = self.accept().await?;
        let dialled = tokio::time::timeout(SOON, self.dialled.recv()).await;
        dialled.context("not dialled")?.context("it ended")?;
        Ok(accepted)
    }

    async fn accept(&mut self) -> Result<TcpStream> {
        let accepted = tokio::time::timeout(SOON, self.accepted.recv()).await;
        accepted.context("nobody came")?.context("it ended")
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

/// A port that `a` and `b` share, with the focus on `a`.
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
            focused: Some(a.upstream.clone()),
            named: vec![a.upstream.clone(), b.upstream.clone()],
            names: Arc::default(),
        };
        let end = serve(number, table)?;
        Ok(Self { number, a, b, end })
    }

    async fn connect(&self) -> Result<TcpStream> {
        Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, self.number)).await?)
    }

    /// A client that has said this and gets this answer.
    async fn answer(&self, request: &[u8]) -> Result<String> {
        let mut client = self.connect().await?;
        client.write_all(request).await?;
        let mut answer = Vec::new();
        tokio::time::timeout(SOON, client.read_to_end(&mut answer))
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
    let listeners = Arc::new(proxy::bind(port, Reach::Loopback)?);
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

async fn half_closes_arrive_both_ways() -> Result<()> {
    let mut port = Port::new().await?;
    let mut client = port.connect().await?;
    client.write_all(b"question\n").await?;
    client.shutdown().await?;
    let mut guest = port.a.accept().await?;
    let mut heard = String::new();
    guest.read_to_string(&mut heard).await?;
    ensure!(heard == "question\n", "{heard}");
    guest.write_all(b"answer").await?;
    guest.shutdown().await?;
    heard.clear();
    client.read_to_string(&mut heard).await?;
    ensure!(heard == "answer", "{heard}");
    // The service ends its sending first.
    let mut client = port.connect().await?;
    client.write_all(b"\0").await?;
    let mut guest = port.a.accept().await?;
    guest.shutdown().await?;
    ensure!(client.read(&mut [0]).await? == 0);
    client.write_all(b"still there").await?;
    client.shutdown().await?;
    heard.clear();
    guest.read_to_string(&mut heard).await?;
    ensure!(heard == "\0still there", "{heard:?}");
    Ok(())
}

async fn resets_arrive_both_ways() -> Result<()> {
    let mut port = Port::new().await?;
    for guest_resets in [false, true] {
        let mut client = port.connect().await?;
        client.write_all(b"\0").await?;
        let mut guest = port.a.accept().await?;
        ensure!(guest.read(&mut [0]).await? == 1);
        let (breaks, mut sees) = if guest_resets {
            (guest, client)
        } else {
            (client, guest)
        };
        breaks.set_zero_linger()?;
        drop(breaks);
        let seen = tokio::time::timeout(SOON, sees.read(&mut [0])).await?;
        let error = seen.err().context("it ended like any other")?;
        ensure!(
            error.kind() == std::io::ErrorKind::ConnectionReset,
            "{error}"
        );
    }
    Ok(())
}

async fn a_slow_reader_holds_the_sender_back() -> Result<()> {
    const ALL: usize = 64 * 1024 * 1024;
    let mut port = Port::new().await?;
    let mut client = port.connect().await?;
    client.write_all(b"\0").await?;
    let mut guest = port.a.accept().await?;
    // What is unread when it is closed would make it a reset.
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
    // Nothing is read, so the sender comes to a stop with far less on its way.
    let stuck = tokio::time::timeout(Duration::from_millis(500), async {
        while port.a.upstream.traffic.view().sent < ALL as u64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    ensure!(stuck.await.is_err(), "all of it was taken");
    let mut received = Vec::with_capacity(ALL);
    client.read_to_end(&mut received).await?;
    sending.await??;
    ensure!(received.len() == ALL, "{} bytes", received.len());
    let is_right = |(at, byte): (usize, &u8)| usize::from(*byte) == at % 65_536 % 251;
    ensure!(
        received.iter().enumerate().all(is_right),
        "bytes were changed"
    );
    ensure!(port.a.upstream.traffic.view().sent == ALL as u64);
    Ok(())
}

async fn a_name_may_come_byte_by_byte() -> Result<()> {
    let mut port = Port::new().await?;
    let mut client = port.connect().await?;
    client.set_nodelay(true)?;
    let head = b"GET / HTTP/1.1\r\nHost: B.Web.localhost\r\n\r\n";
    for byte in head {
        client.write_all(&[*byte]).await?;
        tokio::task::yield_now().await;
    }
    let mut guest = port.b.accept().await?;
    let mut heard = vec![0; head.len()];
    guest.read_exact(&mut heard).await?;
    ensure!(heard == head);
    Ok(())
}

async fn who_speaks_first_decides() -> Result<()> {
    let mut port = Port::new().await?;
    // The server speaks first.
    let mut client = port.connect().await?;
    let mut guest = port.a.accept_early().await?;
    guest.write_all(b"220 hello\r\n").await?;
    let mut heard = vec![0; 11];
    client.read_exact(&mut heard).await?;
    ensure!(heard == b"220 hello\r\n");
    // A browser connects early and then asks for another env: the one that was dialled is let go.
    let mut client = port.connect().await?;
    let mut early = port.a.accept_early().await?;
    let head = b"GET / HTTP/1.1\r\nHost: b.web.localhost\r\n\r\n";
    client.write_all(head).await?;
    let mut guest = port.b.accept().await?;
    let mut heard = vec![0; head.len()];
    guest.read_exact(&mut heard).await?;
    ensure!(heard == head);
    ensure!(
        early.read(&mut [0]).await? == 0,
        "the wrong env heard something"
    );
    // The same for the focused one: it is already there.
    let mut client = port.connect().await?;
    let mut early = port.a.accept_early().await?;
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a.web.localhost\r\n\r\n")
        .await?;
    ensure!(early.read(&mut [0; 64]).await? > 0);
    Ok(())
}

async fn hosts_with_tricks_reach_nobody() -> Result<()> {
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
    // Where a head takes a while, the focused one is dialled meanwhile: it hears nothing.
    while let Ok(mut early) = port.a.accepted.try_recv() {
        let heard = early.read(&mut [0; 1]).await;
        ensure!(!matches!(heard, Ok(1..)), "{heard:?}");
    }
    Ok(())
}

async fn a_head_without_end_is_refused() -> Result<()> {
    let port = Port::new().await?;
    let mut head = b"GET / HTTP/1.1\r\nHost: b.web.localhost\r\nX: ".to_vec();
    head.resize(proxy::MAX_HEAD + 10_000, b'a');
    let answer = port.answer(&head).await?;
    ensure!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    Ok(())
}

async fn http2_and_tls_are_told_in_their_own_way() -> Result<()> {
    let port = Port::new().await?;
    let client = port.connect().await?;
    let (mut sender, connection) = h2::client::handshake(client).await?;
    let driven = tokio::spawn(connection);
    let request = hyper::Request::builder()
        .uri("http://c.web.localhost/")
        .body(())?;
    let (answer, _) = sender.send_request(request, true)?;
    let answer = tokio::time::timeout(SOON, answer).await??;
    ensure!(answer.status() == 404, "{answer:?}");
    driven.abort();
    // A greeting for a name that no env has: an alert, and the end.
    let mut client = port.connect().await?;
    client.write_all(&greeting("c.web.localhost")?).await?;
    let mut alert = Vec::new();
    client.read_to_end(&mut alert).await?;
    ensure!(alert == [21, 3, 3, 0, 2, 2, 112], "{alert:?}");
    Ok(())
}

/// The first bytes of a TLS client that wants a name.
fn greeting(name: &str) -> Result<Vec<u8>> {
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

async fn what_is_cut_is_reset() -> Result<()> {
    let mut port = Port::new().await?;
    let mut client = port.connect().await?;
    client.write_all(b"\0").await?;
    let mut guest = port.a.accept().await?;
    ensure!(guest.read(&mut [0]).await? == 1);
    port.a.upstream.cut();
    for side in [&mut client, &mut guest] {
        let seen = tokio::time::timeout(SOON, side.read(&mut [0])).await?;
        ensure!(seen.is_err(), "it ended like any other");
    }
    // Later ones live.
    let mut client = port.connect().await?;
    client.write_all(b"\0").await?;
    ensure!(port.a.accept().await?.read(&mut [0]).await? == 1);
    Ok(())
}

async fn a_service_that_comes_late_is_met() -> Result<()> {
    let late = free_port()?;
    let number = free_port()?;
    let focused = Some(upstream("a", late, mpsc::unbounded_channel().0));
    let end = serve(
        number,
        Table {
            focused,
            ..Table::default()
        },
    )?;
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await?;
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, late)).await?;
    let (mut guest, _) = tokio::time::timeout(SOON, listener.accept()).await??;
    ensure!(guest.read(&mut [0; 64]).await? > 0);
    drop((guest, listener));
    // A person sees a page at once, and it looks again.
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
