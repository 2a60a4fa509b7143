//! `template validate`

use std::fmt::Write;
use std::path::{Path, PathBuf};

use lxc_dev_manager_core::template::{Level, Problem, Template, TemplateName, Templates, check};
use lxc_dev_manager_core::{Error, Result};
use serde_json::{Value, json};

use super::{is_bad, problem_data, problem_line};
use crate::args::ValidateTemplates;
use crate::context::Context;
use crate::output::Printer;

/// Exit code where one can't be used.
const BAD: u8 = 1;

/// One template or file, and what is wrong with it.
struct Checked {
    subject: String,
    problems: Vec<Problem>,
    /// Whether Lima itself has looked at it.
    by_lima: bool,
}

/// Checks each; `by_lima` is asked about the stand-alone text of those that we have nothing against. It
/// answers `None` where there is no `limactl`, else what that has to say, which is nothing for a good one.
pub(super) async fn run(
    context: &Context,
    templates: &Templates,
    args: ValidateTemplates,
    by_lima: impl AsyncFn(&str) -> Result<Option<Vec<String>>>,
) -> Result<u8> {
    let which = match args.which.is_empty() {
        true => names(templates)?,
        false => args.which,
    };
    let mut all = Vec::new();
    for one in which {
        let template = find(context, templates, &one);
        all.push(checked(&one, template, &by_lima).await?);
    }
    let rows: Vec<Value> = all.iter().map(data_of).collect();
    context
        .printer
        .data(&json!({ "templates": rows }), |printer| {
            all.iter().map(|one| text(printer, one)).collect()
        });
    let is_wrong = all.iter().any(|one| is_bad(&one.problems));
    Ok(if is_wrong { BAD } else { 0 })
}

fn names(templates: &Templates) -> Result<Vec<PathBuf>> {
    let all = templates.list()?;
    let names = all.iter().map(|info| info.name.as_str().into());
    Ok(names.collect())
}

/// A template by its name, or a file.
fn find(context: &Context, templates: &Templates, which: &Path) -> Result<Template> {
    let text = which.to_string_lossy();
    let is_file = text.contains('/') || text.ends_with(".yaml") || text.ends_with(".yml");
    match is_file {
        true => Template::read(&context.directory().join(which)),
        false => templates.get(&text.parse::<TemplateName>()?),
    }
}

async fn checked(
    which: &Path,
    template: Result<Template>,
    by_lima: &impl AsyncFn(&str) -> Result<Option<Vec<String>>>,
) -> Result<Checked> {
    let mut one = Checked {
        subject: which.display().to_string(),
        problems: Vec::new(),
        by_lima: false,
    };
    let template = match template {
        Ok(template) => template,
        Err(error) => {
            one.problems.push(of_error(&error));
            return Ok(one);
        }
    };
    one.problems = check(&template.text);
    if is_bad(&one.problems) {
        return Ok(one);
    }
    match template.stand_alone() {
        Err(error) => one.problems.push(of_error(&error)),
        Ok(whole) => {
            let said = by_lima(&whole).await?;
            one.by_lima = said.is_some();
            let said = said.into_iter().flatten();
            one.problems.extend(said.map(|message| error(&message)));
        }
    }
    Ok(one)
}

fn of_error(failed: &Error) -> Problem {
    let mut message = failed.report().message;
    if let Some(hint) = failed.hint() {
        // One line a problem: the hint goes with it.
        let _ = write!(message, " ({hint})");
    }
    error(&message)
}

fn error(message: &str) -> Problem {
    Problem {
        line: None,
        level: Level::Error,
        message: message.to_owned(),
    }
}

fn data_of(one: &Checked) -> Value {
    json!({
        "template": one.subject,
        "valid": !is_bad(&one.problems),
        "by_lima": one.by_lima,
        "problems": one.problems.iter().map(problem_data).collect::<Vec<_>>(),
    })
}

fn text(printer: &Printer, one: &Checked) -> String {
    if one.problems.is_empty() {
        return format!("{}: {}\n", one.subject, printer.good("ok"));
    }
    let lines = one.problems.iter().map(|problem| {
        let line = problem_line(&one.subject, problem);
        match problem.level {
            Level::Warning => printer.warning(&line),
            Level::Error => printer.bad(&line),
        }
    });
    lines.map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use lxc_dev_manager_core::ErrorKind;

    use super::*;

    fn built_in() -> Template {
        Templates::built_in(&"debian-12".parse().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn lima_is_asked_about_the_whole_and_its_word_counts() {
        let which = Path::new("debian-12");
        let by_lima = async |text: &str| {
            assert!(text.contains("portForwards"), "{text}");
            Ok(Some(vec!["field `x` must be set".to_owned()]))
        };
        let one = checked(which, Ok(built_in()), &by_lima).await.unwrap();
        assert!(one.by_lima && is_bad(&one.problems));
        let by_lima = async |_: &str| Ok(Some(Vec::new()));
        let one = checked(which, Ok(built_in()), &by_lima).await.unwrap();
        assert!(one.by_lima && one.problems.is_empty());
    }

    #[tokio::test]
    async fn lima_is_not_asked_about_what_is_wrong_already() {
        let which = Path::new("x.yaml");
        let never = async |_: &str| unreachable!();
        let broken = Template {
            text: "images: []".to_owned(),
            ..built_in()
        };
        let missing = Err(Error::new(ErrorKind::NotFound, "there is no x.yaml").with_hint("y"));
        for (template, words) in [(Ok(broken), "no image"), (missing, "x.yaml (y)")] {
            let one = checked(which, template, &never).await.unwrap();
            assert!(one.problems[0].message.contains(words), "{words}");
        }
    }
}
