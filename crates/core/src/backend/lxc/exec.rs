//! Commands in an instance: one websocket for each stream, and one for resizes and signals.
//!
//! With a terminal the engine offers the streams `0` (both directions) and `control`; without one
//! `0`, `1`, `2` and `control`. An empty text message ends a stream in either direction.
//!
//! A command that ends before the engine knows its pid is lost with its output and exit code. So
//! each command first reads a line, which the engine forwards only once it knows the process: what
//! did not start has not run, and can be retried.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::client::url_part;
use super::ignore_write_errors::Socket;
use super::replay::Replay;
use crate::backend::{ExecControl, ExecIo, ExecSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

const CHUNK_BYTES: usize = 256 * 1024;
/// Waits for a line, then becomes the command. Without the line the command must not run.
const WAIT_FOR_LINE: &str = "read -r go && exec \"$@\"";
const START_LINE: &[u8] = b"\n";
/// [`START_LINE`] as a terminal echoes it, before the command's output.
const ECHOED_LINE: &[u8] = b"\r\n";
/// The engines' code if they cannot attach to the container, which happens for a moment while the
/// guest's systemd rearranges control groups (early boot, busy hosts). The command has not run
/// then.
const NOT_ATTACHED: i32 = -1;
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);
const ATTACH_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(10))
    .with_max_delay(Duration::from_millis(160))
    .without_max_times();
const SIGKILL: i32 = 9;

/// Runs a command; retries if the engine could not attach.
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
    let started = Instant::now();
    let mut delays = ATTACH_BACKOFF.build();
    let code = loop {
        let local = LocalStreams {
            stdin: &mut stdin,
            stdout: stdout.as_mut(),
            stderr: stderr.as_mut(),
            control: &mut control,
        };
        let code = attempt(client, name, spec, local).await?;
        if code != NOT_ATTACHED {
            break code;
        }
        if !stdin.rewind() || started.elapsed() > ATTACH_TIMEOUT {
            let message = format!("cannot run commands in `{name}` now");
            return Err(Error::new(ErrorKind::Engine, message).with_hint("try again"));
        }
        tokio::time::sleep(delays.next().unwrap_or_default()).await;
    };
    // Their readers may be gone.
    let _ = tokio::join!(stdout.shutdown(), stderr.shutdown());
    Ok(code)
}

struct LocalStreams<'a> {
    stdin: &'a mut Replay,
    stdout: &'a mut (dyn AsyncWrite + Send + Unpin),
    stderr: &'a mut (dyn AsyncWrite + Send + Unpin),
    control: &'a mut mpsc::Receiver<ExecControl>,
}

async fn attempt(
    client: &Client,
    name: &InstanceName,
    spec: &ExecSpec,
    local: LocalStreams<'_>,
) -> Result<i32> {
    let response = client
        .send(
            "POST",
            &format!("/1.0/instances/{name}/exec"),
            &request(spec),
        )
        .await?;
    let operation = response.operation;
    let secrets: BTreeMap<String, String> =
        serde_json::from_value(response.metadata["metadata"]["fds"].clone()).map_err(|error| {
            Error::new(ErrorKind::Engine, "invalid list of streams from the engine")
                .caused_by(error)
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
    let remote = if spec.terminal.is_some() {
        let (input, output) = open("0").await?.split();
        EngineStreams {
            input,
            output,
            errors: None,
            control,
        }
    } else {
        let (input, _) = open("0").await?.split();
        let (_, output) = open("1").await?.split();
        let (_, errors) = open("2").await?.split();
        EngineStreams {
            input,
            output,
            errors: Some(errors),
            control,
        }
    };
    // A missing command fails the operation, which still has exit code 127.
    let ended = pump(local, remote, client.wait_for_end(&operation)).await?;
    let code = ended
        .metadata
        .and_then(|metadata| metadata["return"].as_i64());
    code.and_then(|code| i32::try_from(code).ok())
        .ok_or_else(|| {
            let command = spec.argv.first().map_or("", String::as_str);
            client
                .engine_error(ErrorKind::Engine, &ended.err)
                .context(format!(
                    "`{command}` in `{name}` ended without an exit code"
                ))
        })
}

fn request(spec: &ExecSpec) -> serde_json::Value {
    let wrapper = ["sh", "-c", WAIT_FOR_LINE, "sh"].into_iter();
    let command: Vec<&str> = wrapper
        .chain(spec.argv.iter().map(String::as_str))
        .collect();
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

/// Without a language, programs would print ASCII only.
fn environment(spec: &ExecSpec) -> BTreeMap<String, String> {
    let mut environment = spec.environment.clone();
    environment
        .entry("LANG".to_owned())
        .or_insert_with(|| "C.UTF-8".to_owned());
    environment
}

struct EngineStreams {
    input: SplitSink<Socket, Message>,
    output: SplitStream<Socket>,
    errors: Option<SplitStream<Socket>>,
    control: Socket,
}

/// Copies the streams until the command and its outputs have ended.
async fn pump<T>(
    local: LocalStreams<'_>,
    remote: EngineStreams,
    ended: impl Future<Output = T>,
) -> T {
    let hung_up = CancellationToken::new();
    let outputs = async {
        match remote.errors {
            Some(errors) => {
                tokio::join!(
                    receive_output(remote.output, local.stdout, &[]),
                    receive_output(errors, local.stderr, &[])
                );
            }
            None => {
                receive_output(remote.output, local.stdout, ECHOED_LINE).await;
                hung_up.cancel();
            }
        }
    };
    // After a stop of the instance the engine keeps a terminal open until we close our side.
    let input = async {
        tokio::select! {
            never = send_input(local.stdin, remote.input) => never,
            () = hung_up.cancelled() => std::future::pending().await,
        }
    };
    let mut guard = KillOnDrop(Some(remote.control));
    // Input and control end with the command.
    let result = tokio::select! {
        ((), result) = async { tokio::join!(outputs, ended) } => result,
        never = input => match never {},
        never = forward_control(local.control, &mut guard) => match never {},
    };
    guard.0 = None;
    result
}

/// Copies input to the command. Never returns: the end of input does not end the command.
async fn send_input(from: &mut Replay, mut to: SplitSink<Socket, Message>) -> Infallible {
    if to
        .send(Message::Binary(Bytes::from_static(START_LINE)))
        .await
        .is_err()
    {
        return std::future::pending().await;
    }
    let mut chunk = vec![0; CHUNK_BYTES];
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
    // Fails if the command has ended.
    let _ = to.send(Message::Text("".into())).await;
    std::future::pending().await
}

/// Copies the command's output until it ends, without its first bytes `echo`.
async fn receive_output(
    mut from: SplitStream<Socket>,
    to: &mut (dyn AsyncWrite + Send + Unpin),
    mut echo: &[u8],
) {
    let mut broken = false;
    while let Some(Ok(message)) = from.next().await {
        match message {
            Message::Binary(bytes) if !broken => {
                let bytes = strip_echo(&bytes, &mut echo);
                // A closed reader (`| head`) must not stop the command.
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

/// Strips an expected prefix that may arrive in pieces; `echo` is its rest.
fn strip_echo<'a>(mut bytes: &'a [u8], echo: &mut &[u8]) -> &'a [u8] {
    while let (Some(first), Some(expected)) = (bytes.first(), echo.first()) {
        if first != expected {
            *echo = &[];
            break;
        }
        bytes = &bytes[1..];
        *echo = &echo[1..];
    }
    bytes
}

/// Forwards resizes and signals. Never returns.
async fn forward_control(
    from: &mut mpsc::Receiver<ExecControl>,
    to: &mut KillOnDrop,
) -> Infallible {
    let mut is_open = true;
    while let Some(socket) = &mut to.0 {
        tokio::select! {
            request = from.recv(), if is_open => match request {
                Some(request) if socket.send(control_message(request)).await.is_err() => break,
                Some(_) => {}
                None => is_open = false,
            },
            // Only pings arrive. Reading answers them and keeps the buffer empty.
            message = socket.next() => if !matches!(message, Some(Ok(_))) { break },
        }
    }
    std::future::pending().await
}

fn control_message(request: ExecControl) -> Message {
    let body = match request {
        ExecControl::Resize(size) => json!({
            "command": "window-resize",
            "args": { "width": size.columns.to_string(), "height": size.rows.to_string() },
        }),
        ExecControl::Signal(number) => json!({ "command": "signal", "signal": number }),
    };
    Message::Text(body.to_string().into())
}

/// Kills the command if its caller drops the future.
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
    fn strips_the_echoed_line_once_from_any_pieces() {
        for pieces in [
            &["\r\nhello\r\n"][..],
            &["\r", "\nhello\r\n"],
            &["\r\n", "hello", "\r\n"],
        ] {
            let mut echo = ECHOED_LINE;
            let output = pieces
                .iter()
                .map(|piece| strip_echo(piece.as_bytes(), &mut echo));
            assert_eq!(
                output.collect::<Vec<_>>().concat(),
                b"hello\r\n",
                "{pieces:?}"
            );
        }
        let mut echo = ECHOED_LINE;
        assert_eq!(strip_echo(b"hello", &mut echo), b"hello");
    }
}
