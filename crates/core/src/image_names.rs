//! The built-in image names: `ubuntu:24.04`, `debian:12` and the like, from the one table in
//! `templates/images.json`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::ImageName;

const TABLE: &str = include_str!("../../../templates/images.json");

/// The most slips that a name may have and still be known.
const MAX_SLIPS: usize = 3;
/// The most names that are proposed.
const MAX_NEAR: usize = 3;

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
    lima: Option<Templates>,
}

/// The templates of a family.
#[derive(Deserialize)]
struct Templates {
    template: String,
    /// Releases by their other words.
    releases: BTreeMap<String, String>,
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

/// The name of the template that a built-in name means: `ubuntu:24.04`, `ubuntu/24.04`, `images:debian/12`
/// and `debian/bookworm` alike. Whether there is such a one is another question.
#[must_use]
pub fn template(name: &ImageName) -> Option<String> {
    let text = name.as_str();
    let text = text.strip_prefix("images:").unwrap_or(text);
    let (family, rest) = text.split_once([':', '/'])?;
    // What follows the release is a variant of the image servers' own: cloud, say.
    let release = rest
        .split('/')
        .next()
        .filter(|release| !release.is_empty())?;
    let templates = table().remove(family)?.lima?;
    let release = templates
        .releases
        .get(release)
        .map_or(release, String::as_str);
    Some(templates.template.replace("{}", release))
}

/// One name of each family, for messages.
#[must_use]
pub fn examples() -> Vec<String> {
    table()
        .into_iter()
        .map(|(family, entry)| format!("{family}:{}", entry.example))
        .collect()
}

/// Those of `known` that may be what was meant by a name with a slip in it, nearest first, in
/// backquotes.
#[must_use]
pub fn near(name: &ImageName, known: &[String]) -> Vec<String> {
    let name = name.as_str().to_lowercase();
    // One slip in a short name, two in one of six letters, three in longer ones.
    let slips = (name.chars().count() / 3).clamp(1, MAX_SLIPS);
    let mut near: Vec<(usize, &String)> = known
        .iter()
        .map(|known| (strsim::osa_distance(&name, &known.to_lowercase()), known))
        .filter(|(distance, _)| *distance <= slips)
        .collect();
    near.sort();
    near.dedup();
    let nearest = near.into_iter().take(MAX_NEAR);
    nearest.map(|(_, known)| format!("`{known}`")).collect()
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

    #[test]
    fn every_way_to_write_a_name_means_the_same_template() {
        let of = |text: &str| template(&ImageName::parse(text).unwrap());
        for text in [
            "debian:12",
            "debian/12",
            "images:debian/12",
            "debian/bookworm",
            "debian/12/cloud",
        ] {
            assert_eq!(of(text).as_deref(), Some("debian-12"), "{text}");
        }
        assert_eq!(of("ubuntu:noble").as_deref(), Some("ubuntu-24.04"));
        for text in ["debian", "nope:1", "images:x", "debian:"] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn a_slip_is_forgiven_and_another_word_is_not() {
        let known: Vec<String> = ["debian/12", "debian/12-tools", "alpine:3.22", "debian:12"]
            .iter()
            .map(ToString::to_string)
            .collect();
        let of = |text: &str| near(&ImageName::parse(text).unwrap(), &known);
        assert_eq!(of("debain/12"), ["`debian/12`", "`debian:12`"]);
        assert_eq!(of("Debian:12"), ["`debian:12`", "`debian/12`"]);
        assert_eq!(of("alpin:3.22"), ["`alpine:3.22`"]);
        assert!(of("no-such-image").is_empty());
    }
}
