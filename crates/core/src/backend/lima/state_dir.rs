//! Our directory in `LIMA_HOME`.

/// State directory in `LIMA_HOME`; Lima ignores names with a leading dot.
pub(super) const STATE_DIR: &str = ".lxc-dev-manager";
