//! Copies of an env by lines, to keep all blanks and comments.
//!
//! Only for block style, where an entry's lines are indented deeper than its key.

use std::str::FromStr;

use yaml_edit::{Mapping, TextPosition, YamlFile};

use super::values::rename_key;
use crate::model::EnvName;
use crate::project::change::{CONTAINERS, SNAPSHOTS};

/// Adds a copy of an env after its source, without snapshots; `None` if it is not in block style.
pub(super) fn copy_lines(text: &str, source: &EnvName, env: &EnvName) -> Option<String> {
    let containers = containers(text)?;
    let key = key_of(&containers, source.as_str())?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let span = Span::of(&lines, &key)?;
    let snapshots = containers
        .get_mapping(source.as_str())
        .and_then(|entry| key_of(&entry, SNAPSHOTS));
    let skipped = match snapshots {
        Some(key) => Span::of(&lines, &key)?,
        None => Span {
            start: span.end,
            end: span.end,
            ..span
        },
    };
    let copied = [
        lines[span.start..skipped.start].concat(),
        lines[skipped.end..span.end].concat(),
    ]
    .concat();
    if has_anchor(&copied) {
        return None;
    }
    let begin: usize = lines[..span.start].iter().map(|line| line.len()).sum();
    let before = lines[..span.end].concat();
    let moved = u32::try_from(before.len() - begin).ok()?;
    let whole = [before, copied, lines[span.end..].concat()].concat();
    let key = TextPosition::new(key.start + moved, key.end + moved);
    rename_key(&whole, key, source, env)
}

/// Adds an env of another text after the last one.
pub(super) fn insert_lines(text: &str, before: &str, env: &EnvName) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let last = containers(text).and_then(|containers| containers.keys().last());
    let last = match last {
        Some(last) => Some(Span::of(&lines, &last.byte_range())?),
        None => None,
    };
    let before = before.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let old: Vec<&str> = before.split_inclusive('\n').collect();
    let span = Span::of(&old, &key_of(&containers(&before)?, env.as_str())?)?;
    let (index, column) = match last {
        Some(last) => (last.end, last.column),
        None => (first_env_line(&lines)?, span.column),
    };
    let mut inserted = String::new();
    for line in &old[span.start..span.end] {
        let content = line.trim_start_matches(' ');
        let depth = line.len() - content.len();
        // Comments may be indented less than their entry.
        let depth = (depth + column).saturating_sub(span.column);
        if !content.trim().is_empty() {
            inserted.push_str(&" ".repeat(depth));
        }
        inserted.push_str(content);
    }
    if !inserted.ends_with('\n') {
        inserted.push('\n');
    }
    Some([lines[..index].concat(), inserted, lines[index..].concat()].concat())
}

/// The line for the first env: after `containers:` and its indented comments. `None` without such a
/// line.
pub(super) fn first_env_line(lines: &[&str]) -> Option<usize> {
    let is_key = |line: &&str| {
        let rest = line.strip_prefix(CONTAINERS);
        let rest = rest.and_then(|rest| rest.strip_prefix(':')).map(str::trim);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
    };
    let start = lines.iter().position(is_key)? + 1;
    let is_comment = |line: &&str| line.starts_with(' ') && line.trim_start().starts_with('#');
    let rest = lines.iter().skip(start);
    let comments = rest.take_while(|line| is_comment(line) || line.trim().is_empty());
    let last = comments
        .enumerate()
        .filter(|(_, line)| is_comment(line))
        .last();
    Some(start + last.map_or(0, |(offset, _)| offset + 1))
}

fn containers(text: &str) -> Option<Mapping> {
    let file = YamlFile::from_str(text).ok()?;
    file.document()?.as_mapping()?.get_mapping(CONTAINERS)
}

fn key_of(map: &Mapping, key: &str) -> Option<TextPosition> {
    Some(map.find_entry_by_key(key)?.key_node()?.byte_range())
}

/// The lines of a key and its value.
struct Span {
    start: usize,
    end: usize,
    /// The key's indentation.
    column: usize,
}

impl Span {
    /// `None` if the key is not the first token of its line.
    fn of(lines: &[&str], key: &TextPosition) -> Option<Self> {
        let byte = usize::try_from(key.start).ok()?;
        let mut begin = 0;
        let start = lines.iter().position(|line| {
            begin += line.len();
            byte < begin
        })?;
        let column = byte - (begin - lines[start].len());
        if !lines[start].get(..column)?.chars().all(|c| c == ' ') {
            return None;
        }
        let mut end = start + 1;
        for (number, line) in lines.iter().enumerate().skip(start + 1) {
            let content = line.trim_start_matches(' ');
            let is_blank = content.trim().is_empty();
            if !is_blank && line.len() - content.len() > column {
                end = number + 1;
            } else if !is_blank && !content.starts_with('#') {
                break;
            }
        }
        Some(Self { start, end, column })
    }
}

/// Whether a text may define an anchor: its copy would capture later aliases.
pub(super) fn has_anchor(text: &str) -> bool {
    let is_anchor = |word: &str| {
        let name = word.strip_prefix('&');
        name.is_some_and(|name| name.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    text.split(|c: char| c.is_whitespace() || "[]{},".contains(c))
        .any(is_anchor)
}
