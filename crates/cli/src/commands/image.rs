//! `image`

use std::io;
use std::path::Path;

use lxc_dev_manager_core::backend::{Progress, StoredImage};
use lxc_dev_manager_core::event::EventKind;
use lxc_dev_manager_core::operations::ImageStore;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use crate::args::{CreateImage, DeleteImage, ExportImage, ImageCommand, ImportImage, ListImages};
use crate::args::{OneImage, RenameImage};
use crate::confirm;
use crate::context::Context;
use crate::output::Printer;
use crate::progress;
use crate::table::{Cell, render};
use crate::words::{local_time, size};

/// What stands for a file that is our own stream.
const STREAM: &str = "-";

pub(crate) async fn run(context: &Context, command: ImageCommand) -> Result<()> {
    match command {
        ImageCommand::Create(args) => create(context, args).await,
        ImageCommand::List(args) => list(context, args).await,
        ImageCommand::Info(args) => info(context, args).await,
        ImageCommand::Delete(args) => delete(context, args).await,
        ImageCommand::Rename(args) => rename(context, args).await,
        ImageCommand::Export(args) => export(context, args).await,
        ImageCommand::Import(args) => import(context, args).await,
    }
}

async fn store(context: &Context) -> Result<ImageStore> {
    let project = context.project_if_any()?;
    context.operations.image_store(project.as_ref()).await
}

async fn create(context: &Context, args: CreateImage) -> Result<()> {
    let project = context.project()?;
    let cancel = context.cancelled_by_interrupt();
    let made = context
        .operations
        .publish(&project, &args.env, &args.image, &cancel);
    let made = progress::show(context, made).await?;
    let data = json!({
        "env": args.env,
        "image": args.image,
        "fingerprint": made.fingerprint,
        "engine": made.engine,
        "status": if made.running { "running" } else { "stopped" },
    });
    context.printer.done(&data, |printer| {
        format!(
            "Made image {} of {}\n{}",
            printer.bold(args.image.as_str()),
            args.env,
            printer.dim(&format!(
                "use it: lxc-dev-manager container create NAME {}",
                args.image
            ))
        )
    });
    Ok(())
}

pub(crate) async fn list(context: &Context, args: ListImages) -> Result<()> {
    let store = store(context).await?;
    let mut images = store.list().await?;
    images.retain(|image| args.all || !image.aliases.is_empty());
    let rows: Vec<Value> = images.iter().map(data_of).collect();
    let data = json!({ "engine": store.engine(), "images": rows });
    context
        .printer
        .data(&data, |printer| table(printer, &images));
    Ok(())
}

fn data_of(image: &StoredImage) -> Value {
    json!({
        "fingerprint": image.fingerprint,
        "aliases": image.aliases,
        "description": image.description,
        "architecture": image.architecture,
        "size": image.size,
        "created_at": image.created_at,
        "cached": image.cached,
    })
}

fn table(printer: &Printer, images: &[StoredImage]) -> String {
    if images.is_empty() {
        return "No images with a name; all: lxc-dev-manager image list -a\n".to_owned();
    }
    let head = ["ALIAS", "FINGERPRINT", "SIZE", "CREATED", "DESCRIPTION"];
    let mut rows = vec![
        head.iter()
            .map(|word| Cell::styled(printer.dim(word), word))
            .collect::<Vec<_>>(),
    ];
    rows.extend(images.iter().map(|image| {
        vec![
            Cell::plain(match image.aliases.is_empty() {
                true => "-".to_owned(),
                false => image.aliases.join(","),
            }),
            Cell::plain(image.fingerprint.short()),
            Cell::plain(size(image.size)),
            Cell::plain(image.created_at.map_or("-".to_owned(), local_time)),
            Cell::plain(image.description.clone()),
        ]
    }));
    render(&rows)
}

async fn info(context: &Context, args: OneImage) -> Result<()> {
    let store = store(context).await?;
    let image = store.find(&args.name).await?;
    let users = store.users(&image).await?;
    let mut data = data_of(&image);
    data["engine"] = json!(store.engine());
    data["used_by"] = json!(users);
    context.printer.data(&data, |printer| {
        let users: Vec<String> = users.iter().map(ToString::to_string).collect();
        let lines = [
            ("Names", image.aliases.join(", ")),
            ("Fingerprint", image.fingerprint.to_string()),
            ("Description", image.description.clone()),
            ("Architecture", image.architecture.clone()),
            ("Size", size(image.size)),
            (
                "Created",
                image.created_at.map_or_else(String::new, local_time),
            ),
            ("Engine", store.engine().to_string()),
            ("Made from it", users.join(", ")),
        ];
        crate::table::fields(printer, &lines)
    });
    Ok(())
}

async fn delete(context: &Context, args: DeleteImage) -> Result<()> {
    let failed = |error: Error| error.context(format!("cannot delete image `{}`", args.name));
    let store = store(context).await.map_err(failed)?;
    let image = store.find(&args.name).await.map_err(failed)?;
    let users = store.users(&image).await.map_err(failed)?;
    let others = image
        .aliases
        .iter()
        .filter(|alias| *alias != args.name.as_str());
    let others: Vec<String> = others.map(|alias| format!("`{alias}`")).collect();
    if !args.force {
        let mut goes = format!("Image `{}` goes for good, {}.", args.name, size(image.size));
        if !others.is_empty() {
            goes.push_str(&format!(" It is also called {}.", others.join(", ")));
        }
        if !users.is_empty() {
            let made: Vec<String> = users.iter().map(|user| format!("`{user}`")).collect();
            let made = made.join(", ");
            goes.push_str(&format!(" {made} were made from it, and stay as they are."));
        }
        confirm::ask(&goes, "Delete it?")?;
    }
    store.delete(&image).await.map_err(failed)?;
    let data = json!({ "image": args.name, "fingerprint": image.fingerprint, "used_by": users });
    context.printer.done(&data, |_| match others.is_empty() {
        true => format!("Deleted image {}", args.name),
        false => format!(
            "Deleted image {}, also called {}",
            args.name,
            others.join(", ")
        ),
    });
    Ok(())
}

async fn rename(context: &Context, args: RenameImage) -> Result<()> {
    let RenameImage { old, new } = args;
    let failed = |error: Error| error.context(format!("cannot rename image `{old}` to `{new}`"));
    let store = store(context).await.map_err(failed)?;
    store.rename(&old, &new).await.map_err(failed)?;
    let data = json!({ "image": new, "before": old });
    context
        .printer
        .done(&data, |_| format!("Image {old} is called {new} now"));
    Ok(())
}

/// Hands the steps of an engine to what shows them.
fn reporter(context: &Context) -> Progress {
    let engine = context.operations.clone();
    Progress::new(move |step| engine.bus().publish(EventKind::Step(step)))
}

async fn export(context: &Context, args: ExportImage) -> Result<()> {
    let failed = |error: Error| error.context(format!("cannot export image `{}`", args.name));
    let store = store(context).await.map_err(failed)?;
    let image = store.find(&args.name).await.map_err(failed)?;
    let progress = reporter(context);
    if args.file.as_os_str() == STREAM {
        let mut out = tokio::io::stdout();
        let written = store.export(&image, &mut out, &progress);
        return progress::show(context, written).await.map_err(failed);
    }
    let path = &context.directory().join(&args.file);
    if path.exists() && !args.force {
        let message = format!("{} is there already", path.display());
        return Err(failed(
            Error::new(ErrorKind::AlreadyExists, message).with_hint("replace it with `-f`"),
        ));
    }
    let cancel = context.cancelled_by_interrupt();
    let written = async {
        tokio::select! {
            written = write_whole(&store, &image, path, &progress) => written,
            // What was written so far goes with its temporary file.
            () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "stopped by the user")),
        }
    };
    let bytes = progress::show(context, written).await.map_err(failed)?;
    let data = json!({ "image": args.name, "file": path, "size": bytes });
    context.printer.done(&data, |printer| {
        let take = format!(
            "take it in: lxc-dev-manager image import {} NAME",
            path.display()
        );
        let what = format!("Wrote {} to {}", size(bytes), path.display());
        format!("{what}\n{}", printer.dim(&take))
    });
    Ok(())
}

/// Writes beside the file and gives it its name when it is whole.
async fn write_whole(
    store: &ImageStore,
    image: &StoredImage,
    path: &Path,
    progress: &Progress,
) -> Result<u64> {
    let unwritable = |error| Error::io(format!("cannot write {}", path.display()), error);
    if path.exists() && !path.is_file() {
        let message = format!("{} is no file", path.display());
        return Err(Error::new(ErrorKind::Conflict, message)
            .with_hint("write to stdout, `-`, and lead that where you want it"));
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    let part = tempfile::Builder::new()
        .prefix(".ldm-image-")
        .tempfile_in(directory)
        .map_err(unwritable)?;
    let file = part.as_file().try_clone().map_err(unwritable)?;
    let mut file = tokio::fs::File::from_std(file);
    store.export(image, &mut file, progress).await?;
    file.sync_all().await.map_err(unwritable)?;
    let bytes = file.metadata().await.map_err(unwritable)?.len();
    part.persist(path)
        .map_err(|error| unwritable(error.error))?;
    Ok(bytes)
}

async fn import(context: &Context, args: ImportImage) -> Result<()> {
    let failed = |error: Error| error.context(format!("cannot import image `{}`", args.name));
    let store = store(context).await.map_err(failed)?;
    let progress = reporter(context);
    let from: Box<dyn tokio::io::AsyncRead + Send + Sync + Unpin> =
        if args.file.as_os_str() == STREAM {
            Box::new(tokio::io::stdin())
        } else {
            let path = context.directory().join(&args.file);
            let opened = tokio::fs::File::open(&path).await;
            let shown = path.display();
            let unreadable = |error: io::Error| match error.kind() {
                io::ErrorKind::NotFound => {
                    Error::new(ErrorKind::NotFound, format!("there is no {shown}"))
                }
                _ => Error::io(format!("cannot read {shown}"), error),
            };
            Box::new(opened.map_err(unreadable).map_err(failed)?)
        };
    let taken = store.import(from, &args.name, &progress);
    let fingerprint = progress::show(context, taken).await.map_err(failed)?;
    let data = json!({
        "image": args.name,
        "fingerprint": fingerprint,
        "engine": store.engine(),
    });
    context.printer.done(&data, |printer| {
        format!(
            "{} has image {} now\n{}",
            store.engine(),
            printer.bold(args.name.as_str()),
            printer.dim(&format!(
                "use it: lxc-dev-manager container create NAME {}",
                args.name
            ))
        )
    });
    Ok(())
}
