//! TLS: the server name in the client's greeting (RFC 6066, section 3).

use tokio_rustls::rustls::server::Acceptor;

use super::{MAX_HEAD, Protocol, Sniffed, known};
use crate::proxy::name::Asked;

/// Content type of the record that a greeting comes in (RFC 8446, section 5.1).
pub(in crate::proxy) const HANDSHAKE: u8 = 22;
/// Length of a record's own head.
const RECORD_HEAD: usize = 5;

/// Length of a handshake message's head: its type, and its length in three bytes (section 4).
const MESSAGE_HEAD: usize = 4;

pub(super) fn sniff(bytes: &[u8]) -> Sniffed {
    if bytes.get(1).is_some_and(|major| *major != 3) {
        return Sniffed::Other;
    }
    let Some(mut greeting) = whole_greeting(bytes) else {
        return match bytes.len() < MAX_HEAD {
            true => Sniffed::More,
            false => Sniffed::Other,
        };
    };
    let mut acceptor = Acceptor::default();
    while !greeting.is_empty() {
        match acceptor.read_tls(&mut greeting) {
            Ok(1..) => {}
            _ => return Sniffed::Other,
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let asked = hello.server_name().map_or(Asked::Focus, Asked::of_host);
                return known(Protocol::Tls, asked);
            }
            Ok(None) => {}
            // One that the library doesn't take; the service may.
            Err(_) => return Sniffed::Other,
        }
    }
    Sniffed::Other
}

/// The records that have the greeting, once they are all there: it is parsed once, however slowly and in
/// however many of them it comes.
fn whole_greeting(bytes: &[u8]) -> Option<&[u8]> {
    let mut message_head = Vec::with_capacity(MESSAGE_HEAD);
    let (mut end, mut received) = (0, 0);
    while let Some(head) = bytes.get(end..end + RECORD_HEAD) {
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        let payload = bytes.get(end + RECORD_HEAD..end + RECORD_HEAD + length)?;
        let missing = MESSAGE_HEAD - message_head.len();
        message_head.extend(payload.iter().take(missing));
        end += RECORD_HEAD + length;
        received += length;
        if let [_, a, b, c] = message_head[..] {
            let expected = u32::from_be_bytes([0, a, b, c]) as usize + MESSAGE_HEAD;
            if received >= expected {
                return bytes.get(..end);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::super::sniff;
    use super::super::tests::bytewise;
    use super::*;
    use crate::proxy::name::RouteName;

    /// The greeting of a real client.
    fn greeting(name: &str) -> Vec<u8> {
        let provider = tokio_rustls::rustls::crypto::ring::default_provider();
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = name.to_owned().try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// The same handshake in records of at most `size` bytes.
    fn in_pieces(record: &[u8], size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in record[RECORD_HEAD..].chunks(size) {
            bytes.extend(&record[..3]);
            bytes.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
            bytes.extend(piece);
        }
        bytes
    }

    fn dev() -> Sniffed {
        let name = RouteName::of("dev", Some("web"));
        known(Protocol::Tls, Asked::Named(name))
    }

    #[test]
    fn the_server_name_is_found_in_one_record_and_in_many() {
        let whole = greeting("Dev.web.localhost");
        assert_eq!(bytewise(&whole), dev());
        for size in [1, 3, 100] {
            assert_eq!(
                bytewise(&in_pieces(&whole, size)),
                dev(),
                "records of {size}"
            );
        }
    }

    #[test]
    fn a_greeting_with_something_behind_it_is_read() {
        let mut bytes = greeting("dev.web.localhost");
        bytes.extend([HANDSHAKE, 3, 3, 0]);
        assert_eq!(sniff(&bytes), dev());
    }

    #[test]
    fn an_address_names_nobody_and_another_host_means_the_focus() {
        let focus = known(Protocol::Tls, Asked::Focus);
        assert_eq!(bytewise(&greeting("127.0.0.1")), focus);
        assert_eq!(bytewise(&greeting("example.com")), focus);
    }

    #[test]
    fn what_only_begins_like_tls_is_another_protocol() {
        assert_eq!(sniff(&[HANDSHAKE]), Sniffed::More);
        assert_eq!(sniff(&[HANDSHAKE, 9]), Sniffed::Other);
        assert_eq!(sniff(&[HANDSHAKE, 3, 1, 0, 4, 1, 0, 0, 0]), Sniffed::Other);
        let mut endless = vec![HANDSHAKE, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff];
        endless.resize(MAX_HEAD, 0);
        assert_eq!(sniff(&endless), Sniffed::Other);
    }
}
