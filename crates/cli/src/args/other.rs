//! Arguments of the remaining commands.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;
use lxc_dev_manager_core::model::{EnvName, GuestPort};
use lxc_dev_manager_core::preferences::Preference;

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Include unexpired undo copies
    #[arg(long)]
    pub(crate) all: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SetPreference {
    /// Name of the preference
    pub(crate) name: Preference,
    /// Value of the preference
    pub(crate) value: String,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Shell
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Output directory
    #[arg(default_value = ".", value_name = "DIR")]
    pub(crate) pages: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Dial {
    /// Name of the env
    pub(crate) name: EnvName,
    /// Port in the env
    pub(crate) port: GuestPort,
}

#[derive(Debug, Args)]
pub(crate) struct HostKeys {
    /// Name of the env
    pub(crate) name: EnvName,
    /// Host name to print before the keys
    pub(crate) host: String,
}
