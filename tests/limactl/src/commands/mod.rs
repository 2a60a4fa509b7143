//! One module a group of commands. Each action is called with what was given, and its error is the last line on stderr.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod watch;

use crate::faults::Faults;
use crate::home::Home;

/// What every command works with.
pub(crate) struct Context {
    pub(crate) home: Home,
    pub(crate) faults: Faults,
}
