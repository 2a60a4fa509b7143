//! A running guest that holds its disk still while it is copied: its file system is frozen, with everything on the disk that
//! it had in memory. What writes there meanwhile waits.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, duplex, sink};
use tokio::time::timeout;

use crate::backend::lima::Lima;
use crate::backend::lima::blocking;
use crate::backend::{Backend, ExecIo, ExecSpec};
use crate::error::Result;
use crate::model::InstanceName;

/// Freezes and thaws.
const STILL: &str = include_str!("freeze.sh");
/// How long it may hold still: programs that wait for it end their own timeout.
const LONGEST: Duration = Duration::from_secs(30);
/// How long it may take until it does: it writes what it has in memory.
const TIMEOUT: Duration = Duration::from_secs(20);
/// More than it says.
const WORDS: usize = 64;

impl Lima {
    /// Does what blocks while the guest holds still. `None` where it can't, or didn't to the end: what was
    /// done then counts for nothing.
    pub(crate) async fn while_still<T: Send + 'static>(
        &self,
        name: &InstanceName,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Option<Result<T>> {
        let (hold, stdin) = duplex(WORDS);
        let (said, stdout) = duplex(WORDS);
        let spec = ExecSpec::new(["sh", "-c", STILL, "sh", &LONGEST.as_secs().to_string()]);
        let (lima, machine) = (self.clone(), name.clone());
        // Not ended with us: it lets go by itself at the end of its input, and a killed one wouldn't.
        let held = tokio::spawn(async move {
            let io = ExecIo::new(stdin, stdout, sink());
            lima.exec(&machine, &spec, io).await
        });
        let mut said = BufReader::new(said).lines();
        let is_still = matches!(
            timeout(TIMEOUT, said.next_line()).await,
            Ok(Ok(Some(line))) if line == "still"
        );
        let done = match is_still {
            true => Some(blocking(work).await),
            false => None,
        };
        drop(hold);
        let ended = timeout(LONGEST, held).await;
        let was_still = is_still && matches!(ended, Ok(Ok(Ok(0))));
        if !was_still {
            tracing::info!(%name, ?ended, is_still, "the guest doesn't hold its disk still");
        }
        done.filter(|_| was_still)
    }
}
