//! The rows as tables: on a terminal, and in the docs.

use crate::row::{Part, Row, Verdict};

/// For people at a terminal; what was missed comes first.
pub fn plain(rows: &[Row]) -> String {
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by_key(|row| match row.verdict {
        Verdict::Missed => 0,
        Verdict::Unmeasured => 1,
        Verdict::Reached => 2,
        Verdict::Open => 3,
    });
    let mut lines =
        vec![["", "engine", "what", "ours", "peer", "ours/peer", "wanted"].map(str::to_owned)];
    lines.extend(sorted.iter().map(|row| {
        [
            row.verdict.word().to_owned(),
            row.engine.clone(),
            row.what.replace('`', ""),
            row.ours.clone(),
            row.peer.clone(),
            row.compared.clone(),
            row.wanted.clone(),
        ]
    }));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..7).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    for row in sorted {
        if let Some(note) = &row.note {
            let what = row.what.replace('`', "");
            text.push_str(&format!("\n{} {what}: {note}\n", row.engine));
        }
    }
    text
}

/// For the docs, in the order in which it was measured.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::new();
    let has = |part: Part| rows.iter().any(|row| row.part == part);
    for (head, part) in [("Command line", Part::Commands), ("Ports", Part::Ports)] {
        if !has(part) {
            continue;
        }
        text.push_str(&format!("\n## {head}\n\n"));
        against_peers(&mut text, rows.iter().filter(|row| row.part == part));
    }
    let memory = "Memory of the app\n\nPSS of all its processes, and how many they are.";
    for (head, first, part) in [
        (memory, ["state", "PSS"], Part::Memory),
        (
            "The app\n\nHow quick and how large it is.",
            ["what", "value"],
            Part::App,
        ),
    ] {
        if !has(part) {
            continue;
        }
        text.push_str(&format!("\n## {} There is no peer.\n\n", head));
        table(
            &mut text,
            &[first[0], first[1], "wanted", ""],
            rows.iter().filter(|row| row.part == part),
            |row| vec![&row.what, &row.ours, &row.wanted],
        );
    }
    text
}

fn against_peers<'a>(text: &mut String, rows: impl Iterator<Item = &'a Row>) {
    table(
        text,
        &[
            "what",
            "engine",
            "ours",
            "peer",
            "ours / peer",
            "wanted",
            "",
        ],
        rows,
        |row| {
            vec![
                &row.what,
                &row.engine,
                &row.ours,
                &row.peer,
                &row.compared,
                &row.wanted,
            ]
        },
    );
}

fn table<'a>(
    text: &mut String,
    head: &[&str],
    rows: impl Iterator<Item = &'a Row>,
    cells: impl Fn(&'a Row) -> Vec<&'a String>,
) {
    text.push_str(&format!("| {} |\n", head.join(" | ")));
    text.push_str(&format!("|{}\n", "---|".repeat(head.len())));
    let mut notes = Vec::new();
    for row in rows {
        let mut line: Vec<&str> = cells(row).into_iter().map(String::as_str).collect();
        line.push(row.verdict.word());
        text.push_str(&format!("| {} |\n", line.join(" | ")));
        notes.extend(row.note.as_ref().map(|note| (&row.what, &row.engine, note)));
    }
    for (what, engine, note) in notes {
        text.push_str(&format!("\n{what}, {engine}: {note}.\n"));
    }
}
