//! Invalid messages on the control socket of the forwarder.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;

use crate::stage::{Stage, TIMEOUT};

/// The forwarder survives invalid and endless messages, other versions, and a stale socket.
pub fn survives_invalid_messages_and_stale_socket(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let _service = stage.service("a", "0.0.0.0")?;
    let socket = stage.workspace.home().join("run/control.sock");
    std::fs::create_dir_all(socket.parent().context("no directory")?)?;
    std::fs::write(&socket, "stale")?;
    let _proxy = stage.proxy(&["a"])?;
    let greeting = r#"{"v":2,"role":"cli","version":"0"}"#;
    let endless = format!(
        "{greeting}\n{{\"id\":1,\"request\":\"{}",
        "x".repeat(100_000)
    );
    let invalid = format!("{greeting}\ninvalid\n");
    let lease = r#"{"id":1,"request":"lease","scope":{"scope":"moon"}}"#;
    let unknown = format!("{greeting}\n{lease}\n");
    let hello = format!(
        "{{\"v\":2,\"role\":\"cli\",\"version\":\"{}\"}}\n",
        env!("CARGO_PKG_VERSION")
    );
    // A client without a valid hello gets nothing. Another version gets ours, for its message to the user. Invalid
    // requests end the connection without a response.
    for (message, answer) in [
        ("invalid\n", ""),
        ("\n", ""),
        ("\0\0\0\n", ""),
        ("{}\n", ""),
        (r#"{"v":99,"role":"cli","version":"0"}"#, hello.as_str()),
        (invalid.as_str(), hello.as_str()),
        (unknown.as_str(), hello.as_str()),
        (endless.as_str(), hello.as_str()),
    ] {
        let at = message.get(..60).unwrap_or(message);
        let mut stream = UnixStream::connect(&socket)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        // It may close before everything is written.
        let _ = stream.write_all(message.as_bytes());
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut received = Vec::new();
        match stream.read_to_end(&mut received) {
            Ok(_) => {}
            // It need not read the rest of an endless line, which the system reports as a reset.
            Err(error) if message == endless && error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => anyhow::bail!("{at:?}: {error}"),
        }
        let received = String::from_utf8(received)?;
        ensure!(received == answer, "{at:?}: {received:?}");
    }
    // It responds to valid requests.
    let forwards = r#"{"id":7,"request":"forwards"}"#;
    let mut stream = UnixStream::connect(&socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "{greeting}\n{forwards}\n")?;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().context("no hello")??;
    ensure!(format!("{first}\n") == hello, "{first}");
    let response = lines.next().context("no response")??;
    ensure!(
        response.starts_with(r#"{"id":7,"reply":"forwards","forwards":[{"#),
        "{response}"
    );
    ensure!(stage.ask()? == "a");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket)?.permissions());
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    Ok(())
}
