//! Arguments of the commands about templates.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lxc_dev_manager_core::template::TemplateName;

#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    /// List the built-in templates and your own
    #[command(visible_alias = "ls")]
    List,
    /// Print a template
    Show(OneTemplate),
    /// Make a template of your own, from another one
    New(NewTemplate),
    /// Change a template in your editor; a built-in one becomes your own
    Edit(OneTemplate),
    /// Delete a template of your own
    #[command(visible_alias = "rm")]
    Delete(DeleteTemplate),
    /// Look whether templates can be used
    Validate(ValidateTemplates),
    /// Write a template that `limactl create` takes as it is
    Export(ExportTemplate),
}

#[derive(Debug, Args)]
pub(crate) struct OneTemplate {
    /// Name of the template
    pub(crate) name: TemplateName,
}

#[derive(Debug, Args)]
pub(crate) struct NewTemplate {
    /// Name of the template
    pub(crate) name: TemplateName,
    /// The one to begin with [default: the built-in one of that name, else ubuntu-24.04]
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) from: Option<TemplateName>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteTemplate {
    /// Name of the template
    pub(crate) name: TemplateName,
    /// Don't ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateTemplates {
    /// Names of templates, or files: what has a `/` in it or ends with `.yaml` [default: all]
    #[arg(value_name = "NAME|FILE")]
    pub(crate) which: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportTemplate {
    /// Name of the template
    pub(crate) name: TemplateName,
    /// The file, or `-` for stdout
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// Replace a file that is there
    #[arg(short, long)]
    pub(crate) force: bool,
}
