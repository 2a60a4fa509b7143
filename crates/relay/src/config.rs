//! The relay's configuration: one line, `CLIENT_KEY OWN_KEY OWN_ADDRESS CLIENT_ADDRESS`, keys in hexadecimal.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

pub(crate) const KEY_BYTES: usize = 16;
const MAX_LINE_BYTES: usize = 512;

/// A secret shared with the host.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) [u8; KEY_BYTES]);

/// Keys and addresses of the relay.
pub(crate) struct Config {
    /// The key that clients have to send.
    pub(crate) client_key: Key,
    /// The key of the answer.
    pub(crate) own_key: Key,
    /// The address to listen on.
    pub(crate) address: IpAddr,
    /// The only accepted address of clients.
    pub(crate) client: IpAddr,
}

impl Key {
    /// Compares in constant time.
    pub(crate) fn is(&self, received: &[u8]) -> bool {
        let pairs = self.0.iter().zip(received);
        received.len() == KEY_BYTES && pairs.fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }

    fn parse(text: &str) -> Option<Self> {
        let mut key = [0; KEY_BYTES];
        if text.len() != 2 * KEY_BYTES || !text.is_ascii() {
            return None;
        }
        for (index, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(key))
    }
}

/// Reads the line, and nothing beyond it.
pub(crate) fn read(input: impl AsFd) -> io::Result<Config> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match rustix::io::read(&input, &mut byte)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if byte == *b"\n" => break,
            _ if line.len() == MAX_LINE_BYTES => break,
            _ => line.extend(byte),
        }
    }
    let config = std::str::from_utf8(&line).ok().and_then(parse);
    config.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "invalid configuration"))
}

fn parse(line: &str) -> Option<Config> {
    let mut words = line.split(' ');
    let config = Config {
        client_key: Key::parse(words.next()?)?,
        own_key: Key::parse(words.next()?)?,
        address: words.next()?.parse().ok()?,
        client: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "000102030405060708090a0b0c0d0e0f";

    #[test]
    fn rejects_invalid_configuration() {
        let config = parse(&format!("{A} {A} 10.1.2.3 fd42::1")).unwrap();
        assert_eq!(config.own_key.0[15], 15);
        assert_eq!(config.client.to_string(), "fd42::1");
        for bad in [
            "",
            A,
            &format!("{A} {A} 10.1.2.3"),
            &format!("{A} {A} 10.1.2.3 10.1.2.1 more"),
            &format!("{A} {A}0 10.1.2.3 10.1.2.1"),
            &format!("{A} {} 10.1.2.3 10.1.2.1", "ä".repeat(16)),
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn compares_complete_keys() {
        let key = Key([7; KEY_BYTES]);
        assert!(key.is(&[7; KEY_BYTES]));
        assert!(!key.is(&[7; KEY_BYTES - 1]));
        let mut other = [7; KEY_BYTES];
        other[KEY_BYTES - 1] = 8;
        assert!(!key.is(&other));
    }
}
