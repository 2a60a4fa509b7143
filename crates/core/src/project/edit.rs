//! Lossless edits of `containers.yaml`.
//!
//! `expected` says what a change means. Its differences from the text are written one after the
//! other, by lines or by `yaml_edit`; `guard` checks the result before it is used.

mod expected;
mod lines;

use std::str::FromStr;

use serde_yaml::{Mapping as Values, Value};
use yaml_edit::{Mapping, YamlFile, YamlNode};

use self::expected::expected;
use super::change::{CONTAINERS, Change};
use super::guard::{Guard, is_same, preserves_lines, refuse};
use super::schema::File;
use crate::error::Result;

/// Limit of differences; an env has six values.
const MAX_DIFFERENCES: usize = 16;

/// Applies a change to a file's text.
///
/// # Errors
/// `Config` for invalid text or a change that would lose content (aliases, merge keys, several
/// documents), with a hint what to write by hand.
pub(super) fn apply(text: &str, change: &Change) -> Result<String> {
    with_unix_lines(text, |text| {
        let file = File::parse(text)?;
        change.ensure_names(&file)?;
        edited(text, &file, change).ok_or_else(|| refuse(text, change))
    })
}

impl Change {
    /// Returns the file's text after this change.
    ///
    /// # Errors
    /// `Config` for invalid text or a change that would lose content, with a hint what to write by
    /// hand. `NotFound` and `AlreadyExists` for names.
    pub fn apply(&self, text: &str) -> Result<String> {
        apply(text, self)
    }
}

/// Edits a text without byte order mark and carriage returns, and with a final newline.
fn with_unix_lines(text: &str, edit: impl FnOnce(&str) -> Result<String>) -> Result<String> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mark = &text[..text.len() - body.len()];
    let mut unix = body.replace("\r\n", "\n");
    let crlf = unix != body && !body.replace("\r\n", "").contains('\n');
    if !crlf {
        body.clone_into(&mut unix);
    }
    let has_final_newline = unix.is_empty() || unix.ends_with('\n');
    if !has_final_newline {
        unix.push('\n');
    }
    let mut edited = edit(&unix)?;
    if !has_final_newline {
        edited.truncate(edited.trim_end_matches('\n').len());
    }
    if crlf {
        edited = edited.replace('\n', "\r\n");
    }
    Ok(format!("{mark}{edited}"))
}

/// The edited text, if an edit without loss is found.
fn edited(text: &str, file: &File, change: &Change) -> Option<String> {
    // `yaml_edit` recurses without a limit; the parser rejects too deep nesting.
    let before: Value = serde_yaml::from_str(text).ok()?;
    let guard = Guard {
        file,
        change,
        wanted: &expected(&before, file, change)?,
    };
    let is_correct = |after: &String| guard.allows(after);
    let text = &with_containers(text, &before);
    let as_written = match change {
        Change::CloneEnv { source, env } => lines::copy(text, text, source, env),
        Change::RestoreEnv { env, before } => lines::copy(text, before, env, env),
        Change::RenameEnv { env, new } => return lines::rename(text, env, new).filter(is_correct),
        _ => None,
    };
    as_written
        .filter(|after| preserves_lines(text, after) && is_correct(after))
        .or_else(|| written(text, guard.wanted, by_lines).filter(is_correct))
        .or_else(|| written(text, guard.wanted, by_node).filter(is_correct))
}

/// Adds the key of the first env.
fn with_containers(text: &str, content: &Value) -> String {
    let with_key = format!("{text}{CONTAINERS}:\n");
    if content.get(CONTAINERS).is_none() && File::parse(&with_key).is_ok() {
        return with_key;
    }
    text.to_owned()
}

/// Writes one difference of a text, which is also given as parsed.
type Writer = for<'a> fn(&Difference<'a>, &str, &YamlFile) -> Option<String>;

/// Writes all differences from the wanted content, one place at a time so that each is checked.
fn written(text: &str, wanted: &Value, write: Writer) -> Option<String> {
    let mut text = text.to_owned();
    for _ in 0..MAX_DIFFERENCES {
        let now: Value = serde_yaml::from_str(&text).ok()?;
        if is_same(&now, wanted) {
            return Some(text);
        }
        let file = YamlFile::from_str(&text).ok()?;
        let root = file.document()?.as_mapping()?;
        let difference = first_difference(root, now.as_mapping()?, wanted.as_mapping()?)?;
        text = write(&difference, &text, &file).filter(|after| preserves_lines(&text, after))?;
    }
    None
}

/// A key whose value differs from the wanted one.
struct Difference<'a> {
    /// Its map in the text.
    map: Mapping,
    key: &'a str,
    known: Option<&'a Value>,
    wanted: Option<&'a Value>,
}

/// The first difference, as deep as possible. `None` if it is in an alias or a tagged value: the
/// edit would replace that by its content.
fn first_difference<'a>(
    map: Mapping,
    now: &'a Values,
    wanted: &'a Values,
) -> Option<Difference<'a>> {
    let differs = |(key, value): &(&Value, &Value)| match now.get(*key) {
        Some(known) => !is_same(known, value),
        None => true,
    };
    let (key, wanted) = match wanted.iter().find(differs) {
        Some((key, value)) => (key, Some(value)),
        None => (now.keys().find(|key| !wanted.contains_key(key))?, None),
    };
    let (name, known) = (key.as_str()?, now.get(key));
    match (known, wanted) {
        (Some(Value::Mapping(known)), Some(Value::Mapping(wanted))) => {
            first_difference(map.get_mapping(name)?, known, wanted)
        }
        (Some(Value::Mapping(_) | Value::Tagged(_)), Some(_)) => None,
        _ => Some(Difference {
            map,
            key: name,
            known,
            wanted,
        }),
    }
}

/// Writes an added or removed key by lines if it is in block style.
fn by_lines(difference: &Difference, text: &str, file: &YamlFile) -> Option<String> {
    let Difference { map, key, .. } = difference;
    let edited = match (difference.known, difference.wanted) {
        _ if map.is_flow_style() => None,
        (_, None) => lines::remove(text, map, key),
        (None, Some(value)) => lines::add(text, map, key, value),
        (Some(Value::Null), Some(value)) => lines::fill(text, map, key, value),
        _ => None,
    };
    edited.or_else(|| by_node(difference, text, file))
}

/// Writes a difference with `yaml_edit`.
fn by_node(difference: &Difference, _: &str, file: &YamlFile) -> Option<String> {
    let Difference { map, key, .. } = difference;
    match difference.wanted {
        Some(value) => map.set(*key, node(value)?),
        None => drop(map.remove(*key)?),
    }
    Some(file.to_string())
}

/// A value for `yaml_edit`.
fn node(value: &Value) -> Option<YamlNode> {
    let pair = Values::from_iter([("value".into(), value.clone())]);
    let text = serde_yaml::to_string(&pair).ok()?;
    lines::root(&text)?.get("value")
}

#[cfg(test)]
mod tests;
