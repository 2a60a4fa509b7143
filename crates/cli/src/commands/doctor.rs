//! `doctor`

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::backend::{Finding, Level};
use serde_json::json;

use crate::context::Context;
use crate::output::Printer;
use crate::progress;

/// Exit code for problems that keep envs from working.
const PROBLEM_EXIT_CODE: u8 = 3;

pub(crate) async fn run(context: &Context) -> Result<u8> {
    let findings = progress::show(context, context.operations.doctor()).await?;
    let worst = findings.iter().map(|finding| finding.level).max();
    let data = json!({ "findings": findings });
    context
        .printer
        .data(&data, |printer| text(printer, &findings));
    Ok(match worst {
        Some(Level::Bad) => PROBLEM_EXIT_CODE,
        _ => 0,
    })
}

fn text(printer: &Printer, findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.level {
            Level::Good => printer.good("ok     "),
            Level::Warning => printer.warning("warning"),
            Level::Bad => printer.bad("error  "),
        };
        let subject = printer.bold(&finding.subject);
        text.push_str(&format!("{mark}  {subject}: {}\n", finding.message));
        if let Some(hint) = &finding.hint {
            text.push_str(&format!("         {} {hint}\n", printer.dim("→")));
        }
    }
    text
}
