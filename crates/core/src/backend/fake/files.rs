//! File access in the fake's guests.

use crate::backend::fake::Fake;
use async_trait::async_trait;
use tokio::io::AsyncReadExt;

use super::guest::{Files, Node};
use crate::backend::{Content, GuestFile};
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

fn missing(name: &InstanceName, path: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("`{name}` has no file `{path}`"),
    )
}

/// Whether a path is an explicit directory, or the parent of a file.
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

pub(super) async fn node(file: GuestFile) -> Result<Node> {
    Ok(match file.content {
        Content::File(mut from) => {
            let mut bytes = Vec::new();
            let read = from.read_to_end(&mut bytes).await;
            read.map_err(|error| Error::io("cannot read the input", error))?;
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
    // Directories that every guest has.
    let is_default = ["", "/etc", "/etc/ssh", "/root", "/tmp"].contains(&parent);
    if !is_default && !is_directory(files, parent) {
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

#[async_trait]
impl crate::backend::Files for Fake {
    async fn read_file(&self, name: &InstanceName, path: &str) -> Result<GuestFile> {
        let mut state = self.call("read_file")?;
        read(&state.instance_mut(name)?.files, name, path)
    }

    async fn write_file(&self, name: &InstanceName, path: &str, file: GuestFile) -> Result<()> {
        let node = node(file).await?;
        self.change(|| {
            let mut state = self.call("write_file")?;
            write(&mut state.instance_mut(name)?.files, name, path, node)
        })
        .await
    }

    async fn delete_file(&self, name: &InstanceName, path: &str) -> Result<()> {
        self.change(|| {
            let mut state = self.call("delete_file")?;
            delete(&mut state.instance_mut(name)?.files, name, path)
        })
        .await
    }
}
