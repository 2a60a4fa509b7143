//! `template list`

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::template::{Arch, Info, Origin, Templates};
use serde_json::{Value, json};

use super::origin_word;
use crate::context::Context;
use crate::output::Printer;
use crate::table::{Cell, render};

pub(super) fn run(context: &Context, templates: &Templates) -> Result<()> {
    let all = templates.list()?;
    let rows: Vec<Value> = all.iter().map(data_of).collect();
    let data = json!({ "directory": templates.directory(), "templates": rows });
    context.printer.data(&data, |printer| table(printer, &all));
    Ok(())
}

fn data_of(info: &Info) -> Value {
    json!({
        "name": info.name.as_str(),
        "origin": origin_word(info.origin),
        "title": info.title,
        "arches": info.arches.iter().map(Arch::to_string).collect::<Vec<_>>(),
        "path": info.path,
        "problem": info.problem,
    })
}

fn table(printer: &Printer, all: &[Info]) -> String {
    let head = ["NAME", "FROM", "ARCHITECTURES", "ABOUT"];
    let mut rows = vec![
        head.iter()
            .map(|word| Cell::styled(printer.dim(word), word))
            .collect::<Vec<_>>(),
    ];
    rows.extend(all.iter().map(|info| {
        let arches: Vec<String> = info.arches.iter().map(Arch::to_string).collect();
        let about = match &info.problem {
            Some(problem) => Cell::styled(printer.bad(problem), problem),
            None => Cell::plain(info.title.clone().unwrap_or_default()),
        };
        vec![
            Cell::plain(info.name.to_string()),
            Cell::plain(match info.origin {
                Origin::BuiltIn => "built in",
                Origin::User => "you",
                Origin::Replaced => "you, in place of the built-in one",
            }),
            Cell::plain(match arches.is_empty() {
                true => "-".to_owned(),
                false => arches.join(" "),
            }),
            about,
        ]
    }));
    render(&rows)
}
