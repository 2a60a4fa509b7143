//! `image`

use std::io;

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
use crate::output_file::{OutputFile, STDIO, write_error};
use crate::progress;
use crate::table::{or_dash, render};
use crate::words::{local_time, size};

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
    let created = context
        .operations
        .publish(&project, &args.env, &args.image, &cancel);
    let created = progress::show(context, created).await?;
    let data = json!({
        "env": args.env,
        "image": args.image,
        "fingerprint": created.fingerprint,
        "engine": created.engine,
        "status": if created.running { "running" } else { "stopped" },
    });
    context.printer.done(&data, |printer| {
        format!(
            "Created image {} from {}\n{}",
            printer.bold(args.image.as_str()),
            args.env,
            printer.dim(&format!(
                "next: lxc-dev-manager container create NAME {}",
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
    let rows: Vec<Value> = images.iter().map(to_json).collect();
    let data = json!({ "engine": store.engine(), "images": rows });
    context
        .printer
        .data(&data, |printer| table(printer, &images));
    Ok(())
}

fn to_json(image: &StoredImage) -> Value {
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
        return "No named images; show all: lxc-dev-manager image list -a\n".to_owned();
    }
    let head = ["ALIAS", "FINGERPRINT", "SIZE", "CREATED", "DESCRIPTION"];
    let row = |image: &StoredImage| {
        let aliases = (!image.aliases.is_empty()).then(|| image.aliases.join(","));
        vec![
            or_dash(aliases),
            image.fingerprint.short().to_owned(),
            size(image.size),
            or_dash(image.created_at.map(local_time)),
            image.description.clone(),
        ]
    };
    render(printer, &head, images.iter().map(row).collect())
}

async fn info(context: &Context, args: OneImage) -> Result<()> {
    let store = store(context).await?;
    let image = store.find(&args.name).await?;
    let users = store.users(&image).await?;
    let mut data = to_json(&image);
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
            ("Used by", users.join(", ")),
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
        let mut losses = format!(
            "Image `{}` ({}) is deleted permanently.",
            args.name,
            size(image.size)
        );
        if !others.is_empty() {
            losses.push_str(&format!(" Other names: {}.", others.join(", ")));
        }
        if !users.is_empty() {
            let envs: Vec<String> = users.iter().map(|user| format!("`{user}`")).collect();
            losses.push_str(&format!(
                " Envs created from it are not affected: {}.",
                envs.join(", ")
            ));
        }
        confirm::ask(&losses, "Delete?")?;
    }
    store.delete(&image).await.map_err(failed)?;
    let data = json!({ "image": args.name, "fingerprint": image.fingerprint, "used_by": users });
    context.printer.done(&data, |_| {
        if others.is_empty() {
            format!("Deleted image {}", args.name)
        } else {
            format!(
                "Deleted image {}, other names: {}",
                args.name,
                others.join(", ")
            )
        }
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
        .done(&data, |_| format!("Renamed image {old} to {new}"));
    Ok(())
}

/// Publishes the steps of an engine on the event bus.
fn reporter(context: &Context) -> Progress {
    let operations = context.operations.clone();
    Progress::new(move |step| operations.bus().publish(EventKind::Step(step)))
}

async fn export(context: &Context, args: ExportImage) -> Result<()> {
    let failed = |error: Error| error.context(format!("cannot export image `{}`", args.name));
    let store = store(context).await.map_err(failed)?;
    let image = store.find(&args.name).await.map_err(failed)?;
    let progress = reporter(context);
    if args.file.as_os_str() == STDIO {
        let mut out = tokio::io::stdout();
        let written = store.export(&image, &mut out, &progress);
        return progress::show(context, written).await.map_err(failed);
    }
    let path = &context.directory().join(&args.file);
    let output = OutputFile::create(path, args.force).map_err(failed)?;
    let cancel = context.cancelled_by_interrupt();
    let written = async {
        tokio::select! {
            written = write(&store, &image, output, &progress) => written,
            // Dropping the temporary file deletes it.
            () = cancel.cancelled() => Err(Error::cancelled()),
        }
    };
    let bytes = progress::show(context, written).await.map_err(failed)?;
    let data = json!({ "image": args.name, "file": path, "size": bytes });
    context.printer.done(&data, |printer| {
        let next = format!("next: lxc-dev-manager image import {} NAME", path.display());
        let summary = format!("Exported {} to {}", size(bytes), path.display());
        format!("{summary}\n{}", printer.dim(&next))
    });
    Ok(())
}

async fn write(
    store: &ImageStore,
    image: &StoredImage,
    output: OutputFile<'_>,
    progress: &Progress,
) -> Result<u64> {
    let failed = |error| write_error(output.path(), error);
    let file = output.file.as_file().try_clone().map_err(failed)?;
    let mut file = tokio::fs::File::from_std(file);
    store.export(image, &mut file, progress).await?;
    file.sync_all().await.map_err(failed)?;
    let bytes = file.metadata().await.map_err(failed)?.len();
    output.persist()?;
    Ok(bytes)
}

async fn import(context: &Context, args: ImportImage) -> Result<()> {
    let failed = |error: Error| error.context(format!("cannot import image `{}`", args.name));
    let store = store(context).await.map_err(failed)?;
    let progress = reporter(context);
    let source: Box<dyn tokio::io::AsyncRead + Send + Sync + Unpin> = if args.file.as_os_str()
        == STDIO
    {
        Box::new(tokio::io::stdin())
    } else {
        let path = context.directory().join(&args.file);
        let opened = tokio::fs::File::open(&path).await;
        let shown = path.display();
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, format!("no file {shown}")),
            _ => Error::io(format!("cannot read {shown}"), error),
        };
        Box::new(opened.map_err(unreadable).map_err(failed)?)
    };
    let imported = store.import(source, &args.name, &progress);
    let fingerprint = progress::show(context, imported).await.map_err(failed)?;
    let data = json!({
        "image": args.name,
        "fingerprint": fingerprint,
        "engine": store.engine(),
    });
    context.printer.done(&data, |printer| {
        format!(
            "Imported image {} into {}\n{}",
            printer.bold(args.name.as_str()),
            store.engine(),
            printer.dim(&format!(
                "next: lxc-dev-manager container create NAME {}",
                args.name
            ))
        )
    });
    Ok(())
}
