//! Words of commands in the configuration of `ssh`.

use std::ffi::OsStr;

use lxc_dev_manager_core::{Error, ErrorKind, Result};

/// A word as `ProxyCommand` and `KnownHostsCommand` both take it: the one is run by the user's shell, the
/// other is cut into words by ssh itself, and in both ssh has `%` for itself.
///
/// # Errors
/// `Unsupported` for what can't be written so that both read the same.
pub(crate) fn quoted(word: &OsStr) -> Result<String> {
    let text = word.to_str().unwrap_or("\0");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    // ssh takes a backslash before some characters away, where a shell keeps it. It puts variables in
    // whatever the quotes are.
    let refused = |c: char| c.is_control() || c == '\\';
    let quote = match text {
        _ if text.contains(refused) || text.contains("${") => None,
        _ if !text.contains('\'') => Some('\''),
        // In these a shell reads more.
        _ if !text.contains(['"', '$', '`', '!']) => Some('"'),
        _ => None,
    };
    let Some(quote) = quote else {
        let message = format!("`{}` can't be written into a file of ssh", word.display());
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("move it to a path without backslashes and quotes"));
    };
    Ok(format!("{quote}{}{quote}", text.replace('%', "%%")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What the shell makes of it that ssh starts for `ProxyCommand`.
    fn by_shell(command: &str) -> String {
        let output = Command::new("/bin/sh").args(["-c", command]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    /// What ssh makes of it for `KnownHostsCommand`: its rules, in few words.
    fn by_ssh(text: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match (c, quote) {
                ('\\', _) if matches!(chars.peek(), Some('\'' | '"' | '\\')) => {
                    word.get_or_insert_default().extend(chars.next());
                }
                ('\'' | '"', None) => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                _ if quote == Some(c) => quote = None,
                (' ' | '\t', None) => words.extend(word.take()),
                _ => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    proptest! {
        #[test]
        fn a_word_is_the_same_to_a_shell_and_to_ssh(
            word in r#"[a-z '"$`!%\\~*?#;&|<>(){}=äß\n\t]{0,12}"#,
        ) {
            let Ok(text) = quoted(OsStr::new(&word)) else {
                let refused = word.contains(['\\', '\'', '\n', '\t']) || word.contains("${");
                prop_assert!(refused, "refused: {:?}", word);
                return Ok(());
            };
            let expanded = text.replace("%%", "%");
            prop_assert_eq!(by_shell(&format!("exec printf %s {expanded}")), word.clone());
            let words = by_ssh(&format!("{text} next"));
            prop_assert_eq!(words, [word.replace('%', "%%"), "next".to_owned()]);
        }
    }
}
