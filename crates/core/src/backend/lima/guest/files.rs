//! Files of a guest, accessed by fixed scripts, and tails of log files.

use crate::backend::Files;
use async_trait::async_trait;

use tokio::io::AsyncReadExt;

use super::super::backend::Lima;
use crate::backend::{Content, GuestFile, Output, Ownership, run_script, stream_to_script};
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

const READ: &str = include_str!("read_file.sh");
const WRITE: &str = include_str!("write_file.sh");
const DELETE: &str = include_str!("delete_file.sh");
/// Exit code of the scripts if the file or its directory is missing.
const MISSING: i32 = 44;
/// Longest first line printed by [`READ`].
const MAX_HEADER_BYTES: usize = 128;

pub(crate) async fn read(lima: &Lima, name: &InstanceName, path: &str) -> Result<GuestFile> {
    let output = run_script(lima, name, READ, &[path], Vec::new()).await?;
    let output = check_output(output, name, path, "read")?;
    parse(&output).ok_or_else(|| {
        let message = format!("cannot read {path} in `{name}`: unexpected output");
        Error::new(ErrorKind::Guest, message)
    })
}

pub(crate) async fn write(
    lima: &Lima,
    name: &InstanceName,
    path: &str,
    file: GuestFile,
) -> Result<()> {
    let Ownership { uid, gid, mode } = file.ownership;
    let owner = format!("{uid}:{gid}");
    let mode = format!("{mode:o}");
    let output = match file.content {
        Content::File(from) => {
            let arguments = [path, "file", &owner, &mode];
            stream_to_script(lima, name, WRITE, &arguments, from).await?
        }
        Content::Directory(_) => {
            let arguments = [path, "directory", &owner, &mode];
            run_script(lima, name, WRITE, &arguments, Vec::new()).await?
        }
        Content::Link(target) => {
            let arguments = [path, "link", &owner, &mode, &target];
            run_script(lima, name, WRITE, &arguments, Vec::new()).await?
        }
    };
    check_output(output, name, path, "write").map(drop)
}

pub(crate) async fn delete(lima: &Lima, name: &InstanceName, path: &str) -> Result<()> {
    let output = run_script(lima, name, DELETE, &[path], Vec::new()).await?;
    check_output(output, name, path, "delete").map(drop)
}

fn check_output(output: Output, name: &InstanceName, path: &str, kind: &str) -> Result<Vec<u8>> {
    match output.code {
        0 => Ok(output.stdout),
        MISSING => {
            let message = format!("`{name}` has no {path}");
            Err(Error::new(ErrorKind::NotFound, message))
        }
        _ => {
            let message = format!("cannot {kind} {path} in `{name}`: {}", output.last_line());
            Err(Error::new(ErrorKind::Guest, message))
        }
    }
}

/// Parses `KIND UID GID MODE`, a line feed and the content: bytes, NUL-terminated names, or a link target.
fn parse(output: &[u8]) -> Option<GuestFile> {
    let end = output
        .iter()
        .take(MAX_HEADER_BYTES)
        .position(|byte| *byte == b'\n')?;
    let (head, content) = (
        std::str::from_utf8(&output[..end]).ok()?,
        &output[end + 1..],
    );
    let words: Vec<&str> = head.split(' ').collect();
    let [kind, uid, gid, mode] = words.as_slice() else {
        return None;
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(GuestFile {
        ownership: Ownership {
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            mode: u32::from_str_radix(mode, 8).ok()?,
        },
        content: match *kind {
            "directory" => {
                let names = content
                    .split(|byte| *byte == 0)
                    .filter(|name| !name.is_empty());
                Content::Directory(names.map(text).collect())
            }
            "link" => Content::Link(text(content)),
            _ => Content::File(Box::new(std::io::Cursor::new(content.to_vec()))),
        },
    })
}

/// Reads the content into memory first, so that a failing reader doesn't start the guest.
pub(crate) async fn in_memory(mut file: GuestFile) -> Result<GuestFile> {
    if let Content::File(from) = &mut file.content {
        let mut bytes = Vec::new();
        let read = from.read_to_end(&mut bytes).await;
        read.map_err(|error| Error::io("cannot read the source of the file", error))?;
        file.content = Content::File(Box::new(std::io::Cursor::new(bytes)));
    }
    Ok(file)
}

#[async_trait]
impl Files for Lima {
    async fn read_file(&self, name: &InstanceName, path: &str) -> Result<GuestFile> {
        self.with_running(name, read(self, name, path)).await
    }

    async fn write_file(&self, name: &InstanceName, path: &str, file: GuestFile) -> Result<()> {
        let file = in_memory(file).await?;
        self.with_running(name, write(self, name, path, file)).await
    }

    async fn delete_file(&self, name: &InstanceName, path: &str) -> Result<()> {
        self.with_running(name, delete(self, name, path)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_script_output() {
        let file = parse(b"directory 0 5 755\na\0b c\0").unwrap();
        assert_eq!((file.ownership.gid, file.ownership.mode), (5, 0o755));
        assert!(matches!(file.content, Content::Directory(names) if names == ["a", "b c"]));
        let link = parse(b"link 0 0 777\n../x\ny").unwrap();
        assert!(matches!(link.content, Content::Link(target) if target == "../x\ny"));
        assert!(parse(b"file 0 0\n").is_none());
        assert!(parse(b"nothing").is_none());
    }
}
