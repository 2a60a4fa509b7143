//! `create` and `validate`.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::Context;
use crate::flags::Given;
use crate::home::check_name;
use crate::inspect::{Instance, existing, inspect};
use crate::log::{self, quoted};
use crate::yaml::Yaml;
use crate::{check, disk, edit};

/// The name that is meant where none is given.
pub(crate) const DEFAULT: &str = "default";

pub(crate) fn create(context: &Context, given: &Given) -> Result<ExitCode> {
    if let Some(code) = listing(given) {
        return code;
    }
    let instance = load_or_create(context, given, true)?;
    prepare(context, &instance)?;
    log::info(format!(
        "Run `limactl start {}` to start the instance.",
        instance.name
    ));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn listing(given: &Given) -> Option<Result<ExitCode>> {
    use std::io::Write;
    if given.bool("list-drivers") {
        let written = writeln!(std::io::stdout(), "qemu");
        return Some(written.map(|()| ExitCode::SUCCESS).map_err(Into::into));
    }
    given
        .bool("list-templates")
        .then_some(Ok(ExitCode::SUCCESS))
}

/// The instance that `create` or `start` is about; made where it is not there.
pub(crate) fn load_or_create(
    context: &Context,
    given: &Given,
    create_only: bool,
) -> Result<Instance> {
    let name = given.text("name").unwrap_or_default();
    let arg = given.args.first().map_or("", String::as_str);
    if !name.is_empty() {
        check_name(name)?;
    }
    if arg == "-" && name.is_empty() {
        bail!("must pass instance name with --name when reading template from stdin");
    }
    let (name, text) = if arg.is_empty() || check_name(arg).is_ok() {
        if !name.is_empty() && !arg.is_empty() && name != arg {
            bail!(
                "instance name {} and CLI flag --name={} cannot be specified together",
                quoted(arg),
                quoted(name)
            );
        }
        let name = [arg, name, DEFAULT]
            .into_iter()
            .find(|name| !name.is_empty());
        let name = name.unwrap_or(DEFAULT).to_owned();
        if let Some(instance) = inspect(&context.home, &name, &context.faults)? {
            return use_existing(context, given, instance, create_only);
        }
        if !arg.is_empty() && arg != DEFAULT {
            log::info(format!(
                "Creating an instance {0} from template:default (Not from template:{name})",
                quoted(&name)
            ));
            log::warn(format!(
                "This form is deprecated. Use `limactl create --name={name} template:default` instead"
            ));
        }
        (name, default_template(context)?)
    } else {
        let text = read_template(context, arg)?;
        let name = if name.is_empty() {
            name_of(arg)?
        } else {
            name.to_owned()
        };
        if create_only && inspect(&context.home, &name, &context.faults)?.is_some() {
            bail!("instance {} already exists", quoted(&name));
        }
        (name, text)
    };
    let params = Yaml::parse(&text, "template")
        .map_or_else(|_| Vec::new(), |yaml| yaml.param.into_keys().collect());
    let expressions = edit::expressions(given, &params)?;
    log::info("Terminal is not available, proceeding without opening an editor");
    let text = edit::apply(&text, &expressions)?;
    make(context, &name, &text)
}

fn use_existing(
    context: &Context,
    given: &Given,
    instance: Instance,
    create_only: bool,
) -> Result<Instance> {
    if instance.yaml.is_none() {
        bail!(
            "instance {:?} has configuration errors: {}",
            instance.name,
            instance.errors.join("\n")
        );
    }
    if create_only {
        bail!("instance {} already exists", quoted(&instance.name));
    }
    log::info(format!(
        "Using the existing instance {}",
        quoted(&instance.name)
    ));
    let path = instance.dir.join("lima.yaml");
    let text = std::fs::read_to_string(&path)?;
    let params: Vec<String> = instance.yaml()?.param.keys().cloned().collect();
    let expressions = edit::expressions(given, &params)?;
    if expressions.is_empty() {
        return Ok(instance);
    }
    let new = edit::apply(&text, &expressions)?;
    let yaml = Yaml::parse(&new, "main file")?;
    accept(context, &yaml).map_err(|error| edit::reject(&new, &error))?;
    std::fs::write(&path, &new)?;
    existing(&context.home, &instance.name, &context.faults)
}

/// What a text has to pass before it is written.
pub(crate) fn accept(context: &Context, yaml: &Yaml) -> Result<()> {
    check::refuse_unknown_fields(yaml, "main file")?;
    check::params(yaml)?;
    check::driver(yaml, &context.faults)?;
    check::validate(yaml, &context.faults)
}

/// The test's own default: the template of the real one would be downloaded.
fn default_template(context: &Context) -> Result<String> {
    let path = context.home.control().join("default.yaml");
    std::fs::read_to_string(&path).with_context(|| {
        format!(
            "the stand-in of the tests has no template:default; it would be {}",
            path.display()
        )
    })
}

fn read_template(context: &Context, arg: &str) -> Result<String> {
    if arg == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    if arg == "template:default" || arg == "template://default" {
        return default_template(context);
    }
    if let Some((scheme, _)) = arg.split_once(':')
        && scheme != "file"
        && !arg.starts_with('/')
    {
        bail!("the stand-in of the tests downloads no {arg}");
    }
    let path = arg.strip_prefix("file://").unwrap_or(arg);
    std::fs::read_to_string(path).with_context(|| format!("open {path}"))
}

/// The file's name without its ending.
fn name_of(arg: &str) -> Result<String> {
    let base = Path::new(arg)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    let stem = base
        .strip_suffix(".yaml")
        .or_else(|| base.strip_suffix(".yml"));
    let name = stem.unwrap_or(&base).replace(['.', '_'], "-");
    check_name(&name)?;
    Ok(name)
}

fn make(context: &Context, name: &str, text: &str) -> Result<Instance> {
    if text.trim().is_empty() {
        bail!("got empty instConfig");
    }
    let dir = context.home.new_instance(name)?;
    if dir.symlink_metadata().is_ok() {
        bail!(
            "instance {} already exists ({})",
            quoted(name),
            quoted(&dir.to_string_lossy())
        );
    }
    let yaml = Yaml::parse(
        text,
        &format!("main file `{}`", dir.join("lima.yaml").display()),
    )?;
    accept(context, &yaml)?;
    make_dir(&dir)?;
    context.faults.point("create", "dir");
    let written = write_files(context, &dir, name, text);
    if written.is_err() {
        let _ = std::fs::remove_dir_all(&dir);
    }
    written
}

fn write_files(context: &Context, dir: &Path, name: &str, text: &str) -> Result<Instance> {
    std::fs::write(dir.join("lima.yaml"), text)?;
    std::fs::write(dir.join("lima-version"), context.faults.version())?;
    context.faults.point("create", "yaml");
    let instance = existing(&context.home, name, &context.faults)?;
    edit::public_key(&context.home)?;
    std::fs::write(dir.join("cloud-config.yaml"), "#cloud-config\n")?;
    if instance.yaml()?.vm_type == "vz" {
        std::fs::write(dir.join("vz-identifier"), name)?;
    }
    Ok(instance)
}

pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    Ok(())
}

/// Disk and size: what fails here leaves the instance behind.
pub(crate) fn prepare(context: &Context, instance: &Instance) -> Result<()> {
    let yaml = instance.yaml()?;
    check::validate(yaml, &context.faults)?;
    disk::create(yaml, &instance.dir, &context.faults)?;
    context.faults.point("create", "disk");
    disk::resize(&instance.name, yaml, &instance.dir)
}

pub(crate) fn validate(context: &Context, given: &Given) -> Result<ExitCode> {
    for path in &given.args {
        let text = read_template(context, path)?;
        let yaml = Yaml::parse(&text, &format!("main file {}", quoted(path)))?;
        accept(context, &yaml)
            .with_context(|| format!("failed to validate YAML file {}", quoted(path)))?;
        log::info(format!("{}: OK", quoted(path)));
    }
    Ok(ExitCode::SUCCESS)
}
