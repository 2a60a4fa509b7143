//! Quoting of command words in SSH configuration files.

use std::ffi::OsStr;

use lxc_dev_manager_core::{Error, ErrorKind, Result};

/// Quotes a word for both `ProxyCommand` (run by the user's shell) and `KnownHostsCommand` (split by ssh).
/// Both expand `%`.
///
/// # Errors
/// `Unsupported` for words that the two would read differently.
pub(crate) fn quote(word: &OsStr) -> Result<String> {
    let text = word.to_str().unwrap_or("\0");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    // ssh removes some backslashes that a shell keeps, and expands variables in all quotes.
    let refused = |c: char| c.is_control() || c == '\\';
    let quote = match text {
        _ if text.contains(refused) || text.contains("${") => None,
        _ if !text.contains('\'') => Some('\''),
        // A shell expands more in double quotes.
        _ if !text.contains(['"', '$', '`', '!']) => Some('"'),
        _ => None,
    };
    let Some(quote) = quote else {
        let message = format!("cannot use `{}` in an SSH configuration", word.display());
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("move it to a path without backslashes or quotes"));
    };
    Ok(format!("{quote}{}{quote}", text.replace('%', "%%")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// Parses like the shell that runs `ProxyCommand`.
    fn parse_by_shell(command: &str) -> String {
        let output = Command::new("/bin/sh").args(["-c", command]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    /// Parses like ssh for `KnownHostsCommand`.
    fn parse_by_ssh(text: &str) -> Vec<String> {
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
        fn shell_and_ssh_parse_quoted_words_alike(
            word in r#"[a-z '"$`!%\\~*?#;&|<>(){}=äß\n\t]{0,12}"#,
        ) {
            let Ok(text) = quote(OsStr::new(&word)) else {
                let refused = word.contains(['\\', '\'', '\n', '\t']) || word.contains("${");
                prop_assert!(refused, "refused: {:?}", word);
                return Ok(());
            };
            let expanded = text.replace("%%", "%");
            prop_assert_eq!(parse_by_shell(&format!("exec printf %s {expanded}")), word.clone());
            let words = parse_by_ssh(&format!("{text} next"));
            prop_assert_eq!(words, [word.replace('%', "%%"), "next".to_owned()]);
        }
    }
}
