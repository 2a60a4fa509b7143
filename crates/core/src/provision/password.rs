//! Passwords and their hashes.

use sha_crypt::{Sha512Params, sha512_crypt_b64};

use crate::error::{Error, ErrorKind, Result};

/// Limit of PAM.
const MAX_BYTES: usize = 200;

/// A password; masked in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Parses a password that all login methods accept unchanged.
    ///
    /// # Errors
    /// `Config` if it is empty, contains a control character, or exceeds 200 bytes.
    pub fn parse(text: &str) -> Result<Self> {
        let reason = if text.is_empty() {
            "is empty".to_owned()
        } else if text.contains(['\n', '\r']) {
            "has a line break".to_owned()
        } else if text.contains(char::is_control) {
            "has a control character".to_owned()
        } else if text.len() > MAX_BYTES {
            format!("has {} bytes: expected at most {MAX_BYTES}", text.len())
        } else {
            return Ok(Self(text.to_owned()));
        };
        let message = format!("invalid password: it {reason}");
        Err(Error::new(ErrorKind::Config, message)
            .with_hint("change `password:` in containers.yaml"))
    }

    /// SHA-512 for `/etc/shadow`, supported by all C libraries.
    pub(super) fn hash(&self) -> Result<String> {
        let failed = |_| Error::new(ErrorKind::Internal, "cannot hash the password");
        let params = Sha512Params::new(sha_crypt::ROUNDS_DEFAULT).map_err(failed)?;
        let random = uuid::Uuid::new_v4().simple().to_string();
        // crypt uses 16 characters; these have 60 random bits.
        let salt = &random[..16];
        let hash = sha512_crypt_b64(self.0.as_bytes(), salt.as_bytes(), &params).map_err(failed)?;
        Ok(format!("$6${salt}${hash}"))
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_or_rejects_passwords_with_a_reason() {
        let long = "x".repeat(MAX_BYTES);
        for good in [
            "dev",
            " ",
            "-n",
            "a:b",
            "trailing ",
            "\\",
            "%s%n",
            "$(id)",
            "`id`",
            "pässwörd",
            "日本語",
            "'\"",
            "#",
            "a\u{2028}b",
            &long,
        ] {
            assert!(Password::parse(good).is_ok(), "{good:?}");
        }
        let too_long = "é".repeat(101);
        for (bad, word) in [
            ("", "empty"),
            ("a\nb", "line break"),
            ("a\r", "line break"),
            ("a\0b", "control"),
            ("\u{7}", "control"),
            ("a\tb", "control"),
            ("\u{85}", "control"),
            (too_long.as_str(), "202 bytes"),
        ] {
            let error = Password::parse(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(word), "{bad:?}: {error}");
            assert!(
                bad.len() < 2 || !error.to_string().contains(bad),
                "the password is shown: {error}"
            );
        }
    }

    #[test]
    fn hash_matches_the_systems() {
        // From `openssl passwd -6 -salt saltstring 'Hello world!'`.
        let params = Sha512Params::new(sha_crypt::ROUNDS_DEFAULT).unwrap();
        let hash = sha512_crypt_b64(b"Hello world!", b"saltstring", &params).unwrap();
        assert_eq!(
            hash,
            "svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
        );
    }

    #[test]
    fn hashes_are_salted_and_do_not_contain_the_password() {
        let password = Password::parse("secret word").unwrap();
        let (one, other) = (password.hash().unwrap(), password.hash().unwrap());
        assert_ne!(one, other);
        assert!(
            one.starts_with("$6$") && one.len() == 3 + 16 + 1 + 86,
            "{one}"
        );
        assert!(!one.contains([':', '\n']) && !one.contains("secret"));
        assert_eq!(format!("{password:?}"), "Password(…)");
    }
}
