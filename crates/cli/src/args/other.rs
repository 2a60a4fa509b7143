//! Arguments of the commands about this program itself.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;
use lxc_dev_manager_core::model::{EnvName, GuestPort};
use lxc_dev_manager_core::preferences::Preference;

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Also what could still be undone
    #[arg(long)]
    pub(crate) all: bool,
    /// Don't ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SetPreference {
    /// Its name, as `config show` prints it
    pub(crate) name: Preference,
    /// Its value
    pub(crate) value: String,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The directory in which they are written
    #[arg(default_value = ".", value_name = "DIR")]
    pub(crate) pages: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Dial {
    /// Name of the env
    pub(crate) name: EnvName,
    /// The port in it
    pub(crate) port: GuestPort,
}

#[derive(Debug, Args)]
pub(crate) struct HostKeys {
    /// Name of the env
    pub(crate) name: EnvName,
    /// The host as ssh calls it
    pub(crate) host: String,
}
