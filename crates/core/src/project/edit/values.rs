//! Writes values of one env.

use yaml_edit::{Mapping, MappingBuilder, SequenceBuilder, TextPosition};

use crate::model::{EnvName, GuestPort, Limits};
use crate::project::change::NewEnv;
use crate::project::plain_or_quoted;
use crate::project::schema::{Entry, File};

/// Splits a change of several values of an existing env.
pub(super) fn split_values(file: &File, new: &NewEnv) -> Option<Vec<NewEnv>> {
    file.entry(&new.env)?;
    let Limits { cpus, memory, disk } = new.limits;
    let is_set = [
        file.image(&new.env).as_ref() != Some(&new.image),
        new.ports.is_some(),
        new.user.is_some(),
        cpus.is_some(),
        memory.is_some(),
        disk.is_some(),
    ];
    let count = is_set.into_iter().filter(|is_set| *is_set).count();
    (count > 1).then(|| new.split())
}

/// Writes values that differ from the env's own; an image from the defaults stays there.
pub(super) fn set_values(known: &Mapping, file: &File, new: &NewEnv) -> Option<()> {
    let own = file.entry(&new.env)?;
    if file.image(&new.env).as_ref() != Some(&new.image) {
        known.set("image", new.image.as_str());
    }
    if let Some(ports) = new.ports.as_deref().filter(|ports| !has_ports(own, ports)) {
        let list = port_list(SequenceBuilder::new(), ports).build_document();
        known.set("ports", list.as_sequence()?);
    }
    if let Some(user) = &new.user
        && own.user.name.as_deref() != Some(user.as_str())
    {
        match known.get_mapping("user") {
            Some(map) => map.set("name", user.as_str()),
            None => set_map(known, "user", |map| map.pair("name", user.as_str()))?,
        }
    }
    let Limits { cpus, memory, disk } = new.limits;
    if let Some(cpus) = cpus.filter(|cpus| own.cpus != Some(*cpus)) {
        known.set("cpus", cpus);
    }
    for (key, size, own) in [("memory", memory, &own.memory), ("disk", disk, &own.disk)] {
        let text = size.map(|size| size.to_string());
        if let Some(text) = text.filter(|text| own.as_ref() != Some(text)) {
            known.set(key, text);
        }
    }
    Some(())
}

fn has_ports(own: &Entry, ports: &[GuestPort]) -> bool {
    let ports = ports.iter().map(|port| port.get());
    own.ports
        .as_ref()
        .is_some_and(|own| own.iter().copied().eq(ports))
}

/// Sets a key to a new map.
pub(super) fn set_map(
    parent: &Mapping,
    key: &str,
    fill: impl FnOnce(MappingBuilder) -> MappingBuilder,
) -> Option<()> {
    let built = fill(MappingBuilder::new()).build_document();
    parent.set(key, built.as_mapping()?);
    Some(())
}

pub(super) fn new_entry(map: MappingBuilder, new: &NewEnv) -> MappingBuilder {
    let mut map = map.pair("image", new.image.as_str());
    if let Some(ports) = &new.ports {
        map = map.sequence("ports", |list| port_list(list, ports));
    }
    if let Some(user) = &new.user {
        map = map.mapping("user", |map| map.pair("name", user.as_str()));
    }
    let Limits { cpus, memory, disk } = new.limits;
    if let Some(cpus) = cpus {
        map = map.pair("cpus", cpus);
    }
    let sizes = [("memory", memory), ("disk", disk)];
    let sizes = sizes
        .into_iter()
        .filter_map(|(key, size)| Some((key, size?)));
    sizes.fold(map, |map, (key, size)| map.pair(key, size.to_string()))
}

pub(super) fn snapshot_entry(
    map: MappingBuilder,
    description: Option<&str>,
    created_at: jiff::Timestamp,
) -> MappingBuilder {
    let map = match description {
        Some(text) => map.pair("description", text),
        None => map,
    };
    map.pair("created_at", created_at.to_string())
}

fn port_list(list: SequenceBuilder, ports: &[GuestPort]) -> SequenceBuilder {
    ports
        .iter()
        .fold(list, |list, port| list.item(i64::from(port.get())))
}

/// Replaces a key's name and keeps its quotes.
pub(super) fn rename_key(
    text: &str,
    key: TextPosition,
    env: &EnvName,
    new: &EnvName,
) -> Option<String> {
    let (start, end) = (
        usize::try_from(key.start).ok()?,
        usize::try_from(key.end).ok()?,
    );
    let (before, written, after) = (text.get(..start)?, text.get(start..end)?, text.get(end..)?);
    let name = if written == env.as_str() {
        plain_or_quoted(new.as_str())
    } else {
        written.replacen(env.as_str(), new.as_str(), 1)
    };
    Some(format!("{before}{name}{after}"))
}
