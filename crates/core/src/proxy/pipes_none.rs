//! Stub for systems without splice(2).

/// Empty.
#[derive(Debug, Default)]
pub(super) struct Pipes;
