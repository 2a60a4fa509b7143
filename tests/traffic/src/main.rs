//! Traffic of benches, as one static program for both sides.
//!
//! `serve ADDRESS PORT` runs in an env; what a connection gets depends on its first byte, see [`serve`].
//! `http ADDRESS CONNECTIONS MILLISECONDS` runs on this machine, and prints requests a second.

#[cfg(target_os = "linux")]
mod http;
#[cfg(target_os = "linux")]
mod serve;

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", address, port] => serve::serve(&format!("{address}:{port}")),
        ["http", address, connections, span] => http::client(address, connections, span),
        _ => Err(std::io::Error::other(
            "usage: serve ADDRESS PORT | http ADDRESS CONNECTIONS MILLISECONDS",
        )),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}
