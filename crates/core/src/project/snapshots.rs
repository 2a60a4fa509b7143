//! `snapshots:` of an env, in the two forms that exist.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// What the file says of a snapshot. Whether it exists is the engine's to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a map with `description` and `created_at`")]
pub struct SnapshotEntry {
    /// A line about it.
    #[serde(default)]
    pub description: Option<String>,
    /// When it was made, as text.
    #[serde(default)]
    pub created_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "a map with `name`")]
struct Listed {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    created: Option<String>,
}

/// Reads `{name: {description, created_at}}` and `[{name, description, created}]`.
pub(super) fn either_form<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<IndexMap<String, SnapshotEntry>, D::Error> {
    deserializer.deserialize_any(Forms)
}

struct Forms;

impl<'de> Visitor<'de> for Forms {
    type Value = IndexMap<String, SnapshotEntry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map or a list of snapshots")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(IndexMap::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = IndexMap::new();
        while let Some((name, entry)) = map.next_entry::<String, Option<SnapshotEntry>>()? {
            found.insert(name, entry.unwrap_or_default());
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = IndexMap::new();
        while let Some(Listed {
            name,
            description,
            created,
        }) = list.next_element()?
        {
            found.insert(
                name,
                SnapshotEntry {
                    description,
                    created_at: created,
                },
            );
        }
        Ok(found)
    }
}
