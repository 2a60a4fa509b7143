//! What the first bytes of a connection say about whom it wants.
//!
//! Three protocols name a host before the server has said a word: HTTP/1 in its head, HTTP/2 in its
//! first request where the client knows beforehand that it may speak it, and TLS in its greeting. The
//! parsers are those of well-known libraries; what is ours is when to stop reading. All of it is pure:
//! bytes in, a verdict out.

mod http1;
mod http2;
mod tls;

use super::name::Asked;
pub(super) use tls::HANDSHAKE as TLS_HANDSHAKE;

/// More bytes than the head of any request has. What goes on beyond it is refused (HTTP) or treated
/// as a protocol that names nobody.
pub const MAX_HEAD: usize = 64 * 1024;

/// What the first bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sniffed {
    /// Nothing yet: more of them may.
    More,
    /// They name whom they want.
    Known {
        /// In which protocol.
        protocol: Protocol,
        /// Whom.
        asked: Asked,
    },
    /// They are of no protocol that names anybody.
    Other,
    /// HTTP with a head that is longer than any.
    TooLong,
}

/// A protocol that names a host, and with it how to tell its client that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 and 1.1, WebSocket too.
    Http1 {
        /// Whether a person looks at the answer: it takes HTML.
        html: bool,
    },
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS, whatever is in it.
    Tls,
}

impl Protocol {
    /// Whether it is HTTP in the clear.
    #[must_use]
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http1 { .. } | Self::Http2)
    }
}

/// Reads what a client has sent so far.
#[must_use]
pub fn sniff(bytes: &[u8]) -> Sniffed {
    match bytes.first() {
        None => Sniffed::More,
        Some(&tls::HANDSHAKE) => tls::sniff(bytes),
        Some(_) if http2::may_be(bytes) => http2::sniff(bytes),
        Some(_) => http1::sniff(bytes),
    }
}

fn known(protocol: Protocol, asked: Asked) -> Sniffed {
    Sniffed::Known { protocol, asked }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Feeds byte after byte; the verdict must come with the last one, if at all.
    pub(in crate::proxy) fn bytewise(bytes: &[u8]) -> Sniffed {
        let mut verdict = Sniffed::More;
        for end in 1..=bytes.len() {
            assert_eq!(verdict, Sniffed::More, "known before byte {end}");
            verdict = sniff(&bytes[..end]);
        }
        verdict
    }

    #[test]
    fn silence_and_rubbish_say_nothing() {
        assert_eq!(sniff(b""), Sniffed::More);
        for rubbish in [
            &b"\0\0\0\x08\x04\xd2\x16\x2f"[..],
            b"\x00",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"hello",
            b"\xff\xff\xff",
            b"*1\r\n$4\r\nPING\r\n",
            b"PING\r\n",
        ] {
            assert_eq!(sniff(rubbish), Sniffed::Other, "{rubbish:?}");
        }
    }
}
