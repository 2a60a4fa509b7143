//! Clients that request envs and check which one answers.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use lxc_dev_manager_tests::stage::request;

use crate::place::{ENVS, Place};
use crate::storm::random;

const CLIENTS: usize = 4;
/// One of so many requests is an endless transfer.
const TRANSFERS: u64 = 10;
/// Bytes read of a transfer.
const TRANSFER_BYTES: usize = 1 << 20;
/// Delay after a refused request.
const RETRY_DELAY: Duration = Duration::from_millis(20);
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Outcomes of requests, besides an answer of the requested env, which counts under its name.
const UNAVAILABLE: &str = "503";
/// Refused or interrupted: the env was stopped, or the forwarder killed.
const BROKEN: &str = "broken";
const TRANSFERRED: &str = "transferred";
/// No answer within the timeout.
const SILENT: &str = "silent";
/// An answer of another env.
const WRONG: &str = "wrong";

struct Shared {
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// Held by clients during a request.
    gate: RwLock<()>,
    is_over: AtomicBool,
    port: u16,
    own_ports: Vec<u16>,
    names: Vec<String>,
}

pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(place: &Place) -> Self {
        let shared = Arc::new(Shared {
            counts: Mutex::default(),
            gate: RwLock::default(),
            is_over: AtomicBool::new(false),
            port: place.stage.port,
            own_ports: place.own_ports.clone(),
            names: ENVS.map(|env| place.stage.name(env)).to_vec(),
        });
        let client = |_| {
            let shared = shared.clone();
            std::thread::spawn(move || shared.run_client())
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { shared, clients }
    }

    /// Waits for open requests, and pauses the clients until the guard is dropped.
    pub fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        let gate = self.shared.gate.write();
        gate.unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests the default target, which is this env.
    pub fn request_default(&self, env: &'static str) {
        let port = self.shared.port;
        self.shared.request(env, port, &format!("127.0.0.1:{port}"));
    }

    /// Ends the clients and judges all answers.
    pub fn end(self) -> Result<()> {
        self.shared.is_over.store(true, SeqCst);
        for client in self.clients {
            ensure!(client.join().is_ok(), "a client panicked");
        }
        let counts = self.shared.counts.lock();
        let counts = counts.unwrap_or_else(PoisonError::into_inner);
        println!("{counts:?}");
        for bad in [WRONG, SILENT] {
            ensure!(!counts.contains_key(bad), "{bad}: {counts:?}");
        }
        let has_answered = |env: &&str| counts.contains_key(*env);
        ensure!(
            ENVS.iter().all(has_answered),
            "an env never answered: {counts:?}"
        );
        Ok(())
    }
}

impl Shared {
    fn run_client(&self) {
        while !self.is_over.load(SeqCst) {
            let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            let index = random(3) as usize;
            // By name on the shared port, or on the env's own port, without a name.
            let (port, host) = match random(2) {
                0 => (self.port, self.names[index].as_str()),
                _ => (self.own_ports[index], "localhost"),
            };
            match random(TRANSFERS) {
                0 => self.count(transfer(port, host).map_or(BROKEN, |()| TRANSFERRED)),
                _ => self.request(ENVS[index], port, host),
            }
        }
    }

    fn request(&self, env: &'static str, port: u16, host: &str) {
        let answer = request(port, host, "");
        let outcome = outcome(env, &answer);
        if outcome == WRONG {
            println!("wrong: {host} requested {env}: {answer:?}");
        }
        self.count(outcome);
    }

    fn count(&self, outcome: &'static str) {
        if outcome == BROKEN {
            std::thread::sleep(RETRY_DELAY);
        }
        let counts = self.counts.lock();
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        *counts.entry(outcome).or_default() += 1;
    }
}

fn outcome(env: &'static str, answer: &Result<String>) -> &'static str {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let kind = error.downcast_ref().map(std::io::Error::kind);
            let is_timeout = matches!(kind, Some(ErrorKind::WouldBlock | ErrorKind::TimedOut));
            return if is_timeout { SILENT } else { BROKEN };
        }
    };
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => match body.trim_end() {
            body if body == env => env,
            // Interrupted before its only line.
            "" => BROKEN,
            _ => WRONG,
        },
        Some((head, _)) if head.contains(" 503 ") => UNAVAILABLE,
        Some(_) => WRONG,
        None => BROKEN,
    }
}

fn transfer(port: u16, host: &str) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    write!(stream, "GET /long HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
    let (mut buffer, mut bytes) = (vec![0; 65536], 0);
    while bytes < TRANSFER_BYTES {
        match stream.read(&mut buffer)? {
            0 => bail!("it ended"),
            length => bytes += length,
        }
    }
    Ok(())
}
