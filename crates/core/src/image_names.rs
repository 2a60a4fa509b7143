//! Built-in image names such as `ubuntu:24.04`, from `templates/images.json`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::ImageName;

const TABLE: &str = include_str!("../../../templates/images.json");

const MAX_EDIT_DISTANCE: usize = 3;
const MAX_SUGGESTIONS: usize = 3;

/// The image servers to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    Lxd,
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

/// Templates of a distribution.
#[derive(Deserialize)]
struct Templates {
    template: String,
    /// Alternative names of releases.
    releases: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Source {
    server: String,
    alias: String,
}

fn table() -> BTreeMap<String, Entry> {
    // Embedded, and parsed by a test.
    serde_json::from_str::<Table>(TABLE)
        .map(|table| table.names)
        .unwrap_or_default()
}

/// Returns server and alias of a built-in name.
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

/// Returns the name of the template for an image name: the same for `debian:12`, `debian/12`, `images:debian/12` and
/// `debian/bookworm`. The template need not exist.
#[must_use]
pub fn template(name: &ImageName) -> Option<String> {
    let text = name.as_str();
    let text = text.strip_prefix("images:").unwrap_or(text);
    let (family, rest) = text.split_once([':', '/'])?;
    // The rest is a variant on the image servers, such as `cloud`.
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

/// One name per distribution, for messages.
#[must_use]
pub fn examples() -> Vec<String> {
    table()
        .into_iter()
        .map(|(family, entry)| format!("{family}:{}", entry.example))
        .collect()
}

/// Returns similar names in backquotes, best match first.
#[must_use]
pub fn similar(name: &ImageName, known: &[String]) -> Vec<String> {
    let name = name.as_str().to_lowercase();
    // One typo per three characters.
    let max_distance = (name.chars().count() / 3).clamp(1, MAX_EDIT_DISTANCE);
    let mut near: Vec<(usize, &String)> = known
        .iter()
        .map(|known| (strsim::osa_distance(&name, &known.to_lowercase()), known))
        .filter(|(distance, _)| *distance <= max_distance)
        .collect();
    near.sort();
    near.dedup();
    let nearest = near.into_iter().take(MAX_SUGGESTIONS);
    nearest.map(|(_, known)| format!("`{known}`")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_names_per_engine() {
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
    fn all_spellings_resolve_to_the_same_template() {
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
    fn suggests_similar_names_only() {
        let known: Vec<String> = ["debian/12", "debian/12-tools", "alpine:3.22", "debian:12"]
            .iter()
            .map(ToString::to_string)
            .collect();
        let of = |text: &str| similar(&ImageName::parse(text).unwrap(), &known);
        assert_eq!(of("debain/12"), ["`debian/12`", "`debian:12`"]);
        assert_eq!(of("Debian:12"), ["`debian:12`", "`debian/12`"]);
        assert_eq!(of("alpin:3.22"), ["`alpine:3.22`"]);
        assert!(of("no-such-image").is_empty());
    }
}
