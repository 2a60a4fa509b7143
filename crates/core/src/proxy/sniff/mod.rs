//! Detects protocol and target from the first bytes of a connection.
//!
//! Three protocols name a host before the server speaks: HTTP/1, HTTP/2 with prior knowledge, and TLS in its client
//! hello. Parsing is done by well-known libraries; this code decides when enough was read. All functions are pure.

mod http1;
mod http2;
mod tls;

use super::name::Target;
pub(super) use tls::HANDSHAKE as TLS_HANDSHAKE;

/// Limit in bytes. Longer heads are refused (HTTP) or treated as an unknown protocol.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Result of sniffing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sniffed {
    /// More bytes are needed.
    More,
    /// A known protocol.
    Known {
        protocol: Protocol,
        /// Requested target.
        target: Target,
    },
    /// A protocol without host names.
    Other,
    /// HTTP with a head over the limit.
    TooLong,
}

/// A protocol with host names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 and 1.1, including WebSocket.
    Http1 {
        /// The client accepts HTML.
        html: bool,
    },
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS with any content.
    Tls,
}

impl Protocol {
    /// Whether it is unencrypted HTTP.
    #[must_use]
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http1 { .. } | Self::Http2)
    }
}

/// Sniffs the bytes received so far.
#[must_use]
pub fn sniff(bytes: &[u8]) -> Sniffed {
    match bytes.first() {
        None => Sniffed::More,
        Some(&tls::HANDSHAKE) => tls::sniff(bytes),
        Some(_) if http2::may_be(bytes) => http2::sniff(bytes),
        Some(_) => http1::sniff(bytes),
    }
}

fn known(protocol: Protocol, target: Target) -> Sniffed {
    Sniffed::Known { protocol, target }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Feeds bytes one by one; only the last one may decide.
    pub(in crate::proxy) fn bytewise(bytes: &[u8]) -> Sniffed {
        let mut verdict = Sniffed::More;
        for end in 1..=bytes.len() {
            assert_eq!(verdict, Sniffed::More, "known before byte {end}");
            verdict = sniff(&bytes[..end]);
        }
        verdict
    }

    #[test]
    fn other_protocols_have_no_target() {
        assert_eq!(sniff(b""), Sniffed::More);
        for other in [
            &b"\0\0\0\x08\x04\xd2\x16\x2f"[..],
            b"\x00",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"hello",
            b"\xff\xff\xff",
            b"*1\r\n$4\r\nPING\r\n",
            b"PING\r\n",
        ] {
            assert_eq!(sniff(other), Sniffed::Other, "{other:?}");
        }
    }
}
