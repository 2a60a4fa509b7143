//! Arguments of template commands.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lxc_dev_manager_core::template::TemplateName;

#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    /// List built-in and user templates
    #[command(visible_alias = "ls")]
    List,
    /// Print a template
    Show(OneTemplate),
    /// Create a user template from another one
    New(NewTemplate),
    /// Edit a template; a built-in one is copied first
    ///
    /// Opens it in $VISUAL, $EDITOR or vi, and saves valid changes.
    Edit(OneTemplate),
    /// Delete a user template
    ///
    /// A built-in template of that name becomes visible again.
    #[command(visible_alias = "rm")]
    Delete(DeleteTemplate),
    /// Validate templates
    ///
    /// Exit code 1 if one is invalid.
    Validate(ValidateTemplates),
    /// Export a template for `limactl create`
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
    /// Source [default: same-named built-in, or ubuntu-24.04]
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) from: Option<TemplateName>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteTemplate {
    /// Name of the template
    pub(crate) name: TemplateName,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateTemplates {
    /// Template names or YAML files [default: all]
    #[arg(value_name = "NAME|FILE")]
    pub(crate) which: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportTemplate {
    /// Name of the template
    pub(crate) name: TemplateName,
    /// File, or `-` for stdout
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// Replace an existing file
    #[arg(short, long)]
    pub(crate) force: bool,
}
