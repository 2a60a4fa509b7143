//! What limactl says to people: lines of `time="…" level=info msg="…"` where stderr is no terminal, and of JSON in a host
//! agent's log.

use std::borrow::Cow;

use serde::Deserialize;

/// How words begin that are meant for who calls limactl by hand.
const OF_NO_USE: [&str; 3] = ["Terminal is not available", "Run `limactl", "READY."];

/// The words of a line that are worth showing while something goes on: those of no warning, without the
/// name of the part that says it.
pub(crate) fn said(line: &str) -> Option<String> {
    let (level, message) = parts(line)?;
    let message = message.trim_start_matches("[hostagent] ").trim();
    let matters = !message.is_empty() && !OF_NO_USE.iter().any(|known| message.starts_with(known));
    (level == "info" && matters).then(|| message.to_owned())
}

/// Why a call has failed: its last fatal line or error, else its last line.
pub(crate) fn reason(lines: &[String]) -> String {
    let failed = lines.iter().rev().find_map(|line| {
        let (level, message) = parts(line)?;
        matches!(&*level, "fatal" | "error" | "panic").then_some(message)
    });
    let last = || lines.iter().rev().find(|line| !line.trim().is_empty());
    failed
        .or_else(|| last().map(|line| parts(line).map_or_else(|| line.clone(), |(_, words)| words)))
        .unwrap_or_else(|| "it says nothing".to_owned())
}

/// What a line says, whatever its level.
pub(crate) fn words(line: &str) -> Option<String> {
    parts(line).map(|(_, words)| words)
}

/// Level and words of a line.
fn parts(line: &str) -> Option<(Cow<'_, str>, String)> {
    #[derive(Deserialize)]
    struct Said<'a> {
        #[serde(borrow)]
        level: Cow<'a, str>,
        msg: String,
        #[serde(default)]
        error: Option<String>,
    }
    if line.starts_with('{') {
        let Said { level, msg, error } = serde_json::from_str(line).ok()?;
        let words = error.map_or_else(|| msg.clone(), |error| format!("{msg}: {error}"));
        return Some((level, words));
    }
    let (_, rest) = line.split_once("level=")?;
    let (level, rest) = rest.split_once(' ')?;
    let (_, message) = rest.split_once("msg=")?;
    let words = match message.strip_prefix('"') {
        Some(quoted) => unquoted(quoted),
        None => message.split(' ').next().unwrap_or_default().to_owned(),
    };
    Some((level.into(), words))
}

/// A string of Go's, without its quotes, up to its end.
fn unquoted(text: &str) -> String {
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
    fn the_reason_is_what_was_fatal() {
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
        assert_eq!(reason(&[]), "it says nothing");
    }

    #[test]
    fn what_goes_on_is_said_without_its_speaker() {
        let expected = "Waiting for the essential requirement 1 of 2: \"ssh\"";
        assert_eq!(said(INFO).as_deref(), Some(expected));
        assert_eq!(said(FATAL), None);
        assert_eq!(said("no line of its"), None);
        assert_eq!(said("level=info msg=Starting"), Some("Starting".to_owned()));
        assert_eq!(
            said(r#"level=info msg="READY. Run `limactl shell x`""#),
            None
        );
    }
}
