//! Clients that ask for envs, and look who answers.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use lxc_dev_manager_tests::stage::request;

use crate::place::{ENVS, Place};
use crate::storm::Dice;

/// Clients at once.
const CLIENTS: usize = 4;
/// Of so many requests one is a transfer that doesn't end by itself.
const TRANSFERS: u64 = 10;
/// Bytes of a transfer that are taken.
const ENOUGH: usize = 1 << 20;
/// Pause of a client who isn't let in.
const PAUSE: Duration = Duration::from_millis(20);

/// What became of requests.
#[derive(Debug, Default)]
pub struct Counts {
    /// Answers of the env that was asked for.
    pub right: [AtomicU64; 3],
    /// Pages that say that it isn't there now.
    pub pages: AtomicU64,
    /// Refused, or broken off: it was stopped, or who forwards was killed.
    pub broken: AtomicU64,
    /// Transfers of which all that was wanted came.
    pub transfers: AtomicU64,
    /// No answer for far longer than anybody is held.
    pub silent: AtomicU64,
    /// Answers of another env than the one that was asked for.
    pub wrong: AtomicU64,
}

/// What clients share.
struct Common {
    counts: Counts,
    paused: AtomicBool,
    over: AtomicBool,
    busy: AtomicUsize,
    port: u16,
    own: Vec<u16>,
    names: Vec<String>,
}

/// The clients at work.
pub struct Load {
    common: Arc<Common>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts them.
    pub fn start(place: &Place, dice: &mut Dice) -> Self {
        let common = Arc::new(Common {
            counts: Counts::default(),
            paused: AtomicBool::new(false),
            over: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            port: place.stage.port,
            own: place.own.clone(),
            names: ENVS.map(|env| place.stage.name(env)).to_vec(),
        });
        let clients = (0..CLIENTS)
            .map(|_| {
                let (common, dice) = (common.clone(), dice.fork());
                std::thread::spawn(move || common.ask_on(dice))
            })
            .collect();
        Self { common, clients }
    }

    /// Has them wait, and waits until they do.
    pub fn pause(&self) {
        self.common.paused.store(true, SeqCst);
        while self.common.busy.load(SeqCst) > 0 {
            std::thread::sleep(PAUSE);
        }
    }

    /// Has them ask again.
    pub fn go_on(&self) {
        self.common.paused.store(false, SeqCst);
    }

    /// Asks without a name; `env` is the default target.
    pub fn ask_focused(&self, env: &str) {
        let host = format!("127.0.0.1:{}", self.common.port);
        let answer = request(self.common.port, &host, "");
        self.common.judge(env, &host, answer);
    }

    /// Ends them.
    pub fn end(self) -> Result<Counts> {
        self.common.over.store(true, SeqCst);
        for client in self.clients {
            ensure!(client.join().is_ok(), "a client panicked");
        }
        match Arc::try_unwrap(self.common) {
            Ok(common) => Ok(common.counts),
            Err(_) => bail!("a client goes on"),
        }
    }
}

impl Common {
    fn ask_on(&self, mut dice: Dice) {
        while !self.over.load(SeqCst) {
            // Counted before it looks, so that nobody slips through a pause.
            self.busy.fetch_add(1, SeqCst);
            let paused = self.paused.load(SeqCst);
            if !paused {
                self.ask_once(&mut dice);
            }
            self.busy.fetch_sub(1, SeqCst);
            if paused {
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn ask_once(&self, dice: &mut Dice) {
        let index = dice.below(3) as usize;
        // By name on the shared port, or on the port that is its own, where no name counts.
        let (port, host) = match dice.below(2) {
            0 => (self.port, self.names[index].as_str()),
            _ => (self.own[index], "localhost"),
        };
        match dice.below(TRANSFERS) {
            0 => self.transfer(port, host),
            _ => self.judge(ENVS[index], host, request(port, host, "")),
        }
    }

    fn judge(&self, env: &str, host: &str, answer: Result<String>) {
        let counts = &self.counts;
        let place = ENVS.iter().position(|other| *other == env);
        let counter = match answer {
            Err(error) => {
                let kind = error.downcast_ref().map(std::io::Error::kind);
                match kind {
                    Some(ErrorKind::WouldBlock | ErrorKind::TimedOut) => &counts.silent,
                    _ => {
                        std::thread::sleep(PAUSE);
                        &counts.broken
                    }
                }
            }
            Ok(answer) => match answer.split_once("\r\n\r\n") {
                Some((head, body)) if head.contains(" 200 ") => {
                    let body = body.trim_end();
                    match place.filter(|_| body == env) {
                        Some(place) => &counts.right[place],
                        // Broken off before its only line was there.
                        None if body.is_empty() => &counts.broken,
                        None => {
                            println!(
                                "wrong: {env} was asked for by {host}, and this came: {answer:?}"
                            );
                            &counts.wrong
                        }
                    }
                }
                Some((head, _)) if head.contains(" 503 ") => &counts.pages,
                Some(_) => {
                    println!("wrong: {env} was asked for by {host}, and this came: {answer:?}");
                    &counts.wrong
                }
                None => &counts.broken,
            },
        };
        counter.fetch_add(1, SeqCst);
    }

    fn transfer(&self, port: u16, host: &str) {
        let counter = match take(port, host) {
            Ok(()) => &self.counts.transfers,
            Err(_) => {
                std::thread::sleep(PAUSE);
                &self.counts.broken
            }
        };
        counter.fetch_add(1, SeqCst);
    }
}

fn take(port: u16, host: &str) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET /long HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
    let (mut buffer, mut all) = (vec![0; 65536], 0);
    while all < ENOUGH {
        match stream.read(&mut buffer)? {
            0 => bail!("it ended"),
            length => all += length,
        }
    }
    Ok(())
}

impl Counts {
    /// Whether all is as it has to be.
    pub fn judge(&self) -> Result<()> {
        let wrong = self.wrong.load(SeqCst);
        ensure!(wrong == 0, "{wrong} answers of the wrong env");
        let silent = self.silent.load(SeqCst);
        ensure!(silent == 0, "{silent} clients got no answer");
        let all = self.right.iter().all(|right| right.load(SeqCst) > 0);
        ensure!(all, "an env never answered: {self:?}");
        Ok(())
    }
}
