//! The forwarder against what does the like, all in front of the same services in the same env.
//!
//! Ways are measured in turns, so that other load of the machine falls on all. Bytes go from the env to
//! this machine; the program at both ends is `tests/traffic`.

pub mod cost;
mod idle;
mod late;
mod latency;
pub mod load;
pub mod place;
pub mod throughput;

use anyhow::Result;
use lxc_dev_manager_tests::engines::TestEngine;

use crate::pairs::Spread;
use crate::row::{Part, Row, Verdict};
use place::Place;

/// What a way is compared with.
pub struct Compared<'a> {
    pub what: String,
    pub unit: &'a str,
    pub ours: &'a [f64],
    pub peer: &'a [f64],
}

/// All rows of forwards.
pub fn ports(engine: &TestEngine, name: &str) -> Result<Vec<Row>> {
    place::raise_descriptors();
    let mut place = Place::new(engine)?;
    let mut rows = throughput::throughput(&place, name)?;
    rows.extend(latency::latency(&place, name)?);
    rows.extend(late::late(&place, name)?);
    // The last one: it replaces who forwards.
    rows.extend(idle::idle(&mut place, name));
    Ok(rows)
}

impl Compared<'_> {
    /// A row with the median of the ratios, and what that is to be.
    pub fn row(&self, engine: &str, wanted: Wanted) -> Row {
        let pairs = self.ours.iter().zip(self.peer);
        let ratios: Vec<f64> = pairs.map(|(ours, peer)| ours / peer).collect();
        let ratio = Spread::of(&ratios).median;
        let figure = |values| shown(Spread::of(values), self.unit);
        Row {
            peer: figure(self.peer),
            compared: format!("{ratio:.2}"),
            wanted: wanted.text(),
            verdict: wanted.verdict(ratio),
            ..Row::figure(Part::Ports, engine, &self.what, figure(self.ours))
        }
    }
}

/// What a figure is to be.
#[derive(Clone, Copy)]
pub enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    Nothing,
}

impl Wanted {
    fn text(self) -> String {
        match self {
            Self::AtLeast(limit) => format!("≥ {limit}"),
            Self::AtMost(limit) => format!("≤ {limit}"),
            Self::Nothing => "–".to_owned(),
        }
    }

    fn verdict(self, value: f64) -> Verdict {
        match self {
            Self::AtLeast(limit) => Verdict::above(value, limit),
            Self::AtMost(limit) => Verdict::below(value, limit),
            Self::Nothing => Verdict::Open,
        }
    }
}

/// The median, and how far the values lie apart.
fn shown(spread: Spread, unit: &str) -> String {
    let Spread { min, median, max } = spread;
    let digits = match median {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    format!("{median:.digits$} {unit} ({min:.digits$}–{max:.digits$})")
}
