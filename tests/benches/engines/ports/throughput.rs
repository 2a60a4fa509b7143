//! Bytes a second, requests a second, and what they cost.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::load;
use super::place::{Place, Way};
use super::{Compared, Wanted};
use crate::row::Row;

/// Rounds, and how long one way is measured in each.
const ROUNDS: usize = 7;
const SPAN: Duration = Duration::from_millis(1200);
/// Streams at once.
const STREAMS: [usize; 2] = [1, 8];
/// Connections of the requests.
pub const CONNECTIONS: usize = 64;

/// What came of one way.
#[derive(Default)]
pub struct Found {
    /// Gbit/s with one stream, and with eight.
    pub rates: [Vec<f64>; 2],
    /// Seconds of processor time for each GiB, with one stream.
    pub costs: Vec<f64>,
    /// Requests a second.
    pub requests: Vec<f64>,
}

/// The rows.
pub fn throughput(place: &Place, engine: &str) -> Result<Vec<Row>> {
    let outside = measure(&place.program, &place.outside)?;
    let mut rows = Vec::new();
    rows.extend(halves(place, &outside[0], engine)?);
    for (index, streams) in STREAMS.iter().enumerate() {
        for (peer, wanted) in [
            (0, Wanted::Nothing),
            (2, Wanted::AtLeast(1.3)),
            (3, Wanted::AtLeast(2.0)),
            (4, Wanted::AtLeast(2.0)),
        ] {
            let what = named(
                &format!("{streams} of streams, service on 0.0.0.0"),
                &place.outside[peer],
            );
            rows.push(row(
                what,
                "Gbit/s",
                &outside,
                peer,
                |found| &found.rates[index],
                engine,
                wanted,
            ));
        }
    }
    for (peer, wanted) in [(3, Wanted::AtMost(0.5)), (2, Wanted::AtMost(1.0))] {
        let what = named("processor time a GiB", &place.outside[peer]);
        rows.push(row(
            what,
            "s",
            &outside,
            peer,
            |found| &found.costs,
            engine,
            wanted,
        ));
    }
    for (peer, wanted) in [
        (0, Wanted::Nothing),
        (2, Wanted::AtLeast(1.3)),
        (3, Wanted::AtLeast(1.3)),
    ] {
        let what = named(
            &format!("requests by {CONNECTIONS} kept connections"),
            &place.outside[peer],
        );
        rows.push(row(
            what,
            "a second",
            &outside,
            peer,
            |found| &found.requests,
            engine,
            wanted,
        ));
    }
    rows.extend(inside(place, engine)?);
    Ok(rows)
}

/// The service on the env's loopback.
fn inside(place: &Place, engine: &str) -> Result<Vec<Row>> {
    // The first is ours, the second the device.
    let mut found = measure(&place.program, &place.inside)?;
    found.insert(0, Found::default());
    let device = &place.inside[1];
    let row = |what: String, unit, of: fn(&Found) -> &Vec<f64>, wanted| {
        row(named(&what, device), unit, &found, 2, of, engine, wanted)
    };
    let streams = |count: usize| format!("{count} of streams, service on 127.0.0.1");
    Ok(vec![
        row(
            streams(1),
            "Gbit/s",
            |found| &found.rates[0],
            Wanted::AtLeast(0.9),
        ),
        row(
            streams(8),
            "Gbit/s",
            |found| &found.rates[1],
            Wanted::AtLeast(0.9),
        ),
        row(
            "processor time a GiB, service on 127.0.0.1".to_owned(),
            "s",
            |found| &found.costs,
            Wanted::AtMost(1.0),
        ),
        row(
            format!("requests by {CONNECTIONS} kept connections, service on 127.0.0.1"),
            "a second",
            |found| &found.requests,
            Wanted::Nothing,
        ),
    ])
}

fn named(what: &str, peer: &Way) -> String {
    let what = what
        .replace("1 of streams", "1 stream")
        .replace("8 of streams", "8 streams");
    format!("{what} / {}", peer.name)
}

fn row(
    what: String,
    unit: &str,
    found: &[Found],
    peer: usize,
    of: impl Fn(&Found) -> &Vec<f64>,
    engine: &str,
    wanted: Wanted,
) -> Row {
    let (ours, peer) = (of(&found[1]), of(&found[peer]));
    Compared {
        what,
        unit,
        ours,
        peer,
    }
    .row(engine, wanted)
}

/// Measures ways in turns, with the program for both ends.
pub fn measure(program: &Path, ways: &[Way]) -> Result<Vec<Found>> {
    let mut found: Vec<Found> = ways.iter().map(|_| Found::default()).collect();
    for round in 0..ROUNDS {
        for turn in 0..ways.len() {
            // Each is the first one once.
            let index = (round + turn) % ways.len();
            let measured = one(program, &ways[index], &mut found[index]);
            measured.with_context(|| format!("{}, round {round}", ways[index].name))?;
        }
    }
    Ok(found)
}

fn one(program: &Path, way: &Way, found: &mut Found) -> Result<()> {
    for (index, streams) in STREAMS.into_iter().enumerate() {
        let before = way.cost.seconds()?;
        let rate = load::rate(way.address, streams, SPAN, None)?;
        found.rates[index].push(gbits(rate));
        if streams == 1 {
            let gib = rate * SPAN.as_secs_f64() / f64::from(1 << 30);
            found.costs.push((way.cost.seconds()? - before) / gib);
        }
    }
    let requests = load::requests(program, way.address, CONNECTIONS, SPAN)?;
    found.requests.push(requests);
    Ok(())
}

fn gbits(bytes: f64) -> f64 {
    bytes * 8.0 / 1e9
}

/// At half of what goes straight: what comes of what was asked for.
fn halves(place: &Place, straight: &Found, engine: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (rates, streams) in straight.rates.iter().zip(STREAMS) {
        let half = crate::pairs::Spread::of(rates).median / 2.0;
        let asked = half * 1e9 / 8.0;
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(gbits(load::rate(
                place.ours().address,
                streams,
                SPAN,
                Some(asked),
            )?));
            peer.push(half);
            // So that the row's note can say whether the machine had the half to give.
        }
        let through = load::rate(place.straight().address, streams, SPAN, Some(asked))?;
        let what =
            format!("{streams} of streams at half of what goes straight / what was asked for");
        let what = what
            .replace("1 of streams", "1 stream")
            .replace("8 of streams", "8 streams");
        let (ours, peer) = (&ours, &peer);
        let compared = Compared {
            what,
            unit: "Gbit/s",
            ours,
            peer,
        };
        let note = format!("straight, {:.2} of it came", through / asked);
        rows.push(
            compared
                .row(engine, Wanted::AtLeast(0.95))
                .noting(Some(note)),
        );
    }
    Ok(rows)
}
