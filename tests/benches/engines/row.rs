//! One line of the result.

use serde::{Deserialize, Serialize};

use crate::pairs::{Pairs, spread};

/// The table of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Section {
    Commands,
    Ports,
    App,
}

/// Limit of a figure. Nothing fails if it is missed.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
    None,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub section: Section,
    /// The cells of the table.
    pub what: String,
    pub engine: String,
    pub ours: String,
    pub peer: String,
    pub compared: String,
    pub wanted: String,
    pub verdict: String,
}

impl Row {
    /// A figure without peer and target.
    pub fn figure(section: Section, engine: &str, what: &str, ours: String) -> Self {
        let none = || "–".to_owned();
        Self {
            section,
            what: what.to_owned(),
            engine: engine.to_owned(),
            ours,
            peer: none(),
            compared: none(),
            wanted: none(),
            verdict: none(),
        }
    }

    /// Pairs of figures, with a target for the median of their ratios.
    pub fn pairs(
        section: Section,
        engine: &str,
        what: &str,
        unit: &str,
        pairs: &Pairs,
        target: Target,
    ) -> Self {
        let ratio = pairs.median(|ours, peer| ours / peer);
        let row = Self::figure(section, engine, what, spread(&pairs.ours, unit));
        let row = Self {
            peer: spread(&pairs.peer, unit),
            compared: format!("{ratio:.2}"),
            ..row
        };
        row.with_target(ratio, target, "")
    }

    /// Pairs of durations of commands, with a target for their ratio.
    pub fn commands(engine: &str, what: &str, pairs: &Pairs, target: Target) -> Self {
        Self::pairs(Section::Commands, engine, what, "s", pairs, target)
    }

    /// Adds a difference in seconds, with a limit.
    pub fn with_difference(mut self, difference: f64, limit: f64, unit: &str) -> Self {
        self.compared.push_str(&format!(", {difference:+.2} s"));
        self.with_target(difference, Target::AtMost(limit), unit)
    }

    /// Compares a value with a target, whose text ends with `unit`.
    pub fn with_target(mut self, value: f64, target: Target, unit: &str) -> Self {
        let (limit, reached) = match target {
            Target::AtMost(limit) => (format!("≤ {limit} {unit}"), value <= limit),
            Target::AtLeast(limit) => (format!("≥ {limit} {unit}"), value >= limit),
            Target::None => return self,
        };
        self.wanted = limit.trim_end().to_owned();
        self.verdict = if reached { "reached" } else { "missed" }.to_owned();
        self
    }
}
