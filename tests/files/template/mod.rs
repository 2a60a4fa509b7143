//! Lima templates: the commands about them, and their shape beside Lima's own. No engine is needed.

mod commands;
mod editing;
mod place;
mod schema;
mod validation;
