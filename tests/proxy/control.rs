//! Invalid messages on the control socket of the forwarder.

use std::io::{Read, Write};
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
    for message in [
        "invalid\n",
        "\n",
        "\0\0\0\n",
        "{}\n",
        r#"{"v":99,"role":"cli","version":"0"}"#,
        &format!("{greeting}\ninvalid\n"),
        &format!(
            "{greeting}\n{{\"id\":1,\"request\":\"lease\",\"scope\":{{\"scope\":\"moon\"}}}}\n"
        ),
        &endless,
    ] {
        let mut stream = UnixStream::connect(&socket)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        // It may close before everything is written.
        let _ = stream.write_all(message.as_bytes());
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        ensure!(
            ended.is_ok() || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
        );
    }
    ensure!(stage.ask()? == "a");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket)?.permissions());
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    Ok(())
}
