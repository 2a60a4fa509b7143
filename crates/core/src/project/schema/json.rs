//! The JSON schema of the file, for editors (`docs/containers.schema.json`). Stricter than the fields' Rust types, which
//! are read as text first, and looser where YAML has other scalars.

use indexmap::IndexMap;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{Schema, SchemaGenerator, json_schema};

use super::{Entry, File};
use crate::model::RESERVED_WORDS;

/// The schema, of draft 7: what editors support.
#[must_use]
pub fn schema() -> Schema {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<File>();
    // `default: null` of each optional field says nothing.
    RecursiveTransform(|schema: &mut Schema| {
        if schema
            .get("default")
            .is_some_and(serde_json::Value::is_null)
        {
            schema.remove("default");
        }
    })
    .transform(&mut schema);
    schema
}

/// A scalar, which is read as its source text.
pub(in crate::project) fn text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number", "boolean", "null"] })
}

pub(super) fn size(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "integer", "null"],
        "minimum": 1,
        "pattern": r"^\s*0*[1-9][0-9]*\s*([KMGT]iB|[kKMGT]?B)?\s*$",
    })
}

pub(super) fn password(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number", "boolean", "null"], "minLength": 1, "maxLength": 200 })
}

pub(super) fn project(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number", "boolean", "null"], "pattern": "^[A-Za-z0-9_-]+$" })
}

pub(super) fn backend(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["auto", "lxc", "lima", null] })
}

pub(super) fn nesting(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": [true, false, "true", "false", "docker", null] })
}

pub(super) fn forwarding(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["ours", "native", null] })
}

pub(super) fn git(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["protected", "writable", null] })
}

pub(super) fn listen(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["object", "null"],
        "propertyNames": {
            "pattern": "^([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$",
        },
        "additionalProperties": {
            "type": "string",
            "pattern": "^(loopback|everywhere|[0-9.]+|[0-9A-Fa-f:.]+)$",
        },
    })
}

pub(super) fn containers(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<Option<IndexMap<String, Option<Entry>>>>();
    // JSON schema's patterns have no flag for both cases.
    let both_cases = |letter: char| format!("[{}{letter}]", letter.to_ascii_uppercase());
    let reserved = RESERVED_WORDS.map(|name| name.chars().map(both_cases).collect::<String>());
    schema.insert(
        "propertyNames".to_owned(),
        serde_json::json!({
            "maxLength": 63,
            "pattern": "^[A-Za-z]([A-Za-z0-9]|-(?=[A-Za-z0-9]))*$",
            "not": { "pattern": format!("^({})$", reserved.join("|")) },
        }),
    );
    schema
}
