//! TLS: the server name in the client hello (RFC 6066, section 3).

use tokio_rustls::rustls::server::Acceptor;

use super::{MAX_HEAD_BYTES, Protocol, Sniffed, known};
use crate::proxy::name::Target;

/// Content type of handshake records (RFC 8446, section 5.1).
pub(in crate::proxy) const HANDSHAKE: u8 = 22;
/// Record header length.
const RECORD_HEADER_BYTES: usize = 5;

/// Handshake header length: type and three bytes of length (section 4).
const MESSAGE_HEADER_BYTES: usize = 4;

pub(super) fn sniff(bytes: &[u8]) -> Sniffed {
    if bytes.get(1).is_some_and(|major| *major != 3) {
        return Sniffed::Other;
    }
    let Some(mut hello) = complete_hello(bytes) else {
        return if bytes.len() < MAX_HEAD_BYTES {
            Sniffed::More
        } else {
            Sniffed::Other
        };
    };
    let mut acceptor = Acceptor::default();
    while !hello.is_empty() {
        match acceptor.read_tls(&mut hello) {
            Ok(1..) => {}
            _ => return Sniffed::Other,
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let client_hello = accepted.client_hello();
                let target = client_hello
                    .server_name()
                    .map_or(Target::Focus, Target::of_host);
                return known(Protocol::Tls, target);
            }
            Ok(None) => {}
            // Not supported by the library, but perhaps by the service.
            Err(_) => return Sniffed::Other,
        }
    }
    Sniffed::Other
}

/// Returns the records of the client hello once complete, so that it is parsed only once.
fn complete_hello(bytes: &[u8]) -> Option<&[u8]> {
    let mut message_head = Vec::with_capacity(MESSAGE_HEADER_BYTES);
    let (mut end, mut received) = (0, 0);
    while let Some(head) = bytes.get(end..end + RECORD_HEADER_BYTES) {
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        let payload = bytes.get(end + RECORD_HEADER_BYTES..end + RECORD_HEADER_BYTES + length)?;
        let missing = MESSAGE_HEADER_BYTES - message_head.len();
        message_head.extend(payload.iter().take(missing));
        end += RECORD_HEADER_BYTES + length;
        received += length;
        if let [_, a, b, c] = message_head[..] {
            let expected = u32::from_be_bytes([0, a, b, c]) as usize + MESSAGE_HEADER_BYTES;
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

    /// Returns the hello of a rustls client.
    fn hello(name: &str) -> Vec<u8> {
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

    /// Splits a handshake into records of at most `size` bytes.
    fn in_records(record: &[u8], size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for chunk in record[RECORD_HEADER_BYTES..].chunks(size) {
            bytes.extend(&record[..3]);
            bytes.extend(u16::try_from(chunk.len()).unwrap().to_be_bytes());
            bytes.extend(chunk);
        }
        bytes
    }

    fn dev() -> Sniffed {
        let name = RouteName::of("dev", Some("web"));
        known(Protocol::Tls, Target::Named(name))
    }

    #[test]
    fn finds_server_name_in_one_or_many_records() {
        let whole = hello("Dev.web.localhost");
        assert_eq!(bytewise(&whole), dev());
        for size in [1, 3, 100] {
            assert_eq!(
                bytewise(&in_records(&whole, size)),
                dev(),
                "records of {size}"
            );
        }
    }

    #[test]
    fn ignores_bytes_after_the_hello() {
        let mut bytes = hello("dev.web.localhost");
        bytes.extend([HANDSHAKE, 3, 3, 0]);
        assert_eq!(sniff(&bytes), dev());
    }

    #[test]
    fn addresses_select_the_default_target_and_other_hosts_are_foreign() {
        let focus = known(Protocol::Tls, Target::Focus);
        assert_eq!(bytewise(&hello("127.0.0.1")), focus);
        let foreign = known(Protocol::Tls, Target::Foreign("example.com".to_owned()));
        assert_eq!(bytewise(&hello("example.com")), foreign);
    }

    #[test]
    fn invalid_tls_is_another_protocol() {
        assert_eq!(sniff(&[HANDSHAKE]), Sniffed::More);
        assert_eq!(sniff(&[HANDSHAKE, 9]), Sniffed::Other);
        assert_eq!(sniff(&[HANDSHAKE, 3, 1, 0, 4, 1, 0, 0, 0]), Sniffed::Other);
        let mut endless = vec![HANDSHAKE, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff];
        endless.resize(MAX_HEAD_BYTES, 0);
        assert_eq!(sniff(&endless), Sniffed::Other);
    }
}
