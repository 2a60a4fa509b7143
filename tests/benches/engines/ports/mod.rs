//! Forwarded ports compared with other routes to the same services in the same env.
//!
//! Routes are measured in turns, so that other load of the machine affects all. The env sends; service and client are
//! `tests/traffic`.

mod idle;
mod latency;
mod load;
mod place;
mod throughput;

use anyhow::Result;
use lxc_dev_manager_tests::engines::TestEngine;

use crate::row::Row;
use place::Place;

pub fn ports(engine: &TestEngine, name: &str) -> Result<Vec<Row>> {
    place::raise_descriptor_limit();
    let place = Place::new(engine)?;
    let mut rows = throughput::throughput(&place, name)?;
    rows.extend(latency::latency(&place, name)?);
    rows.push(latency::late_service(&place, name)?);
    rows.extend(idle::idle(&place, name)?);
    Ok(rows)
}
