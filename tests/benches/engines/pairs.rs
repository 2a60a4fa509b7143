//! Two things timed in turn, A B B A A B …, so that whatever else the machine does falls on both.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Times of this program and of the peer; the n-th ones were taken right after each other.
pub struct Pairs {
    ours: Vec<f64>,
    peer: Vec<f64>,
}

/// The least, the middle and the greatest of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Pairs {
    /// Takes pairs. The first ones, `warm_up`, aren't counted.
    pub fn take(
        warm_up: usize,
        counted: usize,
        mut ours: impl FnMut() -> Result<Duration>,
        mut peer: impl FnMut() -> Result<Duration>,
    ) -> Result<Self> {
        let mut pairs = Self {
            ours: Vec::new(),
            peer: Vec::new(),
        };
        for round in 0..warm_up + counted {
            // Whoever goes second finds warmer caches: each does as often as the other.
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

    /// Our times in seconds.
    pub fn ours(&self) -> Spread {
        Spread::of(&self.ours)
    }

    /// The peer's times in seconds.
    pub fn peer(&self) -> Spread {
        Spread::of(&self.peer)
    }

    /// Ours by the peer's, pair by pair.
    pub fn ratio(&self) -> Spread {
        self.each(|ours, peer| ours / peer)
    }

    /// Ours less the peer's in seconds, pair by pair.
    pub fn difference(&self) -> Spread {
        self.each(|ours, peer| ours - peer)
    }

    /// Ours less so many times the peer's in seconds, pair by pair.
    pub fn beyond(&self, times: f64) -> Spread {
        self.each(|ours, peer| ours - times * peer)
    }

    fn each(&self, compare: impl Fn(f64, f64) -> f64) -> Spread {
        let both = self.ours.iter().zip(&self.peer);
        let values: Vec<f64> = both.map(|(ours, peer)| compare(*ours, *peer)).collect();
        Spread::of(&values)
    }
}

impl Spread {
    /// Of values of which there is at least one.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Self {
            min: sorted[0],
            median,
            max: sorted[sorted.len() - 1],
        }
    }

    /// Seconds in words: the median, and how far the values lie apart.
    pub fn seconds(&self) -> String {
        if self.median < 1.0 {
            let ms = |seconds: f64| seconds * 1000.0;
            let (min, median, max) = (ms(self.min), ms(self.median), ms(self.max));
            format!("{median:.1} ms ({min:.1}–{max:.1})")
        } else {
            format!("{:.2} s ({:.2}–{:.2})", self.median, self.min, self.max)
        }
    }
}

/// How long something takes.
pub fn time<T>(what: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let begun = Instant::now();
    what()?;
    Ok(begun.elapsed())
}
