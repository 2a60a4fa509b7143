//! What the suites share: finding the private engines, and a harness that names tests by engine.
//!
//! The engines are the ones of `make engines`, never the user's own.

pub mod desktop;
pub mod docker;
pub mod engines;
pub mod harness;
pub mod lima;
pub mod service;
pub mod stage;
pub mod terminal;
pub mod workspace;
