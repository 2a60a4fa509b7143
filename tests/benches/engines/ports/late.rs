//! From when a service in the env listens until a client that waits for it is answered.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::place::{Place, connect};
use super::{Wanted, shown};
use crate::pairs::Spread;
use crate::row::{Part, Row};

const ROUNDS: u32 = 25;

/// The row.
pub fn late(place: &Place, engine: &str) -> Result<Vec<Row>> {
    let mut waited = Vec::new();
    for round in 0..ROUNDS {
        // How long the client has waited makes a difference: it is spread over what a start may take.
        waited.push(one(place, Duration::from_millis(u64::from(40 + 37 * round)))? * 1000.0);
    }
    let spread = Spread::of(&waited);
    let wanted = Wanted::AtMost(50.0);
    Ok(vec![Row {
        wanted: format!("{} ms", wanted.text()),
        verdict: wanted.verdict(spread.max),
        ..Row::figure(
            Part::Ports,
            engine,
            "a service listens until a waiting client is answered (the slowest counts)",
            shown(spread, "ms"),
        )
    }])
}

/// Seconds of one.
fn one(place: &Place, before: Duration) -> Result<f64> {
    let address: SocketAddr = ([127, 0, 0, 1], place.late).into();
    let mut client = connect(address)?;
    client.write_all(b"?")?;
    // Part of what is measured: clients come before services do.
    std::thread::sleep(before);
    let mut order = connect(place.straight().address)?;
    order.write_all(&[b"l", place.late.to_be_bytes().as_slice()].concat())?;
    let mut begun = [0; 8];
    client.read_exact(&mut begun)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    // Env and host have one clock.
    let begun = Duration::from_nanos(u64::from_be_bytes(begun));
    Ok(now.saturating_sub(begun).as_secs_f64())
}
