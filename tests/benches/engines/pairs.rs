//! Two measurements in alternating order (A B B A A B …), so that other load of the machine affects both.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Figures of this program and of the peer; the n-th ones were measured one right after the other.
#[derive(Default)]
pub struct Pairs {
    pub ours: Vec<f64>,
    pub peer: Vec<f64>,
}

impl Pairs {
    /// Measures pairs of durations in seconds. The first `warm_up` are not counted.
    pub fn take(
        (warm_up, counted): (usize, usize),
        mut ours: impl FnMut() -> Result<Duration>,
        mut peer: impl FnMut() -> Result<Duration>,
    ) -> Result<Self> {
        let mut pairs = Self::default();
        for round in 0..warm_up + counted {
            // The second one profits from warm caches.
            let (mine, theirs) = if round % 2 == 0 {
                let mine = ours()?;
                (mine, peer()?)
            } else {
                let theirs = peer()?;
                (ours()?, theirs)
            };
            if round >= warm_up {
                pairs.ours.push(mine.as_secs_f64());
                pairs.peer.push(theirs.as_secs_f64());
            }
        }
        Ok(pairs)
    }

    /// The median of a comparison of each pair.
    pub fn median(&self, compare: impl Fn(f64, f64) -> f64) -> f64 {
        let both = self.ours.iter().zip(&self.peer);
        let values: Vec<f64> = both.map(|(ours, peer)| compare(*ours, *peer)).collect();
        quantile(&values, 0.5)
    }
}

/// The value below which this part of the values is.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index).or(sorted.last()).copied().unwrap_or(0.0)
}

/// Median, minimum and maximum, as text.
pub fn spread(values: &[f64], unit: &str) -> String {
    if unit == "s" && quantile(values, 0.5) < 1.0 {
        let ms: Vec<f64> = values.iter().map(|seconds| seconds * 1000.0).collect();
        return spread(&ms, "ms");
    }
    let [min, median, max] = [0.0, 0.5, 1.0].map(|part| quantile(values, part));
    let digits = match median {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    format!("{median:.digits$} {unit} ({min:.digits$}–{max:.digits$})")
}

/// How long something takes.
pub fn time<T>(work: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed())
}
