//! `snapshots:` of an env, in both formats.

use std::fmt;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::schema::json;

/// The file's entry of a snapshot. The engine knows whether it exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(expecting = "a map with `description` and `created_at`")]
#[schemars(rename = "snapshot")]
pub struct SnapshotEntry {
    /// One-line description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "json::text")]
    pub description: Option<String>,
    /// Creation time, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "json::text")]
    pub created_at: Option<String>,
}

/// A snapshot in the list of an early version.
#[derive(Deserialize, JsonSchema)]
#[serde(expecting = "a map with `name`")]
#[schemars(rename = "listed")]
pub(super) struct ListEntry {
    #[schemars(schema_with = "json::text")]
    name: String,
    #[serde(default)]
    #[schemars(schema_with = "json::text")]
    description: Option<String>,
    #[serde(default)]
    #[schemars(schema_with = "json::text")]
    created: Option<String>,
}

/// Both formats, for the JSON schema.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "snapshots")]
#[expect(dead_code, reason = "read only by the derive")]
pub(super) enum MapOrListSchema {
    Map(IndexMap<String, Option<SnapshotEntry>>),
    List(Vec<ListEntry>),
    None(()),
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
