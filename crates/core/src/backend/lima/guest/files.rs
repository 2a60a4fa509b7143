//! Files of a guest, by constant scripts in it; and files of a machine's directory.
//!
//! A machine that doesn't run has a disk that only its own system can read, so it is started for it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use tokio::io::AsyncReadExt;

use crate::backend::lima::Lima;
use crate::backend::{Content, GuestFile, Output, Ownership, receive_script, run_script};
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

const READ: &str = include_str!("read_file.sh");
const WRITE: &str = include_str!("write_file.sh");
const DELETE: &str = include_str!("delete_file.sh");
/// Exit code of all three where a file or its directory isn't there.
const MISSING: i32 = 44;
/// The longest first line of what [`READ`] prints.
const HEAD_LIMIT: usize = 128;
/// How much of a log's end is read.
const TAIL: u64 = 16 * 1024;
/// As much of it as somebody looks through.
pub(crate) const MUCH: u64 = 8 << 20;

pub(crate) async fn read(lima: &Lima, name: &InstanceName, path: &str) -> Result<GuestFile> {
    let output = run_script(lima, name, READ, &[path], Vec::new()).await?;
    let output = expect(output, name, path, "read")?;
    parse(&output).ok_or_else(|| {
        let message = format!("`{name}` doesn't tell what {path} is");
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
            receive_script(lima, name, WRITE, &arguments, from).await?
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
    expect(output, name, path, "write").map(drop)
}

pub(crate) async fn delete(lima: &Lima, name: &InstanceName, path: &str) -> Result<()> {
    let output = run_script(lima, name, DELETE, &[path], Vec::new()).await?;
    expect(output, name, path, "delete").map(drop)
}

fn expect(output: Output, name: &InstanceName, path: &str, kind: &str) -> Result<Vec<u8>> {
    match output.code {
        0 => Ok(output.stdout),
        MISSING => {
            let message = format!("`{name}` has no {path}");
            Err(Error::new(ErrorKind::NotFound, message))
        }
        _ => {
            let message = format!("cannot {kind} {path} in `{name}`: {}", output.last_words());
            Err(Error::new(ErrorKind::Guest, message))
        }
    }
}

/// `KIND UID GID MODE`, a line feed, and the content: bytes, names that end with NUL each, or a target.
fn parse(output: &[u8]) -> Option<GuestFile> {
    let end = output
        .iter()
        .take(HEAD_LIMIT)
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

/// The end of a log; `None` where it has none that is text.
pub(crate) fn tail(path: &Path) -> Option<String> {
    tail_of(path, TAIL)
}

/// The same, of so many bytes.
pub(crate) fn tail_of(path: &Path, bytes: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))
        .ok()?;
    let mut read = Vec::new();
    file.take(bytes).read_to_end(&mut read).ok()?;
    Some(String::from_utf8_lossy(&read).into_owned())
}

/// Reads what is to be written before a guest is started for it, so that a reader that fails costs nothing.
pub(crate) async fn in_memory(mut file: GuestFile) -> Result<GuestFile> {
    if let Content::File(from) = &mut file.content {
        let mut bytes = Vec::new();
        let read = from.read_to_end(&mut bytes).await;
        read.map_err(|error| Error::io("cannot read what is to be written", error))?;
        file.content = Content::File(Box::new(std::io::Cursor::new(bytes)));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_prints_is_a_file() {
        let file = parse(b"directory 0 5 755\na\0b c\0").unwrap();
        assert_eq!((file.ownership.gid, file.ownership.mode), (5, 0o755));
        assert!(matches!(file.content, Content::Directory(names) if names == ["a", "b c"]));
        let link = parse(b"link 0 0 777\n../x\ny").unwrap();
        assert!(matches!(link.content, Content::Link(target) if target == "../x\ny"));
        assert!(parse(b"file 0 0\n").is_none());
        assert!(parse(b"nothing").is_none());
    }
}
