//! Log messages of limactl: lines of `time="…" level=info msg="…"` if stderr is no terminal, JSON in an agent's log.

use std::borrow::Cow;

use serde::Deserialize;

/// Prefixes of messages for interactive users of limactl.
const IGNORED_PREFIXES: [&str; 3] = ["Terminal is not available", "Run `limactl", "READY."];

/// The message of a line to show as progress: level `info`, without the name of its component.
pub(crate) fn progress_message(line: &str) -> Option<String> {
    let (level, message) = parse_line(line)?;
    let message = message.trim_start_matches("[hostagent] ").trim();
    let matters = !message.is_empty()
        && !IGNORED_PREFIXES
            .iter()
            .any(|known| message.starts_with(known));
    (level == "info" && matters).then(|| message.to_owned())
}

/// Why a call has failed: its last fatal or error message, otherwise its last line.
pub(crate) fn reason(lines: &[String]) -> String {
    let failed = lines.iter().rev().find_map(|line| {
        let (level, message) = parse_line(line)?;
        matches!(&*level, "fatal" | "error" | "panic").then_some(message)
    });
    let last = || lines.iter().rev().find(|line| !line.trim().is_empty());
    failed
        .or_else(|| {
            last().map(|line| parse_line(line).map_or_else(|| line.clone(), |(_, words)| words))
        })
        .unwrap_or_else(|| "no output".to_owned())
}

/// The message of a line of any level.
pub(crate) fn message(line: &str) -> Option<String> {
    parse_line(line).map(|(_, words)| words)
}

/// Level and message of a line.
fn parse_line(line: &str) -> Option<(Cow<'_, str>, String)> {
    #[derive(Deserialize)]
    struct JsonLine<'a> {
        #[serde(borrow)]
        level: Cow<'a, str>,
        msg: String,
        #[serde(default)]
        error: Option<String>,
    }
    if line.starts_with('{') {
        let JsonLine { level, msg, error } = serde_json::from_str(line).ok()?;
        let words = error.map_or_else(|| msg.clone(), |error| format!("{msg}: {error}"));
        return Some((level, words));
    }
    let (_, rest) = line.split_once("level=")?;
    let (level, rest) = rest.split_once(' ')?;
    let (_, message) = rest.split_once("msg=")?;
    let words = match message.strip_prefix('"') {
        Some(quoted) => unquote(quoted),
        None => message.split(' ').next().unwrap_or_default().to_owned(),
    };
    Some((level.into(), words))
}

/// Unquotes a Go string up to its closing quote.
fn unquote(text: &str) -> String {
    let mut words = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => match characters.next() {
                Some('n') => words.push('\n'),
                Some('t') => words.push('\t'),
                Some(other) => words.push(other),
                None => break,
            },
            other => words.push(other),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const FATAL: &str =
        r#"time="2026-11-01T10:00:00Z" level=fatal msg="instance \"x\" already exists""#;
    const INFO: &str = r#"time="2026-11-01T10:00:00Z" level=info msg="[hostagent] Waiting for the essential requirement 1 of 2: \"ssh\"""#;

    #[test]
    fn reason_is_the_last_fatal_message() {
        let lines = [FATAL.to_owned(), INFO.to_owned(), String::new()];
        assert_eq!(reason(&lines), "instance \"x\" already exists");
        assert_eq!(reason(&["plain words".to_owned()]), "plain words");
        let agent = [
            r#"{"level":"fatal","msg":"exit status 1","time":"2026-11-01T10:00:00Z"}"#,
            r#"{"level":"debug","msg":"shutting down"}"#,
        ];
        assert_eq!(reason(&agent.map(str::to_owned)), "exit status 1");
        assert_eq!(
            reason(
                &agent[1..]
                    .iter()
                    .map(|line| (*line).to_owned())
                    .collect::<Vec<_>>()
            ),
            "shutting down"
        );
        assert_eq!(reason(&[]), "no output");
    }

    #[test]
    fn progress_omits_component_and_other_levels() {
        let expected = "Waiting for the essential requirement 1 of 2: \"ssh\"";
        assert_eq!(progress_message(INFO).as_deref(), Some(expected));
        assert_eq!(progress_message(FATAL), None);
        assert_eq!(progress_message("something else"), None);
        assert_eq!(
            progress_message("level=info msg=Starting"),
            Some("Starting".to_owned())
        );
        assert_eq!(
            progress_message(r#"level=info msg="READY. Run `limactl shell x`""#),
            None
        );
    }
}
