//! The first bytes of a connection lead to one env at most, however they come.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lxc_dev_manager_core::proxy::{MAX_HEAD_BYTES, Sniffed, Target, sniff};

fuzz_target!(|bytes: &[u8]| {
    let whole = sniff(bytes);
    match &whole {
        Sniffed::Known {
            target: Target::Named(name),
            ..
        } => {
            // A name is one that stands there, in letters that hosts have.
            let host = name.host();
            let is_plain = |c: char| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_')
            };
            assert!(host.chars().all(is_plain), "{host:?}");
            assert!(!host.starts_with('.') && !host.contains(".."), "{host:?}");
        }
        Sniffed::More => assert!(bytes.len() < MAX_HEAD_BYTES),
        _ => {}
    }
    // What comes in pieces is judged as if it came at once: whatever is known of a part is known of the
    // whole, so that the end of a packet leads nowhere else.
    for end in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let part = sniff(&bytes[..end]);
        if let Sniffed::Known { target, .. } = &part {
            let Sniffed::Known { target: later, .. } = &whole else {
                panic!("{part:?} became {whole:?}");
            };
            assert_eq!(target, later);
        }
    }
});
