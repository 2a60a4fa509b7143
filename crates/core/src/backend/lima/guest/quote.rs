//! Words for a POSIX shell: SSH joins a command's arguments to one line, which the guest's shell reads.

/// A line that a POSIX shell takes for exactly these words, whatever is in them. No NUL may be.
pub(crate) fn line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(quoted).collect();
    quoted.join(" ")
}

/// One word: in single quotes nothing has a meaning but the quote itself.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_shell_gives_every_word_back(
            words in proptest::collection::vec("[^\0]{0,40}|['\"$`\\\\!\n*?~#; \t]{0,12}", 1..8)
        ) {
            let line = line(words.iter().map(String::as_str));
            let script = format!("printf '%s\\0' {line}");
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            let heard = String::from_utf8(output.stdout).unwrap();
            let heard: Vec<&str> = heard.strip_suffix('\0').unwrap().split('\0').collect();
            prop_assert_eq!(heard, words);
        }
    }
}
