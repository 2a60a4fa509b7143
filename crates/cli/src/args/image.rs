//! Arguments of the commands about images.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lxc_dev_manager_core::model::{EnvName, ImageName};

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Make an image of an env
    Create(CreateImage),
    /// List the images with a name
    #[command(visible_alias = "ls")]
    List(ListImages),
    /// Tell all about an image
    Info(OneImage),
    /// Delete an image
    Delete(DeleteImage),
    /// Give an image another name
    Rename(RenameImage),
    /// Write an image to a file, for a colleague
    Export(ExportImage),
    /// Take an image from a file
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
    /// Also those without a name
    #[arg(short, long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OneImage {
    /// Name, or the beginning of the fingerprint
    pub(crate) name: ImageName,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteImage {
    /// Name, or the beginning of the fingerprint
    pub(crate) name: ImageName,
    /// Don't ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RenameImage {
    /// Its name until now
    pub(crate) old: ImageName,
    /// Its name from now on
    pub(crate) new: ImageName,
}

#[derive(Debug, Args)]
pub(crate) struct ExportImage {
    /// Name, or the beginning of the fingerprint
    pub(crate) name: ImageName,
    /// The file, or `-` for stdout
    pub(crate) file: PathBuf,
    /// Replace a file that is there
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportImage {
    /// The file, or `-` for stdin
    pub(crate) file: PathBuf,
    /// Name of the image
    pub(crate) name: ImageName,
}
