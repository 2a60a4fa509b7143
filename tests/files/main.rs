//! Tests that need no engine: the JSON schema, generated files of the page, and Lima templates.

mod bindings;
mod schema;
mod template;
