//! `snapshots:` of an env, in both formats.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The file's entry of a snapshot. The engine knows whether it exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a map with `description` and `created_at`")]
pub struct SnapshotEntry {
    /// One-line description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Creation time as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "a map with `name`")]
struct ListEntry {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    created: Option<String>,
}

/// Reads `{name: {description, created_at}}` and `[{name, description, created}]`.
pub(super) fn map_or_list<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<IndexMap<String, SnapshotEntry>, D::Error> {
    deserializer.deserialize_any(MapOrList)
}

struct MapOrList;

impl<'de> Visitor<'de> for MapOrList {
    type Value = IndexMap<String, SnapshotEntry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map or a list of snapshots")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(IndexMap::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut snapshots = IndexMap::new();
        while let Some((name, entry)) = map.next_entry::<String, Option<SnapshotEntry>>()? {
            snapshots.insert(name, entry.unwrap_or_default());
        }
        Ok(snapshots)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut snapshots = IndexMap::new();
        while let Some(ListEntry {
            name,
            description,
            created,
        }) = list.next_element()?
        {
            snapshots.insert(
                name,
                SnapshotEntry {
                    description,
                    created_at: created,
                },
            );
        }
        Ok(snapshots)
    }
}
