//! One connection, from its first byte until it is on its way.
//!
//! A client that says whom it wants gets that one. A silent one is a browser's preconnect, or it waits
//! for the server to speak: the focused env is dialled meanwhile, without committing to it. The server's
//! bytes commit the connection; the client's still choose by name.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::hold;
use super::page::Page;
use super::refuse::refuse;
use super::sniff::{Protocol, Sniffed, TLS_HANDSHAKE, sniff};
use super::table::{Decision, Table, hosts, protocol};
use super::upstream::Upstream;
use crate::backend::GuestStream;
use crate::error::Error;
use crate::model::HostPort;

/// How long a client may be silent before the focused env is dialled for it.
const SILENCE: Duration = Duration::from_millis(5);
/// How long a head may take that has begun.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client is held while nobody listens in the env, or while a connection to it is being made.
const HOLD: Duration = Duration::from_secs(5);
/// The same for a person, who then sees a page that looks again.
const HOLD_PERSON: Duration = Duration::from_millis(300);
/// How long a connection is still made for a client that has ended its sending.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that are taken at most while a connection is being made.
const MOST: usize = 64 * 1024;
/// Bytes that are read at once before a connection is on its way.
const CHUNK: usize = 4096;

/// A connection that only has to be relayed.
pub(super) struct Passage {
    pub(super) client: TcpStream,
    pub(super) guest: GuestStream,
    pub(super) upstream: Arc<Upstream>,
    pub(super) http: bool,
    pub(super) cut: CancellationToken,
}

/// A service that was dialled for a silent client.
struct Early {
    upstream: Arc<Upstream>,
    guest: GuestStream,
    cut: CancellationToken,
    /// What it has said already, which commits the connection to it.
    said: Vec<u8>,
}

/// A client, what it has said, and who was dialled for it.
struct Opening<'a> {
    client: TcpStream,
    table: &'a Table,
    bytes: Vec<u8>,
    /// It has ended its sending.
    ended: bool,
    early: Option<Early>,
}

/// Leads a connection to where it wants to go; `None` where it ended on the way.
pub(super) async fn open(client: TcpStream, table: &Table, port: HostPort) -> Option<Passage> {
    match lead(client, table, port).await {
        Ok(passage) => passage,
        Err(error) => {
            tracing::debug!(%error, %port, "a connection ended before it was on its way");
            None
        }
    }
}

async fn lead(client: TcpStream, table: &Table, port: HostPort) -> io::Result<Option<Passage>> {
    client.set_nodelay(true)?;
    let mut opening = Opening {
        client,
        table,
        bytes: Vec::new(),
        ended: false,
        early: None,
    };
    let sniffed = match table.is_shared() {
        true => opening.listen().await?,
        false => Some(Sniffed::Other),
    };
    let Some(sniffed) = sniffed else {
        return Ok(None);
    };
    if let Some(early) = opening.early.take_if(|early| !early.said.is_empty()) {
        return opening.go(early, false).await.map(Some);
    }
    let protocol = protocol(&sniffed);
    match table.decide(&sniffed) {
        Decision::Refused(why) => {
            let page = Page::refused(why, hosts(table, port));
            refuse(opening.client, opening.bytes, protocol, &page).await;
            Ok(None)
        }
        Decision::To(upstream) => opening.reach(upstream, protocol, port).await,
    }
}

impl Opening<'_> {
    /// Listens until it is known whom the client wants, or until the server has spoken; `None` where
    /// the client left, or waited in vain.
    async fn listen(&mut self) -> io::Result<Option<Sniffed>> {
        if timeout(SILENCE, self.read()).await.is_err() && !self.dial_early().await? {
            return Ok(None);
        }
        let mut deadline = None;
        loop {
            let spoken = self
                .early
                .as_ref()
                .is_some_and(|early| !early.said.is_empty());
            let sniffed = sniff(&self.bytes);
            match sniffed {
                _ if spoken => return Ok(Some(Sniffed::Other)),
                // It will say no more.
                Sniffed::More if self.ended => return self.give_up().await,
                Sniffed::More => {}
                known => return Ok(Some(known)),
            }
            let begun = !self.bytes.is_empty();
            match begun {
                // A silent client waits for as long as it likes.
                false => self.either().await?,
                true => match timeout_at(
                    *deadline.get_or_insert_with(|| Instant::now() + HEADER_TIMEOUT),
                    self.either(),
                )
                .await
                {
                    Ok(heard) => heard?,
                    Err(_) => return self.give_up().await,
                },
            }
        }
    }

    /// The client will say no more, or takes too long. One that has begun to name somebody gets nobody:
    /// it may have meant any.
    async fn give_up(&mut self) -> io::Result<Option<Sniffed>> {
        let begun_http =
            self.bytes.first().is_some_and(u8::is_ascii_uppercase) && self.bytes.contains(&b' ');
        if begun_http {
            let page = Page::too_slow().bytes(Protocol::Http1 { html: false });
            self.client.write_all(&page).await?;
        }
        let begun_tls = self.bytes.first() == Some(&TLS_HANDSHAKE);
        match begun_http || begun_tls {
            true => Ok(None),
            false => Ok(Some(Sniffed::Other)),
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        read_some(&self.client, &mut self.bytes, &mut self.ended).await
    }

    /// Hears the client, or the service that was dialled for it.
    async fn either(&mut self) -> io::Result<()> {
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
                said = early.guest.read_buf(&mut early.said) => match said? {
                    // It has ended before a word, and so has the connection: whom the client would have
                    // asked for is not known yet.
                    0 => Err(io::ErrorKind::UnexpectedEof.into()),
                    _ => Ok(()),
                },
            },
        }
    }

    /// Dials the focused env for a silent client, unless that speaks first. `false` where there is
    /// nothing to wait for.
    async fn dial_early(&mut self) -> io::Result<bool> {
        let Some(upstream) = self.table.focused.clone() else {
            return Ok(true);
        };
        let cut = upstream.ticket();
        tokio::select! {
            biased;
            read = read_some(&self.client, &mut self.bytes, &mut self.ended) => {
                read?;
                Ok(true)
            }
            dialled = hold::dial(&upstream, Instant::now() + HOLD) => match dialled {
                Ok(guest) => {
                    let said = Vec::new();
                    self.early = Some(Early { upstream, guest, cut, said });
                    Ok(true)
                }
                Err(error) => {
                    tracing::debug!(%error, "nobody for a silent client");
                    Ok(false)
                }
            },
        }
    }

    /// Connects to the one that the client wants.
    async fn reach(
        mut self,
        upstream: Arc<Upstream>,
        protocol: Option<Protocol>,
        port: HostPort,
    ) -> io::Result<Option<Passage>> {
        let http = protocol.is_some_and(Protocol::is_http);
        if let Some(early) = self
            .early
            .take_if(|early| Arc::ptr_eq(&early.upstream, &upstream))
        {
            return self.go(early, http).await.map(Some);
        }
        self.early = None;
        let cut = upstream.ticket();
        let end = Instant::now() + HOLD;
        let first = tokio::select! {
            biased;
            dialled = hold::dial_once(&upstream, end) => dialled,
            () = self.leaves() => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        let guest = match first {
            Ok(guest) => Ok(guest),
            Err(error) if !hold::passes(&error) || Instant::now() >= end => Err((error, protocol)),
            Err(_) => self.wait(&upstream, protocol, end).await?,
        };
        match guest {
            Ok(guest) => {
                let said = Vec::new();
                let early = Early {
                    upstream,
                    guest,
                    cut,
                    said,
                };
                self.go(early, http).await.map(Some)
            }
            Err((error, protocol)) => {
                let page = waiting(&upstream, &error, port);
                refuse_unreached(self.client, self.bytes, protocol, &page).await;
                Ok(None)
            }
        }
    }

    /// Holds the client until the service answers, or until it has waited long enough.
    async fn wait(
        &mut self,
        upstream: &Upstream,
        mut protocol: Option<Protocol>,
        end: Instant,
    ) -> io::Result<std::result::Result<GuestStream, (Error, Option<Protocol>)>> {
        // On a port of an env's own nobody has asked yet what the client speaks.
        if !self.table.is_shared() {
            protocol = self.peek_protocol().await?;
        }
        let end = match protocol {
            Some(Protocol::Http1 { html: true }) => end.min(Instant::now() + HOLD_PERSON),
            _ => end,
        };
        tokio::select! {
            biased;
            dialled = hold::dial(upstream, end) => Ok(dialled.map_err(|error| (error, protocol))),
            () = self.leaves() => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    /// Resolves when the client has gone away: at once where it was reset. One that has ended its sending may
    /// still wait for an answer, or it may be gone: it is given a while. What it says meanwhile is kept, for its
    /// end comes behind that.
    async fn leaves(&mut self) {
        loop {
            let heard = tokio::select! {
                _ = self.client.ready(Interest::ERROR) => return,
                () = sleep(DRAIN_TIMEOUT), if self.ended => return,
                heard = read_some(&self.client, &mut self.bytes, &mut self.ended),
                    if !self.ended && self.bytes.len() < MOST => heard,
            };
            if heard.is_err() {
                return;
            }
        }
    }

    async fn peek_protocol(&mut self) -> io::Result<Option<Protocol>> {
        let end = Instant::now() + SILENCE;
        while let Sniffed::More = sniff(&self.bytes) {
            if self.ended || timeout_at(end, self.read()).await.is_err() {
                break;
            }
        }
        Ok(protocol(&sniff(&self.bytes)))
    }

    /// Sends what has been said until now both ways.
    async fn go(mut self, early: Early, http: bool) -> io::Result<Passage> {
        let Early {
            upstream,
            mut guest,
            cut,
            said,
        } = early;
        if !said.is_empty() {
            self.client.write_all(&said).await?;
        }
        if !self.bytes.is_empty() {
            guest.write_all(&self.bytes).await?;
        }
        if self.ended {
            guest.shutdown().await?;
        }
        Ok(Passage {
            client: self.client,
            guest,
            upstream,
            http,
            cut,
        })
    }
}

/// Reads a bit of what the client says. Loses nothing when it is dropped in between.
async fn read_some(client: &TcpStream, bytes: &mut Vec<u8>, ended: &mut bool) -> io::Result<()> {
    loop {
        client.readable().await?;
        let mut chunk = [0; CHUNK];
        match client.try_read(&mut chunk) {
            Ok(0) => *ended = true,
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            // It only seemed as if there were something.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        return Ok(());
    }
}

fn waiting(upstream: &Upstream, error: &Error, port: HostPort) -> Page {
    let report = error.report();
    let host = format!("{}:{port}", upstream.name.host());
    Page::waiting(&host, &report.message, report.hint.as_deref())
}

/// A service that isn't there is no reason for an alert: TLS is closed like any other.
async fn refuse_unreached(
    client: TcpStream,
    bytes: Vec<u8>,
    protocol: Option<Protocol>,
    page: &Page,
) {
    let protocol = protocol.filter(|protocol| protocol.is_http());
    refuse(client, bytes, protocol, page).await;
}
