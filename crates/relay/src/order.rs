//! What the host asks for: one line, `VISITOR'S KEY, OWN KEY, OWN ADDRESS, VISITOR'S ADDRESS`, words
//! apart by spaces, keys in hexadecimal.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

/// Bytes of a key.
pub(crate) const KEY: usize = 16;
/// More than such a line has.
const LIMIT: usize = 512;

/// A secret of the host and this relay.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) [u8; KEY]);

/// Who may come, and to where.
pub(crate) struct Order {
    /// What a visitor has to say.
    pub(crate) visitors_key: Key,
    /// What it is answered with.
    pub(crate) own_key: Key,
    /// The guest's address, on which to listen.
    pub(crate) address: IpAddr,
    /// The only address from which visitors come.
    pub(crate) visitor: IpAddr,
}

impl Key {
    /// Compares in the same time wherever they differ.
    pub(crate) fn is(&self, said: &[u8]) -> bool {
        let pairs = self.0.iter().zip(said);
        said.len() == KEY && pairs.fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }

    fn parse(text: &str) -> Option<Self> {
        let mut key = [0; KEY];
        if text.len() != 2 * KEY || !text.is_ascii() {
            return None;
        }
        for (index, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(key))
    }
}

/// Reads the line, and nothing behind it.
pub(crate) fn read(input: impl AsFd) -> io::Result<Order> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match rustix::io::read(&input, &mut byte)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if byte == *b"\n" => break,
            _ if line.len() == LIMIT => break,
            _ => line.extend(byte),
        }
    }
    let order = std::str::from_utf8(&line).ok().and_then(parse);
    order.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the order can't be read"))
}

fn parse(line: &str) -> Option<Order> {
    let mut words = line.split(' ');
    let order = Order {
        visitors_key: Key::parse(words.next()?)?,
        own_key: Key::parse(words.next()?)?,
        address: words.next()?.parse().ok()?,
        visitor: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "000102030405060708090a0b0c0d0e0f";

    #[test]
    fn an_order_is_read_whole_or_not_at_all() {
        let order = parse(&format!("{A} {A} 10.1.2.3 fd42::1")).unwrap();
        assert_eq!(order.own_key.0[15], 15);
        assert_eq!(order.visitor.to_string(), "fd42::1");
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
    fn a_key_is_the_whole_of_it() {
        let key = Key([7; KEY]);
        assert!(key.is(&[7; KEY]));
        assert!(!key.is(&[7; KEY - 1]));
        let mut other = [7; KEY];
        other[KEY - 1] = 8;
        assert!(!key.is(&other));
    }
}
