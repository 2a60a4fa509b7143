//! Changes of a lima.yaml by flags: the part of yq's language that is used with limactl, and flags that stand for it.

use anyhow::{Context, Result, anyhow, bail};
use serde_yaml::Value;

use crate::flags::Given;
use crate::home::Home;
use crate::log::quoted;

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

#[derive(Debug, Clone, PartialEq)]
enum Change {
    Set(Vec<Step>, Value),
    Append(Vec<Step>, Value),
    Delete(Vec<Step>),
}

/// What the flags ask for, as expressions, in the order of their names.
pub(crate) fn expressions(given: &Given, known_params: &[String]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    let mut put = |flag: &str, expression: &dyn Fn(&str) -> String| {
        if let Some(value) = given.text(flag) {
            all.push(expression(value));
        }
    };
    put("arch", &|v| format!(".arch = {v:?}"));
    put("cpus", &|v| format!(".cpus = {v}"));
    put("disk", &|v| format!(".disk = \"{v}GiB\""));
    put("memory", &|v| format!(".memory = \"{v}GiB\""));
    put("mount-none", &|_| ".mounts = null".to_owned());
    put("mount-type", &|v| format!(".mountType = {v:?}"));
    put("nested-virt", &|v| format!(".nestedVirtualization = {v}"));
    put("plain", &|v| format!(".plain = {v}"));
    put("shell", &|v| format!(".user.shell = {v:?}"));
    put("ssh-port", &|v| format!(".ssh.localPort = {v}"));
    put("vm-type", &|v| format!(".vmType = {v:?}"));
    put("rosetta", &|v| {
        format!(".vmOpts.vz.rosetta.enabled = {v} | .vmOpts.vz.rosetta.binfmt = {v}")
    });
    for param in given.all("param") {
        let (key, value) = param
            .split_once('=')
            .ok_or_else(|| anyhow!("invalid parameter {}, expected NAME=VALUE", quoted(param)))?;
        if !known_params.iter().any(|known| known == key) {
            bail!("template does not define param {}", quoted(key));
        }
        all.push(format!(".param[{key:?}] = {value:?}"));
    }
    for network in given.all("network") {
        match network.as_str() {
            "vzNAT" => all.push(".networks += [{\"vzNAT\": true}]".into()),
            other => match other.strip_prefix("lima:") {
                Some(name) => all.push(format!(".networks += [{{\"lima\": {name:?}}}]")),
                None => bail!("network name must be \"vzNAT\" or \"lima:*\", got {other:?}"),
            },
        }
    }
    for unsupported in [
        "audio-device",
        "audio-interface",
        "containerd",
        "dns",
        "mount",
        "mount-inotify",
        "mount-only",
        "mount-writable",
        "port-forward",
        "video",
        "image-variant",
        "arch-variant",
    ] {
        if given.is_set(unsupported) {
            bail!("the stand-in of the tests has no --{unsupported}");
        }
    }
    all.extend(given.all("set").iter().cloned());
    Ok(all)
}

/// The text after the changes; unchanged where there are none.
pub(crate) fn apply(text: &str, expressions: &[String]) -> Result<String> {
    if expressions.is_empty() {
        return Ok(text.to_owned());
    }
    let before: Value = serde_yaml::from_str(text).context("failed to evaluate yq expression")?;
    let mut value = before.clone();
    for expression in expressions {
        for change in parse(expression)? {
            run(&mut value, &change)?;
        }
    }
    if value == before {
        return Ok(text.to_owned());
    }
    Ok(serde_yaml::to_string(&value)?)
}

fn parse(expression: &str) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    let mut rest = expression.trim();
    let fail = || {
        anyhow!(
            "the stand-in of the tests can't evaluate the yq expression {}",
            quoted(expression)
        )
    };
    loop {
        if let Some(after) = rest.strip_prefix("del(") {
            let (path, after) = path(after).ok_or_else(fail)?;
            changes.push(Change::Delete(path));
            rest = after.trim_start().strip_prefix(')').ok_or_else(fail)?;
        } else {
            let (path, after) = path(rest).ok_or_else(fail)?;
            let after = after.trim_start();
            let (appends, after) = match after.strip_prefix("+=") {
                Some(after) => (true, after),
                None => (false, after.strip_prefix('=').ok_or_else(fail)?),
            };
            let (value, after) = value(after).ok_or_else(fail)?;
            changes.push(if appends {
                Change::Append(path, value)
            } else {
                Change::Set(path, value)
            });
            rest = after;
        }
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(changes);
        }
        rest = rest.strip_prefix('|').ok_or_else(fail)?.trim_start();
    }
}

/// `.a.b["c"][0]`
fn path(text: &str) -> Option<(Vec<Step>, &str)> {
    let mut steps = Vec::new();
    let mut rest = text.strip_prefix('.')?;
    loop {
        if let Some(after) = rest.strip_prefix('[') {
            let (step, after) = value(after)?;
            steps.push(match step {
                Value::String(key) => Step::Key(key),
                Value::Number(index) => Step::Index(usize::try_from(index.as_u64()?).ok()?),
                _ => return None,
            });
            rest = after.trim_start().strip_prefix(']')?;
        } else if rest.starts_with('"') {
            let (Value::String(key), after) = value(rest)? else {
                return None;
            };
            steps.push(Step::Key(key));
            rest = after;
        } else {
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_' && c != '-')
                .unwrap_or(rest.len());
            if end > 0 {
                steps.push(Step::Key(rest[..end].to_owned()));
            }
            rest = &rest[end..];
        }
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
        } else if !rest.starts_with('[') {
            return (!steps.is_empty()).then_some((steps, rest));
        }
    }
}

/// A JSON value at the beginning of a text.
fn value(text: &str) -> Option<(Value, &str)> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
    let value = stream.next()?.ok()?;
    let end = stream.byte_offset();
    Some((serde_yaml::to_value(value).ok()?, &text[end..]))
}

fn run(value: &mut Value, change: &Change) -> Result<()> {
    match change {
        Change::Set(path, new) => *descend(value, path)? = new.clone(),
        Change::Append(path, new) => {
            let place = descend(value, path)?;
            match (place, new) {
                (place @ Value::Null, new) => *place = new.clone(),
                (Value::Sequence(old), Value::Sequence(new)) => old.extend(new.iter().cloned()),
                (Value::String(old), Value::String(new)) => old.push_str(new),
                _ => bail!("cannot add these types"),
            }
        }
        Change::Delete(path) => {
            if let Some((last, before)) = path.split_last() {
                let parent = descend(value, before)?;
                match (parent, last) {
                    (Value::Mapping(map), Step::Key(key)) => {
                        map.remove(key.as_str());
                    }
                    (Value::Sequence(items), Step::Index(index)) if *index < items.len() => {
                        items.remove(*index);
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

fn descend<'a>(mut value: &'a mut Value, path: &[Step]) -> Result<&'a mut Value> {
    for step in path {
        value = match step {
            Step::Key(key) => {
                if value.is_null() {
                    *value = Value::Mapping(serde_yaml::Mapping::new());
                }
                let map = value
                    .as_mapping_mut()
                    .with_context(|| format!("cannot index with {key:?}"))?;
                map.entry(Value::String(key.clone())).or_insert(Value::Null)
            }
            Step::Index(index) => value
                .as_sequence_mut()
                .and_then(|items| items.get_mut(*index))
                .with_context(|| format!("index {index} is out of range"))?,
        };
    }
    Ok(value)
}

/// Where the rejected text of an edit goes: into the working directory, as the real one puts it.
pub(crate) fn reject(text: &str, error: &anyhow::Error) -> anyhow::Error {
    let name = "lima.REJECTED.yaml";
    match std::fs::write(name, text) {
        Ok(()) => anyhow!("the YAML is invalid, saved the buffer as `{name}`: {error:#}"),
        Err(failed) => anyhow!(
            "the YAML is invalid, attempted to save the buffer as `{name}` but failed: {failed}\n{error:#}"
        ),
    }
}

/// The public half of `_config/user`, which is made where it is missing.
pub(crate) fn public_key(home: &Home) -> Result<String> {
    let key = home.key();
    if !key.exists() {
        std::fs::create_dir_all(home.config())?;
        let output = std::process::Command::new("ssh-keygen")
            .args(["-t", "ed25519", "-q", "-N", "", "-C", "lima", "-f"])
            .arg(&key)
            .output()
            .context("failed to run ssh-keygen")?;
        if !output.status.success() {
            bail!(
                "failed to run ssh-keygen: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    Ok(std::fs::read_to_string(key.with_extension("pub"))?
        .trim()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, expression: &str) -> Result<String> {
        apply(text, &[expression.to_owned()])
    }

    #[test]
    fn values_are_set_added_and_deleted() {
        let text = "cpus: 2\nmounts:\n- location: /a\n";
        let after = edited(
            text,
            r#".cpus = 3 | .user.name = "a | b" | .mounts[0].writable = true"#,
        )
        .unwrap();
        let value: Value = serde_yaml::from_str(&after).unwrap();
        assert_eq!(value["cpus"], Value::from(3));
        assert_eq!(value["user"]["name"], Value::from("a | b"));
        assert_eq!(value["mounts"][0]["writable"], Value::from(true));
        let after = edited(text, r#"del(.cpus) | .mounts += [{"location": "/b"}]"#).unwrap();
        let value: Value = serde_yaml::from_str(&after).unwrap();
        assert!(value.get("cpus").is_none());
        assert_eq!(value["mounts"][1]["location"], Value::from("/b"));
    }

    #[test]
    fn no_change_leaves_the_text_as_it_is() {
        let text = "cpus:   2 # two\n";
        assert_eq!(edited(text, ".cpus = 2").unwrap(), text);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            ".cpus",
            "cpus = 3",
            ".cpus = $x",
            ".a = 1 ; .b = 2",
            ".cpus |= 3",
        ] {
            assert!(edited("cpus: 2\n", bad).is_err(), "{bad}");
        }
    }
}
