//! `template list`

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::template::{Arch, Origin, TemplateInfo, Templates};
use serde_json::{Value, json};

use super::origin_word;
use crate::context::Context;
use crate::output::Printer;
use crate::table::{or_dash, render};

pub(super) fn run(context: &Context, templates: &Templates) -> Result<()> {
    let all = templates.list()?;
    let rows: Vec<Value> = all.iter().map(to_json).collect();
    let data = json!({ "directory": templates.directory(), "templates": rows });
    context.printer.data(&data, |printer| table(printer, &all));
    Ok(())
}

fn to_json(info: &TemplateInfo) -> Value {
    json!({
        "name": info.name.as_str(),
        "origin": origin_word(info.origin),
        "title": info.title,
        "arches": info.arches.iter().map(Arch::to_string).collect::<Vec<_>>(),
        "path": info.path,
        "problem": info.problem,
    })
}

fn table(printer: &Printer, all: &[TemplateInfo]) -> String {
    let head = ["NAME", "ORIGIN", "ARCHITECTURES", "DESCRIPTION"];
    let row = |info: &TemplateInfo| {
        let arches: Vec<String> = info.arches.iter().map(Arch::to_string).collect();
        let about = match &info.problem {
            Some(problem) => printer.bad(problem),
            None => info.title.clone().unwrap_or_default(),
        };
        vec![
            info.name.to_string(),
            match info.origin {
                Origin::BuiltIn => "built-in",
                Origin::User => "user",
                Origin::Replaced => "user, replaces built-in",
            }
            .to_owned(),
            or_dash((!arches.is_empty()).then(|| arches.join(" "))),
            about,
        ]
    };
    render(printer, &head, all.iter().map(row).collect())
}
