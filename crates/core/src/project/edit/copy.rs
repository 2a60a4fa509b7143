//! Copies of an env by its lines, so that they keep every blank and comment.
//!
//! Only for block style, where an entry's lines are those that are indented deeper than its key.

use std::str::FromStr;

use yaml_edit::{Mapping, TextPosition, YamlFile};

use super::values::rename_key;
use super::{CONTAINERS, SNAPSHOTS};
use crate::model::EnvName;

/// The text with a copy of an env right behind its source, without its snapshots; `None` where it isn't
/// written line by line.
pub(super) fn copy_lines(text: &str, source: &EnvName, env: &EnvName) -> Option<String> {
    let containers = containers(text)?;
    let key = key_of(&containers, source.as_str())?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let place = Place::of(&lines, &key)?;
    let snapshots = containers
        .get_mapping(source.as_str())
        .and_then(|entry| key_of(&entry, SNAPSHOTS));
    let left_out = match snapshots {
        Some(key) => Place::of(&lines, &key)?,
        None => Place {
            start: place.end,
            end: place.end,
            ..place
        },
    };
    let copied = [
        lines[place.start..left_out.start].concat(),
        lines[left_out.end..place.end].concat(),
    ]
    .concat();
    if has_anchor(&copied) {
        return None;
    }
    let begin: usize = lines[..place.start].iter().map(|line| line.len()).sum();
    let before = lines[..place.end].concat();
    let moved = u32::try_from(before.len() - begin).ok()?;
    let whole = [before, copied, lines[place.end..].concat()].concat();
    let key = TextPosition::new(key.start + moved, key.end + moved);
    rename_key(&whole, key, source, env)
}

/// The text with an env of another text behind its last one.
pub(super) fn put_lines(text: &str, before: &str, env: &EnvName) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let last = containers(text).and_then(|containers| containers.keys().last());
    let last = match last {
        Some(last) => Some(Place::of(&lines, &last.byte_range())?),
        None => None,
    };
    let before = before.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let old: Vec<&str> = before.split_inclusive('\n').collect();
    let place = Place::of(&old, &key_of(&containers(&before)?, env.as_str())?)?;
    let (at, column) = match last {
        Some(last) => (last.end, last.column),
        None => (first_place(&lines)?, place.column),
    };
    let mut put = String::new();
    for line in &old[place.start..place.end] {
        let words = line.trim_start_matches(' ');
        let depth = line.len() - words.len();
        // A comment may stand further left than what it is in.
        let depth = (depth + column).saturating_sub(place.column);
        if !words.trim().is_empty() {
            put.push_str(&" ".repeat(depth));
        }
        put.push_str(words);
    }
    if !put.ends_with('\n') {
        put.push('\n');
    }
    Some([lines[..at].concat(), put, lines[at..].concat()].concat())
}

/// Where the first env's lines go: behind `containers:` and its indented comments, for one that stood behind
/// a text would become a part of it. `None` where there is no such line.
pub(super) fn first_place(lines: &[&str]) -> Option<usize> {
    let is_key = |line: &&str| {
        let rest = line.strip_prefix(CONTAINERS);
        let rest = rest.and_then(|rest| rest.strip_prefix(':')).map(str::trim);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
    };
    let at = lines.iter().position(is_key)? + 1;
    let is_comment = |line: &&str| line.starts_with(' ') && line.trim_start().starts_with('#');
    let rest = lines.iter().skip(at);
    let comments = rest.take_while(|line| is_comment(line) || line.trim().is_empty());
    let last = comments
        .enumerate()
        .filter(|(_, line)| is_comment(line))
        .last();
    Some(at + last.map_or(0, |(behind, _)| behind + 1))
}

fn containers(text: &str) -> Option<Mapping> {
    let file = YamlFile::from_str(text).ok()?;
    file.document()?.as_mapping()?.get_mapping(CONTAINERS)
}

fn key_of(map: &Mapping, key: &str) -> Option<TextPosition> {
    Some(map.find_entry_by_key(key)?.key_node()?.byte_range())
}

/// The lines of a key and of what is below it.
struct Place {
    start: usize,
    end: usize,
    /// How far the key is indented.
    column: usize,
}

impl Place {
    /// Of a key; `None` where it isn't the first word of its line.
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
            let words = line.trim_start_matches(' ');
            let is_blank = words.trim().is_empty();
            if !is_blank && line.len() - words.len() > column {
                end = number + 1;
            } else if !is_blank && !words.starts_with('#') {
                break;
            }
        }
        Some(Self { start, end, column })
    }
}

/// Whether a text may define an anchor: a second one of its name would take over the aliases behind it.
pub(super) fn has_anchor(text: &str) -> bool {
    let is_anchor = |word: &str| {
        let name = word.strip_prefix('&');
        name.is_some_and(|name| name.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    text.split(|c: char| c.is_whitespace() || "[]{},".contains(c))
        .any(is_anchor)
}
