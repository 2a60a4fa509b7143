//! `template edit`

use std::path::{Path, PathBuf};

use lxc_dev_manager_core::template::{Level, Problem, Template, TemplateName, Templates, check};
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::signal::unix::{SignalKind, signal};

use super::{print_problems, problem_data};
use crate::confirm;
use crate::context::Context;
use crate::editor;

/// Edits a copy, so that nothing ever reads an incomplete template.
pub(super) async fn run(
    context: &Context,
    templates: &Templates,
    name: &TemplateName,
) -> Result<()> {
    let failed = |error: Error| error.context(format!("cannot edit template `{name}`"));
    let before = templates.get(name).map_err(failed)?;
    let copy = Copy::create(context, &before).map_err(failed)?;
    let result = match edit(context, &before, &copy).await {
        Ok(Some(text)) => save(templates, &before, &text).map(|()| check(&text)),
        Ok(None) => return unchanged(context, name),
        Err(error) => Err(error),
    };
    match result {
        Ok(warnings) => {
            saved(context, name, &templates.path(name), &warnings);
            Ok(())
        }
        Err(error) => Err(failed(copy.keep_on_error(&before, error))),
    }
}

/// Runs the editor until the text is valid. Returns `None` if it is unchanged.
async fn edit(context: &Context, before: &Template, copy: &Copy) -> Result<Option<String>> {
    loop {
        editor::edit(copy.path()).await?;
        let text = copy.text()?;
        if text == before.text {
            return Ok(None);
        }
        let problems = check(&text);
        print_problems(context, &before.name, &problems);
        let first_error = problems
            .iter()
            .find(|problem| problem.level == Level::Error);
        let Some(first_error) = first_error else {
            return Ok(Some(text));
        };
        let message = format!("invalid template: {first_error}");
        let invalid = Error::new(ErrorKind::Config, message);
        if !confirm::can_ask() || !ask_again().await {
            return Err(invalid);
        }
    }
}

/// Asks whether to edit again. Ctrl+C, which no longer ends this process after the editor ran, means no.
async fn ask_again() -> bool {
    // Subscribe before asking, so that no signal is lost.
    let Ok(mut interrupted) = signal(SignalKind::interrupt()) else {
        return false;
    };
    let asked =
        tokio::task::spawn_blocking(|| confirm::ask("The template is invalid.", "Edit again?"));
    tokio::select! {
        asked = asked => asked.is_ok_and(|answer| answer.is_ok()),
        _ = interrupted.recv() => false,
    }
}

fn save(templates: &Templates, before: &Template, text: &str) -> Result<()> {
    let current = templates.get(&before.name);
    if !current.is_ok_and(|current| current == *before) {
        let message = "the template was changed by another process";
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    templates.write(&before.name, text)
}

fn unchanged(context: &Context, name: &TemplateName) -> Result<()> {
    let data = json!({ "template": name.as_str(), "changed": false });
    context
        .printer
        .done(&data, |_| format!("Template {name} is unchanged"));
    Ok(())
}

fn saved(context: &Context, name: &TemplateName, path: &Path, warnings: &[Problem]) {
    let data = json!({
        "template": name.as_str(),
        "changed": true,
        "path": path,
        "problems": warnings.iter().map(problem_data).collect::<Vec<_>>(),
    });
    context.printer.done(&data, |printer| {
        let name = printer.bold(name.as_str());
        format!("Wrote template {name}: {}", path.display())
    });
}

/// Temporary copy, deleted on drop unless kept.
struct Copy(NamedTempFile);

impl Copy {
    /// Creates the copy next to the templates: private, and not in a directory that the system clears.
    fn create(context: &Context, template: &Template) -> Result<Self> {
        use std::io::Write;
        let directory = context.operations.home().directory("templates")?;
        let failed = |error| Error::io(format!("cannot write to {}", directory.display()), error);
        // Templates do not start with a dot.
        let mut file = tempfile::Builder::new()
            .prefix(&format!(".{}-", template.name))
            .suffix(".yaml")
            .tempfile_in(&directory)
            .map_err(failed)?;
        file.write_all(template.text.as_bytes()).map_err(failed)?;
        Ok(Self(file))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Reads by path, because many editors replace the file.
    fn text(&self) -> Result<String> {
        std::fs::read_to_string(self.path())
            .map_err(|error| Error::io("cannot read the edited template", error))
    }

    /// Keeps a changed copy and names its path in the hint.
    fn keep_on_error(self, before: &Template, error: Error) -> Error {
        let text = std::fs::read(self.path());
        if text.is_ok_and(|text| text == before.text.as_bytes()) {
            return error;
        }
        match self.keep() {
            Some(path) => error.with_hint(format!("your changes are in {}", path.display())),
            None => error,
        }
    }

    fn keep(self) -> Option<PathBuf> {
        let (_, path) = self.0.keep().ok()?;
        path.exists().then_some(path)
    }
}
