//! What an engine's project forbids. Users without the right to everything live in such a one
//! (`lxd-user`, `incus-user` make it), and what isn't allowed there in words is forbidden.
//! Keys: <https://documentation.ubuntu.com/lxd/latest/reference/projects/>.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::client::Client;
use super::image::url_part;
use crate::error::Result;

/// What is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowed {
    /// Snapshots of instances.
    pub(super) snapshots: bool,
    /// Containers in containers.
    pub(super) nesting: bool,
    /// Interception of system calls.
    pub(super) interception: bool,
}

impl Allowed {
    const ALL: Self = Self {
        snapshots: true,
        nesting: true,
        interception: true,
    };
}

#[derive(Deserialize)]
struct Project {
    config: BTreeMap<String, String>,
}

/// What the client's project allows. `default` is taken for one without restrictions, unasked.
pub(super) async fn allowed(client: &Client) -> Result<Allowed> {
    let project = &client.id.project;
    if project.is_default() {
        return Ok(Allowed::ALL);
    }
    let path = format!("/1.0/projects/{}", url_part(project.as_str()));
    let project: Project = client.get(&path).await?;
    Ok(of_config(&project.config))
}

fn of_config(config: &BTreeMap<String, String>) -> Allowed {
    let value = |key: &str| config.get(key).map_or("", String::as_str);
    if !matches!(value("restricted"), "true" | "1" | "yes" | "on") {
        return Allowed::ALL;
    }
    let allows = |key: &str| matches!(value(key), "allow" | "full");
    Allowed {
        snapshots: allows("restricted.snapshots"),
        nesting: allows("restricted.containers.nesting"),
        interception: allows("restricted.containers.interception"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restricted_project_allows_what_it_says() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            of_config(&pairs.collect())
        };
        assert_eq!(of(&[("restricted.snapshots", "block")]), Allowed::ALL);
        let own = of(&[
            ("restricted", "true"),
            ("restricted.containers.nesting", "allow"),
            ("restricted.snapshots", "block"),
        ]);
        assert!(own.nesting && !own.snapshots && !own.interception);
    }
}
