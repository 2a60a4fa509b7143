//! The built-in image names: `ubuntu:24.04`, `debian:12` and the like, from the one table in
//! `templates/images.json`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::ImageName;

const TABLE: &str = include_str!("../../../templates/images.json");

/// Whose image server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// The servers that LXD knows.
    Lxd,
    /// The server that Incus knows.
    Incus,
}

#[derive(Deserialize)]
struct Table {
    names: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    example: String,
    lxd: Source,
    incus: Source,
}

#[derive(Deserialize)]
struct Source {
    server: String,
    alias: String,
}

fn table() -> BTreeMap<String, Entry> {
    // The table is part of the program and parsed by a test: what can't be read can't be shipped.
    serde_json::from_str::<Table>(TABLE)
        .map(|table| table.names)
        .unwrap_or_default()
}

/// Server and alias of a built-in name, or `None`.
#[must_use]
pub fn resolve(name: &ImageName, registry: Registry) -> Option<(String, String)> {
    let (family, release) = name.as_str().split_once(':')?;
    let entry = table().remove(family).filter(|_| !release.is_empty())?;
    let source = match registry {
        Registry::Lxd => entry.lxd,
        Registry::Incus => entry.incus,
    };
    Some((source.server, source.alias.replace("{}", release)))
}

/// One name of each family, for messages.
#[must_use]
pub fn examples() -> Vec<String> {
    table()
        .into_iter()
        .map(|(family, entry)| format!("{family}:{}", entry.example))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_names_map_to_each_engines_server() {
        let name = ImageName::parse("ubuntu:24.04").unwrap();
        let (server, alias) = resolve(&name, Registry::Incus).unwrap();
        assert_eq!(
            (server.as_str(), alias.as_str()),
            ("https://images.linuxcontainers.org", "ubuntu/24.04")
        );
        assert_eq!(resolve(&name, Registry::Lxd).unwrap().1, "24.04");
        for unknown in ["nope:1", "debian/12", "debian:"] {
            assert_eq!(
                resolve(&ImageName::parse(unknown).unwrap(), Registry::Lxd),
                None
            );
        }
        assert_eq!(examples().len(), 5);
    }
}
