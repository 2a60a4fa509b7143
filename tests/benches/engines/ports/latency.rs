//! What a way adds to the time of a request, and of a connection.

use anyhow::Result;

use super::Wanted;
use super::load::{self, Kept};
use super::place::{Place, Way};
use crate::row::{Part, Row};

/// Requests and connections of each way.
const REQUESTS: usize = 4000;
const CONNECTIONS: usize = 1000;
/// Those that aren't counted.
const WARM_UP: usize = 50;

/// Seconds of all, of one way.
struct Times(Vec<f64>);

/// The rows.
pub fn latency(place: &Place, engine: &str) -> Result<Vec<Row>> {
    let ways = &place.outside[..4];
    let mut kept = Vec::new();
    for way in ways {
        kept.push(Kept::new(way.address)?);
    }
    let asked = in_turns(ways, REQUESTS, |index| kept[index].ask())?;
    drop(kept);
    let connected = in_turns(ways, CONNECTIONS, |index| {
        load::first_byte(ways[index].address)
    })?;
    let mut rows = Vec::new();
    for (what, times, limit) in [
        ("a request", &asked, 30.0),
        ("a connection with its first byte", &connected, 150.0),
    ] {
        rows.extend(added(what, ways, times, limit, engine));
    }
    Ok(rows)
}

/// Times of ways, one of each after the other.
fn in_turns(
    ways: &[Way],
    count: usize,
    mut one: impl FnMut(usize) -> Result<f64>,
) -> Result<Vec<Times>> {
    let mut all: Vec<Times> = ways.iter().map(|_| Times(Vec::new())).collect();
    for round in 0..WARM_UP + count {
        for turn in 0..ways.len() {
            let index = (round + turn) % ways.len();
            let taken = one(index)?;
            if round >= WARM_UP {
                all[index].0.push(taken * 1e6);
            }
        }
    }
    Ok(all)
}

/// Ours less straight, with the same of others.
fn added(what: &str, ways: &[Way], times: &[Times], limit: f64, engine: &str) -> Vec<Row> {
    let straight = &times[0];
    let others = ways.iter().zip(times).skip(2);
    let others: Vec<String> = others
        .map(|(way, times)| {
            let (half, most) = times.beyond(straight);
            format!("{} {half:+.0} µs, p99 {most:+.0} µs", way.name)
        })
        .collect();
    let (half, most) = times[1].beyond(straight);
    let row = |what: String, quantile: f64, added: f64, wanted: Wanted| Row {
        peer: format!("{:.0} µs", straight.at(quantile)),
        compared: format!("{added:+.0} µs"),
        wanted: match wanted {
            Wanted::Nothing => wanted.text(),
            _ => format!("{} µs more", wanted.text()),
        },
        verdict: wanted.verdict(added),
        ..Row::figure(
            Part::Ports,
            engine,
            &what,
            format!("{:.0} µs", times[1].at(quantile)),
        )
    };
    let note = Some(format!("others add: {}", others.join("; ")));
    vec![
        row(
            format!("{what} / straight, p50"),
            0.5,
            half,
            Wanted::AtMost(limit),
        )
        .noting(note),
        row(
            format!("{what} / straight, p99"),
            0.99,
            most,
            Wanted::Nothing,
        ),
    ]
}

impl Times {
    fn at(&self, quantile: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() as f64 * quantile) as usize;
        sorted[place.min(sorted.len() - 1)]
    }

    /// The difference of both medians, and of both 99th percentiles.
    fn beyond(&self, other: &Self) -> (f64, f64) {
        let at = |quantile| self.at(quantile) - other.at(quantile);
        (at(0.5), at(0.99))
    }
}
