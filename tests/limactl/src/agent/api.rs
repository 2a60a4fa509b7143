//! `ha.sock`: `GET /v1/info`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::Result;
use serde_json::json;

pub(crate) fn serve(socket: &Path, ssh_port: u16) -> Result<()> {
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket)?;
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // One that is slow must not stop the others.
            std::thread::spawn(move || answer(&stream, ssh_port));
        }
    });
    Ok(())
}

/// Requests until the client goes.
fn answer(stream: &UnixStream, ssh_port: u16) -> Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut closes = false;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            closes |= header.to_ascii_lowercase().trim_end() == "connection: close";
            if header.trim_end().is_empty() {
                break;
            }
        }
        let (status, body) = if request.starts_with("GET /v1/info ") {
            ("200 OK", json!({"sshLocalPort": ssh_port}).to_string())
        } else {
            ("404 Not Found", "404 page not found\n".to_owned())
        };
        let mut out = stream;
        write!(
            out,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        if closes {
            return Ok(());
        }
    }
}
