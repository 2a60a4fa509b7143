//! `template validate`

use std::fmt::Write;
use std::path::{Path, PathBuf};

use lxc_dev_manager_core::template::{Level, Problem, Template, TemplateName, Templates, check};
use lxc_dev_manager_core::{Error, Result};
use serde_json::{Value, json};

use super::{has_errors, problem_data, problem_line};
use crate::args::ValidateTemplates;
use crate::context::Context;
use crate::output::Printer;

/// Exit code for invalid templates.
const INVALID_EXIT_CODE: u8 = 1;

/// A template or file with its problems.
struct Checked {
    subject: String,
    problems: Vec<Problem>,
    /// Also validated by `limactl`.
    by_lima: bool,
}

/// Validates templates. `by_lima` gets the stand-alone text of those without errors and returns its messages,
/// or `None` without `limactl`.
pub(super) async fn run(
    context: &Context,
    templates: &Templates,
    args: ValidateTemplates,
    by_lima: impl AsyncFn(&str) -> Result<Option<Vec<String>>>,
) -> Result<u8> {
    let subjects = if args.which.is_empty() {
        names(templates)?
    } else {
        args.which
    };
    let mut all = Vec::new();
    for subject in subjects {
        let template = find(context, templates, &subject);
        all.push(validate(&subject, template, &by_lima).await?);
    }
    let rows: Vec<Value> = all.iter().map(to_json).collect();
    context
        .printer
        .data(&json!({ "templates": rows }), |printer| {
            all.iter().map(|one| text(printer, one)).collect()
        });
    let has_invalid = all.iter().any(|one| has_errors(&one.problems));
    Ok(if has_invalid { INVALID_EXIT_CODE } else { 0 })
}

fn names(templates: &Templates) -> Result<Vec<PathBuf>> {
    let all = templates.list()?;
    let names = all.iter().map(|info| info.name.as_str().into());
    Ok(names.collect())
}

/// Finds a template by name or file.
fn find(context: &Context, templates: &Templates, which: &Path) -> Result<Template> {
    let text = which.to_string_lossy();
    let is_file = text.contains('/') || text.ends_with(".yaml") || text.ends_with(".yml");
    if is_file {
        Template::read(&context.directory().join(which))
    } else {
        templates.get(&text.parse::<TemplateName>()?)
    }
}

async fn validate(
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
            one.problems.push(problem_from(&error));
            return Ok(one);
        }
    };
    one.problems = check(&template.text);
    if has_errors(&one.problems) {
        return Ok(one);
    }
    match template.standalone_yaml() {
        Err(error) => one.problems.push(problem_from(&error)),
        Ok(yaml) => {
            let messages = by_lima(&yaml).await?;
            one.by_lima = messages.is_some();
            let messages = messages.into_iter().flatten();
            one.problems.extend(messages.map(|message| error(&message)));
        }
    }
    Ok(one)
}

fn problem_from(failed: &Error) -> Problem {
    let mut message = failed.report().message;
    if let Some(hint) = failed.hint() {
        // One line per problem, so the hint is part of it.
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

fn to_json(one: &Checked) -> Value {
    json!({
        "template": one.subject,
        "valid": !has_errors(&one.problems),
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
    async fn lima_validates_the_standalone_yaml() {
        let which = Path::new("debian-12");
        let by_lima = async |text: &str| {
            assert!(text.contains("portForwards"), "{text}");
            Ok(Some(vec!["field `x` must be set".to_owned()]))
        };
        let one = validate(which, Ok(built_in()), &by_lima).await.unwrap();
        assert!(one.by_lima && has_errors(&one.problems));
        let by_lima = async |_: &str| Ok(Some(Vec::new()));
        let one = validate(which, Ok(built_in()), &by_lima).await.unwrap();
        assert!(one.by_lima && one.problems.is_empty());
    }

    #[tokio::test]
    async fn invalid_templates_are_not_passed_to_lima() {
        let which = Path::new("x.yaml");
        let never = async |_: &str| unreachable!();
        let broken = Template {
            text: "images: []".to_owned(),
            ..built_in()
        };
        let missing = Err(Error::new(ErrorKind::NotFound, "no file x.yaml").with_hint("y"));
        for (template, words) in [(Ok(broken), "no image"), (missing, "x.yaml (y)")] {
            let one = validate(which, template, &never).await.unwrap();
            assert!(one.problems[0].message.contains(words), "{words}");
        }
    }
}
