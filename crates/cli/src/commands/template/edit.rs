//! `template edit`

use std::path::{Path, PathBuf};

use lxc_dev_manager_core::template::{Level, Problem, Template, TemplateName, Templates, check};
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::signal::unix::{SignalKind, signal};

use super::{problem_data, tell};
use crate::confirm;
use crate::context::Context;
use crate::editor;

/// A copy is edited, so that no one ever meets a template that is half written.
pub(super) async fn run(
    context: &Context,
    templates: &Templates,
    name: &TemplateName,
) -> Result<()> {
    let failed = |error: Error| error.context(format!("cannot edit template `{name}`"));
    let before = templates.get(name).map_err(failed)?;
    let copy = Copy::of(context, &before).map_err(failed)?;
    let written = match write(context, &before, &copy).await {
        Ok(Some(text)) => save(templates, &before, &text).map(|()| check(&text)),
        Ok(None) => return unchanged(context, name),
        Err(error) => Err(error),
    };
    match written {
        Ok(warnings) => {
            saved(context, name, &templates.path(name), &warnings);
            Ok(())
        }
        Err(error) => Err(failed(copy.kept(&before, error))),
    }
}

/// What the user has written, once it can be used; `None` where that is what was there before.
async fn write(context: &Context, before: &Template, copy: &Copy) -> Result<Option<String>> {
    loop {
        editor::edit(copy.path()).await?;
        let text = copy.text()?;
        if text == before.text {
            return Ok(None);
        }
        let problems = check(&text);
        tell(context, &before.name, &problems);
        let bad = problems
            .iter()
            .find(|problem| problem.level == Level::Error);
        let Some(bad) = bad else {
            return Ok(Some(text));
        };
        let message = format!("what was written can't be used: {bad}");
        let refused = Error::new(ErrorKind::Config, message);
        if !confirm::can_ask() || !again().await {
            return Err(refused);
        }
    }
}

/// Asks in a thread of its own: Ctrl+C, which the editor has made ours, is a no.
async fn again() -> bool {
    // From before the question on, or one in between would be lost.
    let Ok(mut interrupted) = signal(SignalKind::interrupt()) else {
        return false;
    };
    let asked = tokio::task::spawn_blocking(|| {
        confirm::ask("That can't be used as it is.", "Edit it again?")
    });
    tokio::select! {
        asked = asked => asked.is_ok_and(|answer| answer.is_ok()),
        _ = interrupted.recv() => false,
    }
}

fn save(templates: &Templates, before: &Template, text: &str) -> Result<()> {
    let now = templates.get(&before.name);
    if !now.is_ok_and(|now| now == *before) {
        let message = "somebody else has changed it meanwhile";
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    templates.write(&before.name, text)
}

fn unchanged(context: &Context, name: &TemplateName) -> Result<()> {
    let data = json!({ "template": name.as_str(), "changed": false });
    context
        .printer
        .done(&data, |_| format!("Template {name} is as it was"));
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

/// What is edited. It goes with this value, unless it is kept.
struct Copy(NamedTempFile);

impl Copy {
    /// Beside the templates: private, and no directory that the system clears.
    fn of(context: &Context, template: &Template) -> Result<Self> {
        use std::io::Write;
        let directory = context.operations.home().directory("templates")?;
        let failed = |error| Error::io(format!("cannot write in {}", directory.display()), error);
        // A dot in front of it, so that it isn't a template itself.
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

    /// By its path, for many editors put a new file in its place.
    fn text(&self) -> Result<String> {
        std::fs::read_to_string(self.path())
            .map_err(|error| Error::io("what was written can't be read", error))
    }

    /// The error, with the place of what was written where that isn't what was there before.
    fn kept(self, before: &Template, error: Error) -> Error {
        let written = std::fs::read(self.path());
        if written.is_ok_and(|written| written == before.text.as_bytes()) {
            return error;
        }
        match self.keep() {
            Some(path) => error.with_hint(format!("what you wrote is in {}", path.display())),
            None => error,
        }
    }

    fn keep(self) -> Option<PathBuf> {
        let (_, path) = self.0.keep().ok()?;
        path.exists().then_some(path)
    }
}
