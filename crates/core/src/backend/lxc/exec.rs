//! Commands in an instance: one websocket a stream, and one for resizes and signals.
//!
//! With a terminal the engine offers the streams `0` (both ways) and `control`; without one `0`,
//! `1`, `2` and `control`. An empty text message ends a stream in either direction.
//!
//! A command that ends before the engine has learnt its process number is lost: its output and its exit
//! code are gone, and nothing tells whether it ran. So each waits for a line of input before it begins.
//! The engine passes input on only when it knows the process; what it could not start has not run then,
//! and can be tried again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::ignore_write_errors::Socket;
use super::image::url_part;
use super::replay::Replay;
use crate::backend::{ExecControl, ExecIo, ExecSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

/// Bytes in one message to the guest.
const CHUNK: usize = 256 * 1024;
/// Waits for the line, and is the command from then on. Without the line it must not be run.
const BEGIN: &str = "read -r go && exec \"$@\"";
/// The line.
const GO: &[u8] = b"\n";
/// The line as a terminal shows it, before anything that the command prints.
const GO_ECHOED: &[u8] = b"\r\n";
/// The engines' code for "no process could be put into the container". Attaching fails for a moment
/// while the guest's systemd rearranges the control groups, mostly in its early boot, and for the
/// engine of a busy machine now and then. Nothing was run then.
const NOT_ENTERED: i32 = -1;
/// How long that may last.
const ENTRY_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before another attempt, doubled up to the second value.
const ENTRY_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(160));
/// SIGKILL of Linux: what ends a command whose caller is gone.
const SIGKILL: i32 = 9;

/// Runs a command; tries again where it could not be put into the container.
pub(super) async fn run(
    client: &Client,
    name: &InstanceName,
    spec: &ExecSpec,
    io: ExecIo,
) -> Result<i32> {
    let ExecIo {
        stdin,
        mut stdout,
        mut stderr,
        mut control,
    } = io;
    let mut stdin = Replay::new(stdin);
    let begun = Instant::now();
    let mut pause = ENTRY_PAUSE.0;
    let code = loop {
        let ours = Ours {
            stdin: &mut stdin,
            stdout: stdout.as_mut(),
            stderr: stderr.as_mut(),
            control: &mut control,
        };
        let code = attempt(client, name, spec, ours).await?;
        if code != NOT_ENTERED {
            break code;
        }
        if !stdin.rewind() || begun.elapsed() > ENTRY_TIMEOUT {
            let message = format!("no command can be run in `{name}` now");
            return Err(Error::new(ErrorKind::Engine, message).with_hint("try again"));
        }
        // There is no event for the end of that moment.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(ENTRY_PAUSE.1);
    };
    // Readers that are gone don't need to hear of the end.
    let _ = tokio::join!(stdout.shutdown(), stderr.shutdown());
    Ok(code)
}

/// The caller's side of one attempt.
struct Ours<'a> {
    stdin: &'a mut Replay,
    stdout: &'a mut (dyn AsyncWrite + Send + Unpin),
    stderr: &'a mut (dyn AsyncWrite + Send + Unpin),
    control: &'a mut mpsc::Receiver<ExecControl>,
}

async fn attempt(
    client: &Client,
    name: &InstanceName,
    spec: &ExecSpec,
    ours: Ours<'_>,
) -> Result<i32> {
    let begun = client
        .send(
            "POST",
            &format!("/1.0/instances/{name}/exec"),
            &request(spec),
        )
        .await?;
    let operation = begun.operation;
    let secrets: BTreeMap<String, String> =
        serde_json::from_value(begun.metadata["metadata"]["fds"].clone()).map_err(|error| {
            Error::new(ErrorKind::Engine, "the engine's streams can't be read").caused_by(error)
        })?;
    let open = async |stream: &str| -> Result<Socket> {
        let secret = secrets.get(stream).ok_or_else(|| {
            Error::new(
                ErrorKind::Engine,
                format!("the engine offers no stream `{stream}`"),
            )
        })?;
        let path = operation.split('?').next().unwrap_or(&operation);
        client
            .websocket(&format!("{path}/websocket?secret={}", url_part(secret)))
            .await
    };
    let control = open("control").await?;
    let theirs = if spec.terminal.is_some() {
        let (input, output) = open("0").await?.split();
        Theirs {
            input,
            output,
            errors: None,
            control,
        }
    } else {
        let (input, _) = open("0").await?.split();
        let (_, output) = open("1").await?.split();
        let (_, errors) = open("2").await?.split();
        Theirs {
            input,
            output,
            errors: Some(errors),
            control,
        }
    };
    // A command that isn't there makes the operation fail, and still has its code, 127.
    let ended = pump(ours, theirs, client.wait_for_end(&operation)).await?;
    let code = ended
        .metadata
        .and_then(|metadata| metadata["return"].as_i64());
    code.and_then(|code| i32::try_from(code).ok())
        .ok_or_else(|| {
            let command = spec.argv.first().map_or("", String::as_str);
            client
                .failure(ErrorKind::Engine, &ended.err)
                .context(format!(
                    "`{command}` in `{name}` ended without an exit code"
                ))
        })
}

fn request(spec: &ExecSpec) -> serde_json::Value {
    let begin = ["sh", "-c", BEGIN, "sh"].into_iter();
    let command: Vec<&str> = begin.chain(spec.argv.iter().map(String::as_str)).collect();
    let mut body = json!({
        "command": command,
        "environment": environment(spec),
        "wait-for-websocket": true,
        "interactive": spec.terminal.is_some(),
        "record-output": false,
    });
    if let Some(size) = spec.terminal {
        body["width"] = json!(size.columns);
        body["height"] = json!(size.rows);
    }
    body
}

/// A terminal needs a name of its kind, and programs a language that isn't ASCII.
fn environment(spec: &ExecSpec) -> BTreeMap<String, String> {
    let mut environment = spec.environment.clone();
    environment
        .entry("LANG".to_owned())
        .or_insert_with(|| "C.UTF-8".to_owned());
    environment
}

/// The engine's side of one attempt.
struct Theirs {
    input: SplitSink<Socket, Message>,
    output: SplitStream<Socket>,
    errors: Option<SplitStream<Socket>>,
    control: Socket,
}

/// Moves bytes until the command has ended and its outputs are read to their end.
async fn pump<T>(ours: Ours<'_>, theirs: Theirs, ended: impl Future<Output = T>) -> T {
    let hung_up = CancellationToken::new();
    let outputs = async {
        match theirs.errors {
            Some(errors) => {
                tokio::join!(
                    receive(theirs.output, ours.stdout, &[]),
                    receive(errors, ours.stderr, &[])
                );
            }
            None => {
                receive(theirs.output, ours.stdout, GO_ECHOED).await;
                hung_up.cancel();
            }
        }
    };
    // A terminal that is gone takes no more input, and the engine doesn't end before it has heard that we
    // know: so it is where the instance was stopped.
    let input = async {
        tokio::select! {
            never = send(ours.stdin, theirs.input) => never,
            () = hung_up.cancelled() => std::future::pending().await,
        }
    };
    let mut guard = KillOnDrop(Some(theirs.control));
    // Input and control have no end of their own: they go with the command.
    let done = tokio::select! {
        ((), done) = async { tokio::join!(outputs, ended) } => done,
        never = input => match never {},
        never = steer(ours.control, &mut guard) => match never {},
    };
    guard.0 = None;
    done
}

/// Copies our input to the command. Never returns: its end isn't the command's end.
async fn send(from: &mut Replay, mut to: SplitSink<Socket, Message>) -> Infallible {
    if to
        .send(Message::Binary(Bytes::from_static(GO)))
        .await
        .is_err()
    {
        return std::future::pending().await;
    }
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                let message = Message::Binary(Bytes::copy_from_slice(&chunk[..length]));
                if to.send(message).await.is_err() {
                    break;
                }
            }
        }
    }
    // Fails when the command has ended already, and then nobody waits for it.
    let _ = to.send(Message::Text("".into())).await;
    std::future::pending().await
}

/// Copies the command's output to us until it ends, without what it begins with.
async fn receive(
    mut from: SplitStream<Socket>,
    to: &mut (dyn AsyncWrite + Send + Unpin),
    mut head: &[u8],
) {
    let mut broken = false;
    while let Some(Ok(message)) = from.next().await {
        match message {
            Message::Binary(bytes) if !broken => {
                let bytes = without_head(&bytes, &mut head);
                // A reader that is gone (`| head`) must not stop the command.
                let written = async {
                    to.write_all(bytes).await?;
                    to.flush().await
                };
                broken = written.await.is_err();
            }
            Message::Text(text) if text.is_empty() => break,
            Message::Close(_) => break,
            _ => {}
        }
    }
}

/// Takes off what a stream begins with, as far as it does, and as far as it hasn't come yet.
fn without_head<'a>(mut bytes: &'a [u8], head: &mut &[u8]) -> &'a [u8] {
    while let (Some(first), Some(wanted)) = (bytes.first(), head.first()) {
        if first != wanted {
            *head = &[];
            break;
        }
        bytes = &bytes[1..];
        *head = &head[1..];
    }
    bytes
}

/// Passes resizes and signals on. Never returns.
async fn steer(from: &mut mpsc::Receiver<ExecControl>, to: &mut KillOnDrop) -> Infallible {
    let mut listening = true;
    while let Some(socket) = &mut to.0 {
        tokio::select! {
            order = from.recv(), if listening => match order {
                Some(order) if socket.send(command(order)).await.is_err() => break,
                Some(_) => {}
                None => listening = false,
            },
            // Nothing comes but pings. To read is to answer them, and unread ones would fill the way.
            heard = socket.next() => if !matches!(heard, Some(Ok(_))) { break },
        }
    }
    std::future::pending().await
}

fn command(order: ExecControl) -> Message {
    let body = match order {
        ExecControl::Resize(size) => json!({
            "command": "window-resize",
            "args": { "width": size.columns.to_string(), "height": size.rows.to_string() },
        }),
        ExecControl::Signal(number) => json!({ "command": "signal", "signal": number }),
    };
    Message::Text(body.to_string().into())
}

/// Ends the command when its caller drops the future before the command's own end.
struct KillOnDrop(Option<Socket>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let (Some(mut socket), Ok(runtime)) =
            (self.0.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(async move {
            let body = json!({ "command": "signal", "signal": SIGKILL }).to_string();
            let _ = socket.send(Message::Text(body.into())).await;
            let _ = socket.close(None).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_echoed_line_is_taken_off_once_however_it_comes() {
        for pieces in [
            &["\r\nhello\r\n"][..],
            &["\r", "\nhello\r\n"],
            &["\r\n", "hello", "\r\n"],
        ] {
            let mut head = GO_ECHOED;
            let left = pieces
                .iter()
                .map(|piece| without_head(piece.as_bytes(), &mut head));
            assert_eq!(
                left.collect::<Vec<_>>().concat(),
                b"hello\r\n",
                "{pieces:?}"
            );
        }
        let mut head = GO_ECHOED;
        assert_eq!(without_head(b"hello", &mut head), b"hello");
    }
}
