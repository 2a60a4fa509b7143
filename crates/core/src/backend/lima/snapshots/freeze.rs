//! Freezes the file systems of a running guest while its disk is copied: everything in memory is on the disk then, and
//! writers wait.

use crate::backend::Exec;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, duplex, sink};
use tokio::time::timeout;

use super::super::backend::Lima;
use super::super::blocking::blocking;
use crate::backend::{ExecIo, ExecSpec};
use crate::error::Result;
use crate::model::InstanceName;

/// Freezes and thaws.
const FREEZE: &str = include_str!("freeze.sh");
/// Longest freeze: waiting programs may run into timeouts of their own.
const MAX_FREEZE: Duration = Duration::from_secs(30);
/// Includes flushing the page cache.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(20);
const BUFFER_BYTES: usize = 64;

impl Lima {
    /// Runs blocking work while the guest is frozen. `None` if it cannot be frozen, or was thawed before the end; then the
    /// result must not be used.
    pub(crate) async fn while_frozen<T: Send + 'static>(
        &self,
        name: &InstanceName,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Option<Result<T>> {
        let (hold, stdin) = duplex(BUFFER_BYTES);
        let (output, stdout) = duplex(BUFFER_BYTES);
        let spec = ExecSpec::new(["sh", "-c", FREEZE, "sh", &MAX_FREEZE.as_secs().to_string()]);
        let (lima, machine) = (self.clone(), name.clone());
        // Detached: it thaws at the end of its input, but not when killed.
        let running = tokio::spawn(async move {
            let io = ExecIo::new(stdin, stdout, sink());
            lima.exec(&machine, &spec, io).await
        });
        let mut output = BufReader::new(output).lines();
        let is_frozen = matches!(
            timeout(FREEZE_TIMEOUT, output.next_line()).await,
            Ok(Ok(Some(line))) if line == "frozen"
        );
        let done = if is_frozen {
            Some(blocking(work).await)
        } else {
            None
        };
        drop(hold);
        let ended = timeout(MAX_FREEZE, running).await;
        let stayed_frozen = is_frozen && matches!(ended, Ok(Ok(Ok(0))));
        if !stayed_frozen {
            tracing::info!(%name, ?ended, is_frozen, "the guest cannot be frozen");
        }
        done.filter(|_| stayed_frozen)
    }
}
