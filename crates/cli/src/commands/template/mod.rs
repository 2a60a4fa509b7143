//! `template`

mod edit;
mod export;
mod list;
mod validate;

use lxc_dev_manager_core::template::{Level, Origin, Problem, TemplateName, Templates};
use lxc_dev_manager_core::{Error, Result};
use serde_json::{Value, json};

use crate::args::{DeleteTemplate, NewTemplate, OneTemplate, TemplateCommand};
use crate::confirm;
use crate::context::Context;

/// Default source of new templates.
const DEFAULT_SOURCE: &str = "ubuntu-24.04";

pub(crate) async fn run(context: &Context, command: TemplateCommand) -> Result<u8> {
    let templates = Templates::new(context.operations.home().templates_directory());
    match command {
        TemplateCommand::List => list::run(context, &templates)?,
        TemplateCommand::Show(args) => show(context, &templates, &args)?,
        TemplateCommand::New(args) => new(context, &templates, &args)?,
        TemplateCommand::Edit(args) => edit::run(context, &templates, &args.name).await?,
        TemplateCommand::Delete(args) => delete(context, &templates, &args)?,
        TemplateCommand::Validate(args) => {
            let lima = Context::lima();
            let by_lima = async |yaml: &str| match &lima {
                Some(lima) => lima.validate(yaml).await,
                None => Ok(None),
            };
            return validate::run(context, &templates, args, by_lima).await;
        }
        TemplateCommand::Export(args) => export::run(context, &templates, &args)?,
    }
    Ok(0)
}

fn show(context: &Context, templates: &Templates, args: &OneTemplate) -> Result<()> {
    let template = templates.get(&args.name)?;
    let path = match template.origin {
        Origin::BuiltIn => None,
        Origin::User | Origin::Replaced => Some(templates.path(&args.name)),
    };
    let data = json!({
        "template": args.name.as_str(),
        "origin": origin_word(template.origin),
        "path": path,
        "text": template.text,
    });
    context.printer.data(&data, |_| template.text.clone());
    Ok(())
}

fn new(context: &Context, templates: &Templates, args: &NewTemplate) -> Result<()> {
    let name = &args.name;
    let failed = |error: Error| error.context(format!("cannot create template `{name}`"));
    let default_source = || match Templates::built_in(name) {
        Some(template) => Ok(template.name),
        None => DEFAULT_SOURCE.parse(),
    };
    let from = args.from.clone().map_or_else(default_source, Ok)?;
    let path = templates.create(name, &from).map_err(failed)?;
    let data = json!({ "template": name.as_str(), "from": from.as_str(), "path": path });
    context.printer.done(&data, |printer| {
        format!(
            "Created template {} from {from}: {}\n{}",
            printer.bold(name.as_str()),
            path.display(),
            printer.dim(&format!(
                "edit: lxc-dev-manager template edit {name}; \
                 use: lxc-dev-manager container create ENV {name}"
            ))
        )
    });
    Ok(())
}

fn delete(context: &Context, templates: &Templates, args: &DeleteTemplate) -> Result<()> {
    let name = &args.name;
    let failed = |error: Error| error.context(format!("cannot delete template `{name}`"));
    let path = templates.path(name);
    // Missing and built-in templates are rejected below without a question.
    if !args.force && path.symlink_metadata().is_ok() {
        let losses = format!(
            "Template `{name}` is deleted permanently: {}. Envs created from it are not affected.",
            path.display()
        );
        confirm::ask(&losses, "Delete?")?;
    }
    let restores_built_in = templates.delete(name).map_err(failed)?;
    let data =
        json!({ "template": name.as_str(), "path": path, "built_in_again": restores_built_in });
    context.printer.done(&data, |_| {
        if restores_built_in {
            format!("Deleted template {name}; the built-in template is used again")
        } else {
            format!("Deleted template {name}")
        }
    });
    Ok(())
}

/// The origin in JSON.
fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::BuiltIn => "built-in",
        Origin::User => "user",
        Origin::Replaced => "replaced",
    }
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

fn problem_data(problem: &Problem) -> Value {
    json!({
        "line": problem.line,
        "level": level_word(problem.level),
        "message": problem.message,
    })
}

/// Formats a problem like a compiler message.
fn problem_line(subject: &str, problem: &Problem) -> String {
    let line = problem.line.map(|line| format!(":{line}"));
    let level = level_word(problem.level);
    format!(
        "{subject}{}: {level}: {}",
        line.unwrap_or_default(),
        problem.message
    )
}

fn has_errors(problems: &[Problem]) -> bool {
    let mut levels = problems.iter().map(|problem| problem.level);
    levels.any(|level| level == Level::Error)
}

/// Prints problems to stderr.
fn print_problems(context: &Context, name: &TemplateName, problems: &[Problem]) {
    for problem in problems {
        context
            .printer
            .status(&problem_line(name.as_str(), problem));
    }
}
