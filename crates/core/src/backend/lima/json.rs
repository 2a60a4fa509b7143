//! The backend's JSON files and their format version.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};

/// The version written; there is no older one.
pub(crate) const VERSION: u32 = 1;

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Parses the text of a file.
///
/// # Errors
/// `Unsupported` for a newer version, `Config` for invalid JSON.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T> {
    let failed = |error| unreadable(path).caused_by(error);
    let Versioned { version } = serde_json::from_slice(text).map_err(failed)?;
    if version > VERSION {
        let message = format!(
            "{} was written by a newer lxc-dev-manager: format version {version}, supported: {VERSION}",
            path.display()
        );
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("update lxc-dev-manager on this host"));
    }
    serde_json::from_slice(text).map_err(failed)
}

/// Reads and parses a file.
///
/// # Errors
/// As for [`parse`]; `Config` if it cannot be opened.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read(path).map_err(|error| unreadable(path).caused_by(error))?;
    parse(path, &text)
}

fn unreadable(path: &Path) -> Error {
    let message = format!("cannot read {}", path.display());
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_version_is_unsupported_not_invalid() {
        #[derive(Debug, Deserialize)]
        struct One {
            one: u8,
        }
        let path = Path::new("/home/x.json");
        let parse = |text: &str| parse::<One>(path, text.as_bytes());
        assert_eq!(parse("{\"version\": 1, \"one\": 1}").unwrap().one, 1);
        // Even if the other fields no longer match.
        let newer = parse("{\"version\": 2, \"one\": []}").unwrap_err();
        assert_eq!(newer.kind(), ErrorKind::Unsupported);
        assert!(
            newer
                .report()
                .message
                .starts_with("/home/x.json was written by a newer")
        );
        for bad in ["{\"version\": 1}", "{\"one\": 1}", "{", ""] {
            let error = parse(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
            assert!(error.report().message.contains("/home/x.json"));
        }
    }
}
