//! Text from guests, files and archives for people to read.

use std::borrow::Cow;
use std::path::Path;

/// Text with its control characters, escape sequences and direction marks escaped.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            visible.extend(c.escape_debug());
        } else {
            visible.push(c);
        }
    }
    Cow::Owned(visible)
}

/// A path as [`visible`] text.
#[must_use]
pub fn visible_path(path: &Path) -> String {
    visible(&path.to_string_lossy()).into_owned()
}

/// Control characters, line and paragraph separators, zero-width and direction marks (Unicode Technical Report 36).
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            | '\u{61c}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_escaped() {
        for (text, expected) in [
            ("plain `it's` \"ü\" 日本", "plain `it's` \"ü\" 日本"),
            ("\x1b[31m", "\\u{1b}[31m"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("\u{9b}31m", "\\u{9b}31m"),
        ] {
            assert_eq!(visible(text), expected);
        }
    }
}
