//! Pipes for a system that has no splice(2): none.

/// Nothing.
#[derive(Debug, Default)]
pub(super) struct Pipes;
