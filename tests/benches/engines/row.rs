//! One line of the result.

use serde::{Deserialize, Serialize};

use crate::pairs::{Pairs, Spread};

/// Where a line stands in the docs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Commands against the engine's own client.
    Commands,
    /// Forwards against what does the like.
    Ports,
    /// Memory of the app.
    Memory,
    /// Other properties of the app.
    App,
}

/// How a figure compares with what is wanted. Nothing fails by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// As wanted.
    Reached,
    /// Not as wanted.
    Missed,
    /// Nothing is wanted.
    Open,
    /// There is no figure; the note says why.
    Unmeasured,
}

/// The line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Its table.
    pub part: Part,
    /// What was measured.
    pub what: String,
    /// The engine under it.
    pub engine: String,
    /// Our figure.
    pub ours: String,
    /// The peer's.
    pub peer: String,
    /// Ratio or difference.
    pub compared: String,
    pub wanted: String,
    /// Whether it is so.
    pub verdict: Verdict,
    /// What a reader has to know besides.
    pub note: Option<String>,
}

impl Row {
    /// A figure without a peer and without a target.
    pub fn figure(part: Part, engine: &str, what: &str, ours: String) -> Self {
        let none = || "–".to_owned();
        Self {
            part,
            what: what.to_owned(),
            engine: engine.to_owned(),
            ours,
            peer: none(),
            compared: none(),
            wanted: none(),
            verdict: Verdict::Open,
            note: None,
        }
    }

    /// Pairs, with the median of their ratios.
    pub fn pairs(engine: &str, what: &str, pairs: &Pairs) -> Self {
        Self {
            peer: pairs.peer().seconds(),
            compared: format!("{:.2}", pairs.ratio().median),
            ..Self::figure(Part::Commands, engine, what, pairs.ours().seconds())
        }
    }

    /// The same with the ratio that is wanted at most.
    pub fn pairs_below(engine: &str, what: &str, pairs: &Pairs, limit: f64) -> Self {
        Self {
            wanted: format!("≤ {limit}"),
            verdict: Verdict::below(pairs.ratio().median, limit),
            ..Self::pairs(engine, what, pairs)
        }
    }

    /// Something that couldn't be measured.
    pub fn unmeasured(part: Part, engine: &str, what: &str, why: String) -> Self {
        Self {
            verdict: Verdict::Unmeasured,
            note: Some(why),
            ..Self::figure(part, engine, what, "–".to_owned())
        }
    }

    /// Adds a note.
    pub fn noting(mut self, note: Option<String>) -> Self {
        self.note = note;
        self
    }
}

impl Verdict {
    /// Of a figure that should be small.
    pub fn below(value: f64, limit: f64) -> Self {
        if value <= limit {
            Self::Reached
        } else {
            Self::Missed
        }
    }

    /// Of a figure that should be large.
    pub fn above(value: f64, limit: f64) -> Self {
        Self::below(limit, value)
    }

    /// The word in the tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Missed => "missed",
            Self::Open => "–",
            Self::Unmeasured => "not measured",
        }
    }
}

/// Seconds of steps, each with its name, as one line.
pub fn split(steps: &[(String, Spread)]) -> String {
    let parts = steps
        .iter()
        .map(|(name, spread)| format!("{name} {:.2} s", spread.median));
    parts.collect::<Vec<_>>().join(", ")
}
