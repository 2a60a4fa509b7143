//! Services that never answer, in this process.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use libtest_mimic::Trial;
use lxc_dev_manager_core::backend::GuestStream;
use lxc_dev_manager_core::proxy::{RouteName, Service, Table, Upstream};
use lxc_dev_manager_core::view::EnvRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::local::{SOON, serve, trial};
use crate::stage::free_port;

/// The tests, each with its name.
pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_dial_without_end_ends_with_its_client",
            a_dial_without_end_ends_with_its_client,
        ),
        trial(
            "a_dial_without_end_ends_after_a_while",
            a_dial_without_end_ends_after_a_while,
        ),
    ]
}

/// A service that never answers. Says when it is dialled, and when that is given up.
struct Endless(mpsc::UnboundedSender<&'static str>);

/// Says that a dial was given up.
struct GivenUp(mpsc::UnboundedSender<&'static str>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        // At the end of a test nobody listens any more.
        let _ = self.0.send("given up");
    }
}

#[async_trait]
impl Service for Endless {
    async fn dial(&self) -> lxc_dev_manager_core::Result<GuestStream> {
        let _given_up = GivenUp(self.0.clone());
        // As above.
        let _ = self.0.send("dialled");
        std::future::pending().await
    }
}

/// A port of an env of its own, which never answers, and what is said of its dials.
fn endless() -> Result<(
    u16,
    mpsc::UnboundedReceiver<&'static str>,
    CancellationToken,
)> {
    let (says, said) = mpsc::unbounded_channel();
    let env = EnvRef {
        project_path: "/web".to_owned(),
        env: "a".parse()?,
    };
    let name = RouteName::of("a", Some("web"));
    let upstream = Upstream::new(env, name, Arc::new(Endless(says)));
    let number = free_port()?;
    let table = Table {
        focused: Some(Arc::new(upstream)),
        ..Table::default()
    };
    let end = serve(number, table)?;
    Ok((number, said, end))
}

async fn a_dial_without_end_ends_with_its_client() -> Result<()> {
    let (number, mut said, end) = endless()?;
    for reset in [true, false] {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await?;
        client.write_all(b"\x01\x02").await?;
        let mut next = async || tokio::time::timeout(SOON, said.recv()).await;
        ensure!(next().await? == Some("dialled"));
        if reset {
            client.set_zero_linger()?;
        }
        drop(client);
        ensure!(next().await? == Some("given up"), "reset: {reset}");
    }
    end.cancel();
    Ok(())
}

async fn a_dial_without_end_ends_after_a_while() -> Result<()> {
    let (number, mut said, end) = endless()?;
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await?;
    ensure!(said.recv().await == Some("dialled"));
    let mut answer = Vec::new();
    // However it is told: the end comes.
    let _ = tokio::time::timeout(SOON, client.read_to_end(&mut answer)).await?;
    ensure!(said.recv().await == Some("given up"));
    end.cancel();
    Ok(())
}
