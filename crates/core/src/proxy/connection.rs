//! Routes a connection, from its first byte until it can be relayed.
//!
//! A client that names a host is routed by it. A silent client is a browser's preconnect, or waits for the server to
//! speak: the default target is dialled early. Bytes from the server commit the connection to it; bytes from the client
//! may still select another env.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::hold;
use super::page::Page;
use super::refuse::refuse;
use super::serve::Routes;
use super::sniff::{Protocol, Sniffed, TLS_HANDSHAKE, sniff};
use super::table::{Decision, Table, hosts, protocol};
use super::upstream::Upstream;
use crate::backend::GuestStream;
use crate::error::Error;
use crate::model::HostPort;

/// Silence after which the default target is dialled.
const SILENCE_TIMEOUT: Duration = Duration::from_millis(5);
/// Time to complete a request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time to hold a client until the env accepts a connection.
const HOLD_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for browsers, which then get a page that reloads.
const BROWSER_HOLD_TIMEOUT: Duration = Duration::from_millis(300);
/// Time to keep dialling for a half-closed client.
const HALF_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Limit of bytes buffered while dialling.
const MAX_BUFFERED_BYTES: usize = 64 * 1024;
/// Read size before relaying.
const READ_BYTES: usize = 4096;

/// A routed connection, ready to be relayed.
pub(super) struct RoutedConnection {
    pub(super) client: TcpStream,
    pub(super) guest: GuestStream,
    pub(super) upstream: Arc<Upstream>,
    pub(super) http: bool,
    pub(super) cut: CancellationToken,
}

/// A default target dialled for a silent client.
struct EarlyTarget {
    upstream: Arc<Upstream>,
    guest: GuestStream,
    cut: CancellationToken,
    /// Bytes received from it, which commit the connection.
    received: Vec<u8>,
    /// Counts it, until it is committed.
    _permit: Option<OwnedSemaphorePermit>,
}

/// A client that is being routed.
struct Opening<'a> {
    client: TcpStream,
    table: &'a Table,
    routes: &'a Routes,
    bytes: Vec<u8>,
    /// The client half-closed the connection.
    ended: bool,
    early: Option<EarlyTarget>,
}

/// Routes a connection. Returns `None` if it ended or was refused.
pub(super) async fn open(
    client: TcpStream,
    table: &Table,
    routes: &Routes,
    port: HostPort,
) -> Option<RoutedConnection> {
    match route(client, table, routes, port).await {
        Ok(routed) => routed,
        Err(error) => {
            tracing::debug!(%error, %port, "connection ended before it was routed");
            None
        }
    }
}

async fn route(
    client: TcpStream,
    table: &Table,
    routes: &Routes,
    port: HostPort,
) -> io::Result<Option<RoutedConnection>> {
    client.set_nodelay(true)?;
    let mut opening = Opening {
        client,
        table,
        routes,
        bytes: Vec::new(),
        ended: false,
        early: None,
    };
    let Some(sniffed) = opening.listen().await? else {
        return Ok(None);
    };
    if let Some(early) = opening.early.take_if(|early| !early.received.is_empty()) {
        return opening.commit(early, false).await.map(Some);
    }
    let protocol = protocol(&sniffed);
    match table.decide(&sniffed) {
        Decision::Refused(reason) => {
            let page = Page::refused(reason, hosts(table, port));
            refuse(opening.client, opening.bytes, protocol, &page).await;
            Ok(None)
        }
        Decision::To(upstream) => opening.connect(upstream, protocol, port).await,
    }
}

impl Opening<'_> {
    /// Reads until the target is known or the server has spoken. Returns `None` if the client left or no target is
    /// available.
    async fn listen(&mut self) -> io::Result<Option<Sniffed>> {
        if timeout(SILENCE_TIMEOUT, self.read()).await.is_err() && !self.dial_early().await? {
            return Ok(None);
        }
        let mut deadline = None;
        loop {
            let server_spoke = self
                .early
                .as_ref()
                .is_some_and(|early| !early.received.is_empty());
            let sniffed = sniff(&self.bytes);
            match sniffed {
                _ if server_spoke => return Ok(Some(Sniffed::Other)),
                Sniffed::More if self.ended => return self.end_sniffing().await,
                Sniffed::More => {}
                known => return Ok(Some(known)),
            }
            let started = !self.bytes.is_empty();
            if started {
                match timeout_at(
                    *deadline.get_or_insert_with(|| Instant::now() + HEADER_TIMEOUT),
                    self.read_either(),
                )
                .await
                {
                    Ok(read) => read?,
                    Err(_) => return self.end_sniffing().await,
                }
            } else {
                // Silent clients have no timeout.
                self.read_either().await?
            }
        }
    }

    /// Handles an incomplete head. A client that started to name a host is refused, because it may have meant any env.
    async fn end_sniffing(&mut self) -> io::Result<Option<Sniffed>> {
        let started_http =
            self.bytes.first().is_some_and(u8::is_ascii_uppercase) && self.bytes.contains(&b' ');
        if started_http {
            let page = Page::too_slow().bytes(Protocol::Http1 { html: false });
            self.client.write_all(&page).await?;
        }
        let started_tls = self.bytes.first() == Some(&TLS_HANDSHAKE);
        if started_http || started_tls {
            Ok(None)
        } else {
            Ok(Some(Sniffed::Other))
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        read_some(&self.client, &mut self.bytes, &mut self.ended).await
    }

    /// Reads from the client, or from the early target.
    async fn read_either(&mut self) -> io::Result<()> {
        let Self {
            client,
            bytes,
            ended,
            early,
            ..
        } = self;
        match early {
            None => read_some(client, bytes, ended).await,
            Some(early) => tokio::select! {
                biased;
                read = read_some(client, bytes, ended), if !*ended => read,
                received = early.guest.read_buf(&mut early.received) => match received? {
                    // The target closed before the client named a host.
                    0 => Err(io::ErrorKind::UnexpectedEof.into()),
                    _ => Ok(()),
                },
            },
        }
    }

    /// Dials the default target for a silent client, unless the client speaks first. Returns `false` if dialling failed.
    async fn dial_early(&mut self) -> io::Result<bool> {
        let Some(upstream) = self.table.default.clone() else {
            return Ok(true);
        };
        let cut = upstream.cut_token();
        let early_targets = self.routes.early_targets.clone();
        let dial = async {
            // Never closed.
            let permit = early_targets.acquire_owned().await.ok();
            let guest = hold::dial(&upstream, Instant::now() + HOLD_TIMEOUT).await;
            guest.map(|guest| (guest, permit))
        };
        tokio::select! {
            biased;
            read = read_some(&self.client, &mut self.bytes, &mut self.ended) => {
                read?;
                Ok(true)
            }
            dialled = dial => match dialled {
                Ok((guest, permit)) => {
                    let received = Vec::new();
                    self.early = Some(EarlyTarget { upstream, guest, cut, received, _permit: permit });
                    Ok(true)
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot dial default target for silent client");
                    Ok(false)
                }
            },
        }
    }

    /// Connects to the selected env.
    async fn connect(
        mut self,
        upstream: Arc<Upstream>,
        protocol: Option<Protocol>,
        port: HostPort,
    ) -> io::Result<Option<RoutedConnection>> {
        let http = protocol.is_some_and(Protocol::is_http);
        if let Some(early) = self
            .early
            .take_if(|early| Arc::ptr_eq(&early.upstream, &upstream))
        {
            return self.commit(early, http).await.map(Some);
        }
        self.early = None;
        let cut = upstream.cut_token();
        let end = Instant::now() + HOLD_TIMEOUT;
        let first = tokio::select! {
            biased;
            dialled = hold::dial_once(&upstream, end) => dialled,
            () = self.client_gone() => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        let guest = match first {
            Ok(guest) => Ok(guest),
            Err(error) if !hold::is_transient(&error) || Instant::now() >= end => {
                Err((error, protocol))
            }
            Err(_) => self.hold(&upstream, protocol, end).await?,
        };
        match guest {
            Ok(guest) => {
                let received = Vec::new();
                let early = EarlyTarget {
                    upstream,
                    guest,
                    cut,
                    received,
                    _permit: None,
                };
                self.commit(early, http).await.map(Some)
            }
            Err((error, protocol)) => {
                let page = waiting_page(&upstream, &error, port);
                refuse_unreached(self.client, self.bytes, protocol, &page).await;
                Ok(None)
            }
        }
    }

    /// Holds the client until the service accepts, or until a timeout.
    async fn hold(
        &mut self,
        upstream: &Upstream,
        protocol: Option<Protocol>,
        end: Instant,
    ) -> io::Result<std::result::Result<GuestStream, (Error, Option<Protocol>)>> {
        let end = match protocol {
            Some(Protocol::Http1 { html: true }) => end.min(Instant::now() + BROWSER_HOLD_TIMEOUT),
            _ => end,
        };
        tokio::select! {
            biased;
            dialled = hold::dial(upstream, end) => Ok(dialled.map_err(|error| (error, protocol))),
            () = self.client_gone() => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    /// Resolves when the client is gone: at once after a reset, with a delay after a half-close, since it may still wait
    /// for a response. Buffers what it sends, because the end comes after that.
    async fn client_gone(&mut self) {
        loop {
            let read = tokio::select! {
                _ = self.client.ready(Interest::ERROR) => return,
                () = sleep(HALF_CLOSE_TIMEOUT), if self.ended => return,
                read = read_some(&self.client, &mut self.bytes, &mut self.ended),
                    if !self.ended && self.bytes.len() < MAX_BUFFERED_BYTES => read,
            };
            if read.is_err() {
                return;
            }
        }
    }

    /// Forwards all buffered bytes in both directions.
    async fn commit(mut self, early: EarlyTarget, http: bool) -> io::Result<RoutedConnection> {
        let EarlyTarget {
            upstream,
            mut guest,
            cut,
            received,
            _permit,
        } = early;
        if !received.is_empty() {
            self.client.write_all(&received).await?;
        }
        if !self.bytes.is_empty() {
            guest.write_all(&self.bytes).await?;
        }
        if self.ended {
            guest.shutdown().await?;
        }
        Ok(RoutedConnection {
            client: self.client,
            guest,
            upstream,
            http,
            cut,
        })
    }
}

/// Reads available bytes. Cancel-safe.
async fn read_some(client: &TcpStream, bytes: &mut Vec<u8>, ended: &mut bool) -> io::Result<()> {
    loop {
        client.readable().await?;
        let mut chunk = [0; READ_BYTES];
        match client.try_read(&mut chunk) {
            Ok(0) => *ended = true,
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            // Spurious readiness.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        return Ok(());
    }
}

fn waiting_page(upstream: &Upstream, error: &Error, port: HostPort) -> Page {
    let report = error.report();
    let host = format!("{}:{port}", upstream.name.host());
    Page::waiting(&host, &report.message, report.hint.as_deref())
}

/// Refuses a client of an unreachable service. TLS gets no alert, since the name is valid.
async fn refuse_unreached(
    client: TcpStream,
    bytes: Vec<u8>,
    protocol: Option<Protocol>,
    page: &Page,
) {
    let protocol = protocol.filter(|protocol| protocol.is_http());
    refuse(client, bytes, protocol, page).await;
}
