//! Writing what was measured into the docs.

use std::path::Path;

use anyhow::{Context, Result};

/// The line before what is written.
const BEGIN: &str = "<!-- measured: from here to the end mark `make bench WRITE=1` writes -->";
/// The line after it.
const END: &str = "<!-- measured: end -->";

/// Puts a text between the marks of `docs/benchmarks.md`.
pub fn write(text: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
    let before = std::fs::read_to_string(&path)?;
    let after = between(&before, text).context("docs/benchmarks.md has lost its marks")?;
    Ok(std::fs::write(&path, after)?)
}

fn between(page: &str, text: &str) -> Option<String> {
    let (head, rest) = page.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    Some(format!("{head}{BEGIN}\n\n{}\n\n{END}{tail}", text.trim()))
}
