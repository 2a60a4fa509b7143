//! Restrictions of an engine's project. The projects of restricted users (`lxd-user`, `incus-user`)
//! are such; there everything is forbidden that is not allowed explicitly.
//! Keys: <https://documentation.ubuntu.com/lxd/latest/reference/projects/>.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::client::Client;
use super::client::url_part;
use crate::error::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) snapshots: bool,
    pub(super) nesting: bool,
    /// Of system calls.
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

/// Fetches what the client's project allows. Assumes that `default` has no restrictions.
pub(super) async fn allowed(client: &Client) -> Result<Allowed> {
    let project = &client.id.project;
    if project.is_default() {
        return Ok(Allowed::ALL);
    }
    let path = format!("/1.0/projects/{}", url_part(project.as_str()));
    let project: Project = client.get(&path).await?;
    Ok(parse(&project.config))
}

fn parse(config: &BTreeMap<String, String>) -> Allowed {
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
    fn restricted_project_allows_only_explicit_keys() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            parse(&pairs.collect())
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
