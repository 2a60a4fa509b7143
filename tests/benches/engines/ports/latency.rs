//! Delays: of a request, of a connection, and of the first connection to a service that starts late.

use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::load::{self, connect};
use super::place::{Place, here};
use crate::pairs::{Pairs, quantile, spread};
use crate::row::{Row, Section, Target};

/// Pairs of warm-up and counted pairs.
const REQUESTS: (usize, usize) = (50, 4000);
const CONNECTIONS: (usize, usize) = (50, 1000);
const LATE_ROUNDS: u64 = 25;

/// Compares our route with a direct connection.
pub fn latency(place: &Place, engine: &str) -> Result<Vec<Row>> {
    let (ours, direct) = (place.ours().address, place.direct().address);
    let [mut our_stream, mut direct_stream] = [connect(ours)?, connect(direct)?];
    for stream in [&mut our_stream, &mut direct_stream] {
        stream.write_all(b"e")?;
    }
    let requests = Pairs::take(
        REQUESTS,
        || load::request(&mut our_stream),
        || load::request(&mut direct_stream),
    )?;
    let connections = Pairs::take(
        CONNECTIONS,
        || load::first_byte(ours),
        || load::first_byte(direct),
    )?;
    let row = |what: &str, pairs: &Pairs, limit: f64| {
        let [ours, direct] = [&pairs.ours, &pairs.peer].map(|values| quantile(values, 0.5) * 1e6);
        let what = format!("{what} / straight, p50");
        let row = Row {
            peer: format!("{direct:.0} µs"),
            compared: format!("{:+.0} µs", ours - direct),
            ..Row::figure(Section::Ports, engine, &what, format!("{ours:.0} µs"))
        };
        row.with_target(ours - direct, Target::AtMost(limit), "µs more")
    };
    Ok(vec![
        row("a request", &requests, 30.0),
        row("a connection with its first byte", &connections, 150.0),
    ])
}

/// From the moment a service listens until a waiting client has an answer.
pub fn late_service(place: &Place, engine: &str) -> Result<Row> {
    let mut delays = Vec::new();
    for round in 0..LATE_ROUNDS {
        // The retry interval depends on how long the client has waited.
        delays.push(late_answer(place, Duration::from_millis(40 + 37 * round))? * 1000.0);
    }
    let what = "a service listens until a waiting client is answered (the slowest counts)";
    let row = Row::figure(Section::Ports, engine, what, spread(&delays, "ms"));
    Ok(row.with_target(quantile(&delays, 1.0), Target::AtMost(50.0), "ms"))
}

fn late_answer(place: &Place, wait: Duration) -> Result<f64> {
    let mut client = connect(here(place.late_port))?;
    client.write_all(b"?")?;
    std::thread::sleep(wait);
    let mut order = connect(place.direct().address)?;
    order.write_all(&[b"l", place.late_port.to_be_bytes().as_slice()].concat())?;
    let mut started = [0; 8];
    client.read_exact(&mut started)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    // Env and host have the same clock.
    let started = Duration::from_nanos(u64::from_be_bytes(started));
    Ok(now.saturating_sub(started).as_secs_f64())
}
