//! Forwards in words: lines and a table.

use std::collections::HashMap;

use lxc_dev_manager_core::model::{GuestPort, PortState, Reach};
use lxc_dev_manager_core::view::{EnvRef, ForwardView};
use tokio::time::Instant;

use crate::output::Printer;
use crate::table::{Cell, render};
use crate::words::size;

/// A forward in a line.
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
        return format!("{target} isn't forwarded");
    }
    let focus = printer.bold(&forward.shared_url());
    let own = forward.url();
    let open = wider(printer, forward.reach);
    let stable = forward.stable.map(|port| format!("port {port}"));
    let other = |also: Option<String>| {
        let ways: Vec<String> = also.into_iter().chain(stable.clone()).collect();
        match ways.as_slice() {
            [] => String::new(),
            ways => format!("   also {}", ways.join(" and ")),
        }
    };
    match forward.focused {
        true => format!("{focus} → {target}{open}{}", other(Some(own))),
        false => format!("{} → {target}{open}{}", printer.bold(&own), other(None)),
    }
}

/// A warning for what is reached from elsewhere.
fn wider(printer: &Printer, reach: Reach) -> String {
    match reach {
        _ if !reach.is_open() => String::new(),
        Reach::Address(address) => printer.bad(&format!(" OPEN on {address}")),
        _ => printer.bad(" OPEN to the network"),
    }
}

/// What passed a moment ago, to tell how much passes.
#[derive(Default)]
pub(crate) struct Rates {
    at: Option<Instant>,
    passed: HashMap<(EnvRef, GuestPort), u64>,
}

impl Rates {
    /// Bytes a second since the last time, for each forward.
    fn of(&mut self, forwards: &[ForwardView]) -> Vec<u64> {
        let now = Instant::now();
        let seconds = self.at.map_or(0.0, |at| (now - at).as_secs_f64());
        let rates = forwards.iter().map(|forward| {
            let passed = forward.traffic.sent + forward.traffic.received;
            let key = (forward.env.clone(), forward.guest);
            let before = self.passed.insert(key, passed).unwrap_or(passed);
            // Bytes of a second fit by far.
            match seconds > 0.0 {
                true => (passed.saturating_sub(before) as f64 / seconds) as u64,
                false => 0,
            }
        });
        let rates = rates.collect();
        self.at = Some(now);
        rates
    }
}

/// Forwards, one a row.
pub(crate) fn table(printer: &Printer, forwards: &[ForwardView], rates: &mut Rates) -> String {
    if forwards.is_empty() {
        return "Nothing to forward: no env of these runs\n".to_owned();
    }
    let head = [
        "PORT", "ENV", "ADDRESS", "OWN PORT", "STATE", "OPEN", "BYTES/S",
    ];
    let styled = |word: &&str| Cell::styled(printer.dim(word), word);
    let mut rows: Vec<Vec<Cell>> = vec![head.iter().map(styled).collect()];
    let mut notes = String::new();
    for (forward, rate) in forwards.iter().zip(rates.of(forwards)) {
        rows.push(row(printer, forward, rate));
        if let Some(problem) = &forward.problem {
            notes.push_str(&format!("{}\n", printer.bad(&problem.message)));
            let hint = problem.hint.iter();
            hint.for_each(|hint| notes.push_str(&format!("  {}\n", printer.dim(hint))));
        }
        if forward.reach.is_open() {
            let place = wider(printer, forward.reach);
            notes.push_str(&format!("{}{place}\n", forward.host));
        }
    }
    format!("{}{notes}", render(&rows))
}

fn row(printer: &Printer, forward: &ForwardView, rate: u64) -> Vec<Cell> {
    let state = match (forward.state, forward.focused) {
        (PortState::Forwarded, true) => Cell::styled(printer.good("focused"), "focused"),
        (PortState::Forwarded, false) => Cell::plain("by name"),
        (PortState::Taken, _) => Cell::styled(printer.bad("taken"), "taken"),
        (PortState::Idle | PortState::Native, _) => Cell::plain("-"),
    };
    let rate = match rate {
        0 => "-".to_owned(),
        rate => size(rate),
    };
    vec![
        Cell::plain(forward.host.to_string()),
        Cell::plain(forward.env.env.to_string()),
        Cell::plain(forward.url()),
        Cell::plain(
            forward
                .stable
                .map_or("-".to_owned(), |port| port.to_string()),
        ),
        state,
        Cell::plain(forward.traffic.open.to_string()),
        Cell::plain(rate),
    ]
}
