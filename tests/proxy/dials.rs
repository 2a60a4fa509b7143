//! Dials that never complete, in this process.

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

use crate::local::{TIMEOUT, serve, trial};
use crate::stage::free_port;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "pending_dial_is_cancelled_with_client",
            pending_dial_is_cancelled_with_client,
        ),
        trial("pending_dial_times_out", pending_dial_times_out),
    ]
}

/// A service whose dials never complete. Reports start and cancellation of dials.
struct Endless(mpsc::UnboundedSender<&'static str>);

/// Reports the cancellation of a dial.
struct ReportCancelled(mpsc::UnboundedSender<&'static str>);

impl Drop for ReportCancelled {
    fn drop(&mut self) {
        // The receiver is gone at the end of a test.
        let _ = self.0.send("cancelled");
    }
}

#[async_trait]
impl Service for Endless {
    async fn dial(&self) -> lxc_dev_manager_core::Result<GuestStream> {
        let _report = ReportCancelled(self.0.clone());
        let _ = self.0.send("dialled");
        std::future::pending().await
    }
}

/// Serves an own port of an endless service. Also returns its reports.
fn endless() -> Result<(
    u16,
    mpsc::UnboundedReceiver<&'static str>,
    CancellationToken,
)> {
    let (reports, received) = mpsc::unbounded_channel();
    let env = EnvRef {
        project_path: "/web".to_owned(),
        env: "a".parse()?,
    };
    let name = RouteName::of("a", Some("web"));
    let upstream = Upstream::new(env, name, Arc::new(Endless(reports)));
    let number = free_port()?;
    let table = Table {
        default: Some(Arc::new(upstream)),
        ..Table::default()
    };
    let end = serve(number, table)?;
    Ok((number, received, end))
}

async fn pending_dial_is_cancelled_with_client() -> Result<()> {
    let (number, mut received, end) = endless()?;
    for reset in [true, false] {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await?;
        client.write_all(b"\x01\x02").await?;
        let mut next = async || tokio::time::timeout(TIMEOUT, received.recv()).await;
        ensure!(next().await? == Some("dialled"));
        if reset {
            client.set_zero_linger()?;
        }
        drop(client);
        ensure!(next().await? == Some("cancelled"), "reset: {reset}");
    }
    end.cancel();
    Ok(())
}

async fn pending_dial_times_out() -> Result<()> {
    let (number, mut received, end) = endless()?;
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await?;
    ensure!(received.recv().await == Some("dialled"));
    let mut answer = Vec::new();
    // Closed or reset, without an answer: its protocol is unknown.
    let _ = tokio::time::timeout(TIMEOUT, client.read_to_end(&mut answer)).await?;
    ensure!(answer.is_empty(), "{answer:?}");
    ensure!(received.recv().await == Some("cancelled"));
    end.cancel();
    Ok(())
}
