//! Files of the fake's guests, without a command in them.

use tokio::io::AsyncReadExt;

use super::guest::{Files, Node};
use crate::backend::{Content, GuestFile};
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

fn missing(name: &InstanceName, path: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("`{name}` has no {path}"))
}

/// Whether something is below a path: then it is a directory.
fn is_directory(files: &Files, path: &str) -> bool {
    let below = format!("{}/", path.trim_end_matches('/'));
    path == "/"
        || matches!(files.get(path), Some(Node::Directory))
        || files.keys().any(|known| known.starts_with(&below))
}

pub(super) fn read(files: &Files, name: &InstanceName, path: &str) -> Result<GuestFile> {
    let content = match files.get(path) {
        Some(Node::File(bytes)) => Content::File(Box::new(std::io::Cursor::new(bytes.clone()))),
        Some(Node::Link(target)) => Content::Link(target.clone()),
        _ if is_directory(files, path) => {
            let below = format!("{}/", path.trim_end_matches('/'));
            let mut names: Vec<String> = files
                .keys()
                .filter_map(|known| known.strip_prefix(&below)?.split('/').next())
                .map(str::to_owned)
                .collect();
            names.dedup();
            Content::Directory(names)
        }
        _ => return Err(missing(name, path)),
    };
    Ok(GuestFile {
        content,
        ..GuestFile::of_root(0o644, Vec::new())
    })
}

/// What a file is once its bytes are read.
pub(super) async fn node(file: GuestFile) -> Result<Node> {
    Ok(match file.content {
        Content::File(mut from) => {
            let mut bytes = Vec::new();
            let read = from.read_to_end(&mut bytes).await;
            read.map_err(|error| Error::io("cannot read what is to be written", error))?;
            Node::File(bytes)
        }
        Content::Directory(_) => Node::Directory,
        Content::Link(target) => Node::Link(target),
    })
}

pub(super) fn write(files: &mut Files, name: &InstanceName, path: &str, node: Node) -> Result<()> {
    let parent = path
        .trim_end_matches('/')
        .rsplit_once('/')
        .map_or("", |(parent, _)| parent);
    // The few directories that every guest has.
    let always = ["", "/etc", "/etc/ssh", "/root", "/tmp"].contains(&parent);
    if !always && !is_directory(files, parent) {
        return Err(missing(name, parent));
    }
    if !(node == Node::Directory && is_directory(files, path)) {
        files.insert(path.to_owned(), node);
    }
    Ok(())
}

pub(super) fn delete(files: &mut Files, name: &InstanceName, path: &str) -> Result<()> {
    files
        .remove(path)
        .map(drop)
        .ok_or_else(|| missing(name, path))
}
