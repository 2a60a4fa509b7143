//! Commands in the fake's guests: `cat`, `tee`, `echo`, `true`, `false`, and our scripts.

use crate::backend::Exec;
use crate::backend::ExecSpec;
use crate::backend::fake::Fake;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::model::EnvStatus;
use crate::model::InstanceName;
use async_trait::async_trait;
use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::backend::{ExecIo, LIST_LISTENERS};
use crate::provision::{
    INSTALL_DOCKER, RUN_AS, RUN_SETUP, SET_UP_USER, START_SSH, WAIT_FOR_NETWORK,
};

pub(super) type Files = BTreeMap<String, Node>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    File(Vec<u8>),
    Directory,
    Link(String),
}

/// Runs a command; an unknown one exits with 127. `listeners` is the kernel's socket table.
pub(super) async fn run(
    files: &mut Files,
    listeners: &str,
    argv: &[String],
    mut io: ExecIo,
) -> i32 {
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let code = match words.as_slice() {
        ["sh", "-c", script, "sh", user, rest @ ..] if *script == RUN_AS => {
            let known = *user == "root" || files.contains_key(&format!("/home/{user}"));
            if known {
                command(files, rest, &mut io).await
            } else {
                125
            }
        }
        ["sh", "-c", script, "sh", user, "yes" | "no"] if *script == SET_UP_USER => {
            files.insert(format!("/home/{user}"), Node::Directory);
            0
        }
        ["sh", "-c", script, "sh", user, run_as] if *script == RUN_SETUP && *run_as == RUN_AS => {
            let known = files.contains_key(&format!("/home/{user}"));
            if known {
                run_lines(files, &mut io).await
            } else {
                1
            }
        }
        ["sh", "-c", script, "sh"] if *script == LIST_LISTENERS => {
            i32::from(io.stdout.write_all(listeners.as_bytes()).await.is_err())
        }
        ["sh", "-c", script, "sh", _user] if *script == INSTALL_DOCKER => {
            files.insert("/usr/sbin/dockerd".to_owned(), Node::File(Vec::new()));
            0
        }
        ["sh", "-c", script, "sh"] if *script == START_SSH || *script == WAIT_FOR_NETWORK => 0,
        other => command(files, other, &mut io).await,
    };
    // Closing fails if the caller is gone, which is not the command's failure.
    let _ = io.stdout.shutdown().await;
    let _ = io.stderr.shutdown().await;
    code
}

/// Runs the commands on stdin, one per line, until one fails.
async fn run_lines(files: &mut Files, io: &mut ExecIo) -> i32 {
    let mut script = String::new();
    if io.stdin.read_to_string(&mut script).await.is_err() {
        return 1;
    }
    let lines = script.lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let code = command(files, &words, io).await;
        if code != 0 {
            return code;
        }
    }
    0
}

async fn command(files: &mut Files, words: &[&str], io: &mut ExecIo) -> i32 {
    match words {
        [] | ["true"] => 0,
        ["echo", words @ ..] => {
            let text = format!("{}\n", words.join(" "));
            i32::from(io.stdout.write_all(text.as_bytes()).await.is_err())
        }
        ["false"] => 1,
        ["cat"] => {
            let mut bytes = Vec::new();
            let read = io.stdin.read_to_end(&mut bytes).await;
            if read.is_ok() && io.stdout.write_all(&bytes).await.is_ok() {
                0
            } else {
                1
            }
        }
        ["cat", path] => match files.get(*path) {
            Some(Node::File(bytes)) => i32::from(io.stdout.write_all(bytes).await.is_err()),
            _ => {
                let text = format!("cat: {path}: No such file or directory\n");
                let _ = io.stderr.write_all(text.as_bytes()).await;
                1
            }
        },
        ["tee", path] => {
            let mut bytes = Vec::new();
            if io.stdin.read_to_end(&mut bytes).await.is_err() {
                return 1;
            }
            let code = i32::from(io.stdout.write_all(&bytes).await.is_err());
            files.insert((*path).to_owned(), Node::File(bytes));
            code
        }
        _ => 127,
    }
}

#[async_trait]
impl Exec for Fake {
    async fn exec(
        &self,
        name: &InstanceName,
        spec: &ExecSpec,
        io: ExecIo,
    ) -> crate::error::Result<i32> {
        let (before, listing) = {
            let mut state = self.call("exec")?;
            let instance = state.instance_mut(name)?;
            if instance.status != EnvStatus::Running {
                let message = format!("instance `{name}` is not running");
                return Err(Error::new(ErrorKind::Engine, message));
            }
            (
                instance.files.clone(),
                super::route::listener_table(&instance.services),
            )
        };
        let mut files = before.clone();
        let code = run(&mut files, &listing, &spec.argv, io).await;
        if let Some(instance) = self.lock().instances.get_mut(name) {
            // Commands run concurrently: merge only this one's changes.
            let written = files
                .into_iter()
                .filter(|(path, node)| before.get(path) != Some(node));
            instance.files.extend(written);
        }
        Ok(code)
    }
}
