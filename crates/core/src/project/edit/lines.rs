//! Edits by lines, to keep all blanks and comments.
//!
//! Only for block style, where a value's lines are indented deeper than its key.

use std::str::FromStr;

use serde_yaml::Value;
use yaml_edit::{AsYaml, Mapping, YamlFile};

use crate::model::EnvName;
use crate::project::change::{CONTAINERS, SNAPSHOTS};
use crate::project::plain_or_quoted;

/// The outermost map of a text.
pub(super) fn root(text: &str) -> Option<Mapping> {
    YamlFile::from_str(text).ok()?.document()?.as_mapping()
}

/// Adds an env of a file with its comments: after its source without snapshots, or as the last one.
pub(super) fn copy(text: &str, from: &str, source: &EnvName, env: &EnvName) -> Option<String> {
    let from = from.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let envs = root(&from)?.get_mapping(CONTAINERS)?;
    let old: Vec<&str> = from.split_inclusive('\n').collect();
    let span = Span::of(&old, &envs, source.as_str())?;
    let mut copied = old[span.start..span.end].concat();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (at, column) = if source == env {
        let root = root(text)?;
        match root.get_mapping(CONTAINERS) {
            Some(envs) => after_last(&lines, &envs)?,
            None => (Span::of(&lines, &root, CONTAINERS)?.end, span.column),
        }
    } else {
        let entry = envs.get_mapping(source.as_str());
        if let Some(entry) = entry.filter(|entry| entry.contains_key(SNAPSHOTS)) {
            let skipped = Span::of(&old, &entry, SNAPSHOTS)?;
            let kept = [&old[span.start..skipped.start], &old[skipped.end..span.end]];
            copied = kept.concat().concat();
        }
        if has_anchor(&copied) {
            return None;
        }
        copied = rename_at(&copied, span.column..span.column + span.key, source, env)?;
        (span.end, span.column)
    };
    Some(insert(&lines, at, &shifted(&copied, span.column, column)))
}

/// Replaces an env's name and keeps its quotes.
pub(super) fn rename(text: &str, env: &EnvName, new: &EnvName) -> Option<String> {
    let envs = root(text)?.get_mapping(CONTAINERS)?;
    rename_at(text, key_range(&envs, env.as_str())?, env, new)
}

fn rename_at(
    text: &str,
    range: std::ops::Range<usize>,
    env: &EnvName,
    new: &EnvName,
) -> Option<String> {
    let written = text.get(range.clone())?;
    let name = if written == env.as_str() {
        plain_or_quoted(new.as_str())
    } else {
        written.replacen(env.as_str(), new.as_str(), 1)
    };
    let mut renamed = text.to_owned();
    renamed.replace_range(range, &name);
    Some(renamed)
}

/// Adds a key after the last one of a map.
pub(super) fn add(text: &str, map: &Mapping, key: &str, value: &Value) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (at, column) = after_last(&lines, map)?;
    let added = written(&serde_yaml::Mapping::from_iter([(
        key.into(),
        value.clone(),
    )]))?;
    Some(insert(&lines, at, &shifted(&added, 0, column)))
}

/// Adds a value below a key without one, and below its comments.
pub(super) fn fill(text: &str, map: &Mapping, key: &str, value: &Value) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let span = Span::of(&lines, map, key)?;
    let rest = lines[span.start].get(span.column + span.key..)?;
    let rest = rest.trim_start().strip_prefix(':')?.trim();
    if !rest.is_empty() && !rest.starts_with('#') {
        return None;
    }
    let added = shifted(&written(value.as_mapping()?)?, 0, span.column + 2);
    Some(insert(&lines, span.end, &added))
}

/// Removes a key with its value, but not comments that are indented less.
pub(super) fn remove(text: &str, map: &Mapping, key: &str) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let span = Span::of(&lines, map, key)?;
    let (before, rest) = lines.split_at(span.start);
    let (removed, after) = rest.split_at(span.end - span.start);
    let is_other = |line: &&&str| line.trim_start().starts_with('#') && depth(line) <= span.column;
    let others = removed.iter().filter(is_other);
    Some(before.iter().chain(others).chain(after).copied().collect())
}

/// The line after the last key of a map, and the keys' indentation.
fn after_last(lines: &[&str], map: &Mapping) -> Option<(usize, usize)> {
    let span = Span::of(lines, map, map.keys().last()?)?;
    Some((span.end, span.column))
}

fn insert(lines: &[&str], at: usize, added: &str) -> String {
    [&lines[..at].concat(), added, &lines[at..].concat()].concat()
}

/// A map in block style, with indented lists.
fn written(map: &serde_yaml::Mapping) -> Option<String> {
    let mut text = String::new();
    for (key, value) in map {
        let below = match value {
            Value::Mapping(map) if !map.is_empty() => written(map)?,
            Value::Sequence(list) if !list.is_empty() => serde_yaml::to_string(list).ok()?,
            _ => {
                let pair = serde_yaml::Mapping::from_iter([(key.clone(), value.clone())]);
                text.push_str(&serde_yaml::to_string(&pair).ok()?);
                continue;
            }
        };
        let key = serde_yaml::to_string(key).ok()?;
        text.push_str(&format!("{}:\n{}", key.trim_end(), shifted(&below, 0, 2)));
    }
    Some(text)
}

/// Lines with another indentation. Comments may be indented less than their entry.
fn shifted(text: &str, from: usize, to: usize) -> String {
    let lines = text.lines().map(|line| {
        let content = line.trim_start_matches(' ');
        if content.trim().is_empty() {
            return format!("{content}\n");
        }
        let depth = (depth(line) + to).saturating_sub(from);
        format!("{}{content}\n", " ".repeat(depth))
    });
    lines.collect()
}

fn depth(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn key_range(map: &Mapping, key: impl AsYaml) -> Option<std::ops::Range<usize>> {
    let range = map.find_entry_by_key(key)?.key_node()?.byte_range();
    Some(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

/// The lines of a key and its value.
struct Span {
    start: usize,
    end: usize,
    /// The key's indentation.
    column: usize,
    /// The key's length.
    key: usize,
}

impl Span {
    /// `None` if the key is not the first token of its line.
    fn of(lines: &[&str], map: &Mapping, key: impl AsYaml) -> Option<Self> {
        let key = key_range(map, key)?;
        let mut begin = 0;
        let start = lines.iter().position(|line| {
            begin += line.len();
            key.start < begin
        })?;
        let column = key.start - (begin - lines[start].len());
        if depth(lines[start]) != column {
            return None;
        }
        let mut end = start + 1;
        for (number, line) in lines.iter().enumerate().skip(start + 1) {
            let content = line.trim();
            // The items of a list may be indented like its key.
            let is_item = depth(line) == column && (content == "-" || content.starts_with("- "));
            if !content.is_empty() && (is_item || depth(line) > column) {
                end = number + 1;
            } else if !content.is_empty() && !content.starts_with('#') {
                break;
            }
        }
        Some(Self {
            start,
            end,
            column,
            key: key.len(),
        })
    }
}

/// Whether a text may define an anchor: its copy would capture later aliases.
fn has_anchor(text: &str) -> bool {
    let is_anchor = |word: &str| {
        let name = word.strip_prefix('&');
        name.is_some_and(|name| name.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    text.split(|c: char| c.is_whitespace() || "[]{},".contains(c))
        .any(is_anchor)
}
