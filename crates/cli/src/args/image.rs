//! Arguments of image commands.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lxc_dev_manager_core::model::{EnvName, ImageName};

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Create an image from an env
    ///
    /// A running env is stopped until its snapshot is taken.
    Create(CreateImage),
    /// List named images
    #[command(visible_alias = "ls")]
    List(ListImages),
    /// Show an image
    ///
    /// With the instances that were created from it.
    Info(OneImage),
    /// Delete an image
    ///
    /// With all its names. Instances that were created from it stay.
    Delete(DeleteImage),
    /// Rename an image
    Rename(RenameImage),
    /// Export an image to a file
    Export(ExportImage),
    /// Import an image from a file
    ///
    /// From an engine of the same kind.
    Import(ImportImage),
}

#[derive(Debug, Args)]
pub(crate) struct CreateImage {
    /// Name of the env
    pub(crate) env: EnvName,
    /// Name of the image
    pub(crate) image: ImageName,
}

#[derive(Debug, Args)]
pub(crate) struct ListImages {
    /// Include images without a name
    #[arg(short, long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OneImage {
    /// Name, or prefix of the fingerprint
    pub(crate) name: ImageName,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteImage {
    /// Name, or prefix of the fingerprint
    pub(crate) name: ImageName,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RenameImage {
    /// Current name
    pub(crate) old: ImageName,
    /// New name
    pub(crate) new: ImageName,
}

#[derive(Debug, Args)]
pub(crate) struct ExportImage {
    /// Name, or prefix of the fingerprint
    pub(crate) name: ImageName,
    /// File, or `-` for stdout
    pub(crate) file: PathBuf,
    /// Replace an existing file
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportImage {
    /// File, or `-` for stdin
    pub(crate) file: PathBuf,
    /// Name of the image
    pub(crate) name: ImageName,
}
