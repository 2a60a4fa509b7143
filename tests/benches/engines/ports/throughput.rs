//! Bytes and requests per second, and their processor time.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::load;
use super::place::{Place, Way};
use crate::pairs::Pairs;
use crate::row::{Row, Section, Target};

const ROUNDS: usize = 7;
const SPAN: Duration = Duration::from_millis(1200);
const CONNECTIONS: usize = 64;

/// Figures of one route, by round.
#[derive(Default)]
struct Found {
    /// Gbit/s of one stream, and of eight.
    one: Vec<f64>,
    eight: Vec<f64>,
    /// Seconds of processor time per GiB, with one stream.
    costs: Vec<f64>,
    /// Per second.
    requests: Vec<f64>,
}

/// What is compared: its name, unit and values.
type Measure = (&'static str, &'static str, fn(&Found) -> &Vec<f64>);
const ONE: Measure = ("1 stream", "Gbit/s", |found| &found.one);
const EIGHT: Measure = ("8 streams", "Gbit/s", |found| &found.eight);
const COSTS: Measure = ("processor time a GiB", "s", |found| &found.costs);
const REQUESTS: Measure = ("requests by 64 kept connections", "a second", |found| {
    &found.requests
});

pub fn throughput(place: &Place, engine: &str) -> Result<Vec<Row>> {
    // Peers: a direct connection, the engine's device, socat.
    let outside = [
        (ONE, 0, Target::None),
        (ONE, 2, Target::AtLeast(1.3)),
        (ONE, 3, Target::AtLeast(2.0)),
        (EIGHT, 0, Target::None),
        (EIGHT, 2, Target::AtLeast(1.3)),
        (EIGHT, 3, Target::AtLeast(2.0)),
        (COSTS, 3, Target::AtMost(0.5)),
        (COSTS, 2, Target::AtMost(1.0)),
        (REQUESTS, 0, Target::None),
        (REQUESTS, 2, Target::AtLeast(1.3)),
        (REQUESTS, 3, Target::AtLeast(1.3)),
    ];
    // Peer: the engine's device.
    let inside = [
        (ONE, 1, Target::AtLeast(0.9)),
        (EIGHT, 1, Target::AtLeast(0.9)),
        (COSTS, 1, Target::AtMost(1.0)),
        (REQUESTS, 1, Target::None),
    ];
    let mut rows = compare(place, engine, "0.0.0.0", (&place.outside, 1), &outside)?;
    let loopback = (place.inside.as_slice(), 0);
    rows.extend(compare(place, engine, "127.0.0.1", loopback, &inside)?);
    Ok(rows)
}

/// Measures all routes, of which `ours` is ours, and compares it with the peers in the list.
fn compare(
    place: &Place,
    engine: &str,
    service: &str,
    (ways, ours): (&[Way], usize),
    list: &[(Measure, usize, Target)],
) -> Result<Vec<Row>> {
    let found = measure(&place.program, ways)?;
    let row = |((what, unit, values), peer, target): &(Measure, usize, Target)| {
        let what = format!("{what}, service on {service} / {}", ways[*peer].name);
        let pairs = Pairs {
            ours: values(&found[ours]).clone(),
            peer: values(&found[*peer]).clone(),
        };
        Row::pairs(Section::Ports, engine, &what, unit, &pairs, *target)
    };
    Ok(list.iter().map(row).collect())
}

fn measure(program: &Path, ways: &[Way]) -> Result<Vec<Found>> {
    let mut found: Vec<Found> = ways.iter().map(|_| Found::default()).collect();
    for round in 0..ROUNDS {
        for turn in 0..ways.len() {
            let index = (round + turn) % ways.len();
            let measured = measure_one(program, &ways[index], &mut found[index]);
            measured.with_context(|| format!("{}, round {round}", ways[index].name))?;
        }
    }
    Ok(found)
}

fn measure_one(program: &Path, way: &Way, found: &mut Found) -> Result<()> {
    let gbits = |bytes: f64| bytes * 8.0 / 1e9;
    let before = way.cost.seconds()?;
    let rate = load::rate(way.address, 1, SPAN)?;
    let gib = rate * SPAN.as_secs_f64() / f64::from(1 << 30);
    found.costs.push((way.cost.seconds()? - before) / gib);
    found.one.push(gbits(rate));
    found.eight.push(gbits(load::rate(way.address, 8, SPAN)?));
    let requests = load::requests(program, way.address, CONNECTIONS, SPAN)?;
    found.requests.push(requests);
    Ok(())
}
