//! Shared code of the suites: the private engines of `make engines`, and a harness that names tests by engine.

pub mod desktop;
pub mod docker;
pub mod engines;
pub mod harness;
pub mod lima;
pub mod service;
pub mod stage;
pub mod terminal;
pub mod workspace;
