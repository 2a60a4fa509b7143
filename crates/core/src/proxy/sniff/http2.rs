//! HTTP/2 with prior knowledge (RFC 9113): `:authority` of the first request.
//!
//! Clients that wait for the server's settings before their first request are not detected.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{MAX_HEAD_BYTES, Protocol, Sniffed, known};
use crate::proxy::name::Target;

/// Connection preface (section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frame header length (section 4.1).
const FRAME_HEADER_BYTES: usize = 9;
/// Initial frame size limit (section 4.2).
const MAX_FRAME_BYTES: usize = 16_384;
/// Frame types of request headers (sections 6.2 and 6.10).
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
/// Flag of the last header frame.
const END_HEADERS: u8 = 4;

/// Whether the bytes match the preface so far.
pub(super) fn may_be(bytes: &[u8]) -> bool {
    let length = bytes.len().min(PREFACE.len());
    bytes[..length] == PREFACE[..length]
}

pub(super) fn sniff(bytes: &[u8]) -> Sniffed {
    match head(bytes) {
        Head::Complete(head) => known(Protocol::Http2, requested_target(head)),
        Head::Partial if bytes.len() < MAX_HEAD_BYTES => Sniffed::More,
        Head::Partial => Sniffed::TooLong,
        Head::Invalid => known(Protocol::Http2, Target::Invalid),
    }
}

/// Head of the first request.
enum Head<'a> {
    /// Complete, without trailing bytes.
    Complete(&'a [u8]),
    Partial,
    /// Protocol error.
    Invalid,
}

fn head(bytes: &[u8]) -> Head<'_> {
    let mut at = PREFACE.len();
    while let Some(head) = bytes.get(at..at + FRAME_HEADER_BYTES) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if length > MAX_FRAME_BYTES {
            return Head::Invalid;
        }
        at += FRAME_HEADER_BYTES + length;
        let Some(whole) = bytes.get(..at) else {
            return Head::Partial;
        };
        if matches!(head[3], HEADERS | CONTINUATION) && head[4] & END_HEADERS != 0 {
            return Head::Complete(whole);
        }
    }
    Head::Partial
}

/// Returns the host of the first request, parsed by `h2`.
fn requested_target(bytes: &[u8]) -> Target {
    let first = async {
        let mut connection = h2::server::handshake(Replay(bytes)).await.ok()?;
        let (request, _) = connection.accept().await?.ok()?;
        Some(request)
    };
    let Some(Some(request)) = first.now_or_never() else {
        return Target::Invalid;
    };
    let host = request.headers().get("host");
    let host = host.map(|host| host.to_str().map_or(Target::Invalid, Target::of_authority));
    let authority = request.uri().authority();
    let authority = authority.map(|authority| Target::of_authority(authority.as_str()));
    match (authority, host) {
        (Some(one), Some(other)) if one != other => Target::Invalid,
        (Some(target), _) | (None, Some(target)) => target,
        (None, None) => Target::Focus,
    }
}

/// A connection with these received bytes; discards writes.
struct Replay<'a>(&'a [u8]);

impl AsyncRead for Replay<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = self.0.len().min(buffer.remaining());
        if length == 0 {
            return Poll::Pending;
        }
        let (now, later) = self.0.split_at(length);
        buffer.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replay<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::super::sniff;
    use super::super::tests::bytewise;
    use super::*;
    use crate::proxy::name::RouteName;

    /// Returns the first bytes of an `h2` client's request.
    async fn request(uri: &str) -> Vec<u8> {
        let (ours, mut other) = tokio::io::duplex(256 * 1024);
        let (mut client, connection) = h2::client::handshake(ours).await.unwrap();
        let driven = tokio::spawn(connection);
        let request = hyper::Request::builder().uri(uri).body(()).unwrap();
        let _answer = client.send_request(request, true).unwrap();
        let mut bytes = Vec::new();
        while !matches!(sniff(&bytes), Sniffed::Known { .. }) {
            assert_ne!(other.read_buf(&mut bytes).await.unwrap(), 0);
        }
        driven.abort();
        bytes
    }

    fn http2(requested_target: Target) -> Sniffed {
        known(Protocol::Http2, requested_target)
    }

    #[tokio::test]
    async fn finds_authority_of_h2_client() {
        let bytes = request("http://dev.web.localhost:5173/x").await;
        let dev = Target::Named(RouteName::of("dev", Some("web")));
        assert_eq!(bytewise(&bytes[..]), http2(dev));
        assert_eq!(
            sniff(&request("http://127.0.0.1/").await),
            http2(Target::Focus)
        );
    }

    #[test]
    fn invalid_frames_are_refused() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
        assert_eq!(sniff(&bytes), http2(Target::Invalid));
        let mut rubbish = PREFACE.to_vec();
        rubbish.extend([0, 0, 3, HEADERS, END_HEADERS, 0, 0, 0, 1, 0xff, 0xff, 0xff]);
        assert_eq!(sniff(&rubbish), http2(Target::Invalid));
    }

    #[test]
    fn other_methods_with_p_are_not_the_preface() {
        assert_eq!(sniff(b"P"), Sniffed::More);
        assert_eq!(sniff(b"PRI "), Sniffed::More);
        let post = sniff(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(
            matches!(
                post,
                Sniffed::Known {
                    protocol: Protocol::Http1 { .. },
                    ..
                }
            ),
            "{post:?}"
        );
    }
}
