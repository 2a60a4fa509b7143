//! Forwards as lines and as a table.

use std::collections::HashMap;

use lxc_dev_manager_core::model::{GuestPort, ListenScope, PortState};
use lxc_dev_manager_core::view::{EnvRef, ForwardView};
use tokio::time::Instant;

use crate::output::Printer;
use crate::table::{or_dash, render};
use crate::words::size;

/// Describes a forward in one line.
pub(crate) fn line(printer: &Printer, forward: &ForwardView) -> String {
    let target = format!("{}:{}", forward.env.env, forward.guest);
    if let Some(problem) = &forward.problem {
        let hint = problem
            .hint
            .as_ref()
            .map_or(String::new(), |hint| format!(" ({hint})"));
        return format!("{target}: {}{hint}", printer.bad(&problem.message));
    }
    if forward.state != PortState::Forwarded {
        return format!("{target} is not forwarded");
    }
    let shared = printer.bold(&forward.shared_url());
    let own = forward.url();
    let open = exposure(printer, forward.reach);
    let stable = forward.stable.map(|port| format!("port {port}"));
    let alternatives = |url: Option<String>| {
        let all: Vec<String> = url.into_iter().chain(stable.clone()).collect();
        match all.as_slice() {
            [] => String::new(),
            all => format!("   also {}", all.join(" and ")),
        }
    };
    if forward.focused {
        format!("{shared} → {target}{open}{}", alternatives(Some(own)))
    } else {
        format!(
            "{} → {target}{open}{}",
            printer.bold(&own),
            alternatives(None)
        )
    }
}

/// Warns about ports that other hosts can reach.
fn exposure(printer: &Printer, reach: ListenScope) -> String {
    match reach {
        _ if !reach.is_open() => String::new(),
        ListenScope::Address(address) => printer.bad(&format!(" OPEN on {address}")),
        _ => printer.bad(" OPEN to the network"),
    }
}

/// Byte counts of the last refresh.
#[derive(Default)]
pub(crate) struct Rates {
    at: Option<Instant>,
    transferred: HashMap<(EnvRef, GuestPort), u64>,
}

impl Rates {
    /// Returns bytes per second since the last call, for each forward.
    fn update(&mut self, forwards: &[ForwardView]) -> Vec<u64> {
        let now = Instant::now();
        let seconds = self.at.map_or(0.0, |at| (now - at).as_secs_f64());
        let rates = forwards.iter().map(|forward| {
            let transferred = forward.traffic.sent + forward.traffic.received;
            let key = (forward.env.clone(), forward.guest);
            let before = self
                .transferred
                .insert(key, transferred)
                .unwrap_or(transferred);
            if seconds > 0.0 {
                (transferred.saturating_sub(before) as f64 / seconds) as u64
            } else {
                0
            }
        });
        let rates = rates.collect();
        self.at = Some(now);
        rates
    }
}

/// Renders a table with one row per forward.
pub(crate) fn table(printer: &Printer, forwards: &[ForwardView], rates: &mut Rates) -> String {
    if forwards.is_empty() {
        return "Nothing to forward: none of these envs is running\n".to_owned();
    }
    let head = [
        "PORT", "ENV", "ADDRESS", "OWN PORT", "STATE", "OPEN", "BYTES/S",
    ];
    let mut rows = Vec::new();
    let mut notes = String::new();
    for (forward, rate) in forwards.iter().zip(rates.update(forwards)) {
        rows.push(row(printer, forward, rate));
        if let Some(problem) = &forward.problem {
            notes.push_str(&format!("{}\n", printer.bad(&problem.message)));
            let hint = problem.hint.iter();
            hint.for_each(|hint| notes.push_str(&format!("  {}\n", printer.dim(hint))));
        }
        if forward.reach.is_open() {
            let warning = exposure(printer, forward.reach);
            notes.push_str(&format!("{}{warning}\n", forward.host));
        }
    }
    format!("{}{notes}", render(printer, &head, rows))
}

fn row(printer: &Printer, forward: &ForwardView, rate: u64) -> Vec<String> {
    let state = match (forward.state, forward.focused) {
        (PortState::Forwarded, true) => printer.good("default"),
        (PortState::Forwarded, false) => "by name".to_owned(),
        (PortState::Taken, _) => printer.bad("in use"),
        (PortState::Idle | PortState::Native, _) => "-".to_owned(),
    };
    let rate = or_dash((rate > 0).then(|| size(rate)));
    vec![
        forward.host.to_string(),
        forward.env.env.to_string(),
        forward.url(),
        or_dash(forward.stable),
        state,
        forward.traffic.open.to_string(),
        rate,
    ]
}
