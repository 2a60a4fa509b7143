//! HTTP/2 with prior knowledge (RFC 9113): `:authority` of the first request.
//!
//! Some clients wait for the server's settings before they ask for anything; they name nobody in time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{MAX_HEAD, Protocol, Sniffed, known};
use crate::proxy::name::Asked;

/// What a client that knows beforehand begins with (section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame's own head (section 4.1).
const FRAME_HEAD: usize = 9;
/// The longest frame before anything else has been agreed on (section 4.2).
const MAX_FRAME: usize = 16_384;
/// Frame types that carry the head of a request (sections 6.2 and 6.10).
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
/// The flag of the last of them.
const END_HEADERS: u8 = 4;

/// Whether these are the first bytes of the preface, or the preface and more.
pub(super) fn may_be(bytes: &[u8]) -> bool {
    let length = bytes.len().min(PREFACE.len());
    bytes[..length] == PREFACE[..length]
}

pub(super) fn sniff(bytes: &[u8]) -> Sniffed {
    match head(bytes) {
        Head::Whole(head) => known(Protocol::Http2, asked(head)),
        Head::Part if bytes.len() < MAX_HEAD => Sniffed::More,
        Head::Part => Sniffed::TooLong,
        Head::Wrong => known(Protocol::Http2, Asked::Garbled),
    }
}

/// What there is of the head of the first request.
enum Head<'a> {
    /// All of it, and nothing behind it.
    Whole(&'a [u8]),
    /// Not all of it yet.
    Part,
    /// Frames that nobody may send.
    Wrong,
}

fn head(bytes: &[u8]) -> Head<'_> {
    let mut at = PREFACE.len();
    while let Some(head) = bytes.get(at..at + FRAME_HEAD) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if length > MAX_FRAME {
            return Head::Wrong;
        }
        at += FRAME_HEAD + length;
        let Some(whole) = bytes.get(..at) else {
            return Head::Part;
        };
        if matches!(head[3], HEADERS | CONTINUATION) && head[4] & END_HEADERS != 0 {
            return Head::Whole(whole);
        }
    }
    Head::Part
}

/// The host of the first request, read by the library that a server would read it with.
fn asked(bytes: &[u8]) -> Asked {
    let first = async {
        let mut connection = h2::server::handshake(Replay(bytes)).await.ok()?;
        let (request, _) = connection.accept().await?.ok()?;
        Some(request)
    };
    let Some(Some(request)) = first.now_or_never() else {
        return Asked::Garbled;
    };
    let host = request.headers().get("host");
    let host = host.map(|host| host.to_str().map_or(Asked::Garbled, Asked::of_authority));
    let authority = request.uri().authority();
    let authority = authority.map(|authority| Asked::of_authority(authority.as_str()));
    match (authority, host) {
        (Some(one), Some(other)) if one != other => Asked::Garbled,
        (Some(asked), _) | (None, Some(asked)) => asked,
        (None, None) => Asked::Focus,
    }
}

/// A connection that has received these bytes, then nothing; what is sent is forgotten.
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

    /// The first bytes of a real client that asks for `uri`.
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

    fn http2(asked: Asked) -> Sniffed {
        known(Protocol::Http2, asked)
    }

    #[tokio::test]
    async fn the_authority_of_a_real_client_is_found() {
        let bytes = request("http://dev.web.localhost:5173/x").await;
        let dev = Asked::Named(RouteName::of("dev", Some("web")));
        assert_eq!(bytewise(&bytes[..]), http2(dev));
        assert_eq!(
            sniff(&request("http://127.0.0.1/").await),
            http2(Asked::Focus)
        );
    }

    #[test]
    fn frames_that_nobody_may_send_reach_nobody() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
        assert_eq!(sniff(&bytes), http2(Asked::Garbled));
        let mut rubbish = PREFACE.to_vec();
        rubbish.extend([0, 0, 3, HEADERS, END_HEADERS, 0, 0, 0, 1, 0xff, 0xff, 0xff]);
        assert_eq!(sniff(&rubbish), http2(Asked::Garbled));
    }

    #[test]
    fn other_methods_that_begin_with_a_p_are_no_preface() {
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
