//! Control-socket host of a CLI process that forwards: it has no window.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::Forwarding;
use crate::control::{Host, Role, Windows};
use crate::error::{Error, ErrorKind, Result};
use crate::view::Action;
use crate::watch::Watch;

pub(super) struct Headless {
    watch: Watch,
    forwarding: Forwarding,
    end: CancellationToken,
    windows: Windows,
}

impl Headless {
    /// `end` is cancelled when the app takes over.
    pub(super) fn new(watch: Watch, forwarding: Forwarding, end: CancellationToken) -> Self {
        Self {
            watch,
            forwarding,
            end,
            windows: Windows::default(),
        }
    }
}

fn no_app() -> Error {
    Error::new(ErrorKind::Unsupported, "the desktop app is not running")
        .with_hint("start it: `lxc-dev-manager-desktop`")
}

#[async_trait]
impl Host for Headless {
    fn role(&self) -> Role {
        Role::Cli
    }

    async fn act(&self, _: Action) -> Result<()> {
        Err(no_app())
    }

    fn watch(&self) -> &Watch {
        &self.watch
    }

    async fn show_window(&self) -> Result<()> {
        Err(no_app())
    }

    async fn step_down(&self) -> Result<()> {
        self.end.cancel();
        Ok(())
    }

    fn windows(&self) -> &Windows {
        &self.windows
    }

    fn forwarding(&self) -> &Forwarding {
        &self.forwarding
    }
}
