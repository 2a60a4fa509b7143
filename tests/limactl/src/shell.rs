//! `shell` and `copy`: the user's own `ssh` and `scp`, as the real one calls them.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::commands::Context;
use crate::flags::Given;
use crate::home::Home;
use crate::inspect::{Instance, Status, existing, inspect};
use crate::log::{self, quoted};
use crate::yaml::Yaml;

/// The options that `ssh.config` and `limactl shell` have in common, in the order of the real one.
pub(crate) fn options(home: &Home, dir: &Path, yaml: &Yaml) -> Vec<(String, String)> {
    let mut options = vec![(
        "IdentityFile".to_owned(),
        format!("\"{}\"", home.key().display()),
    )];
    let mut put = |key: &str, value: &str| options.push((key.to_owned(), value.to_owned()));
    put("StrictHostKeyChecking", "no");
    put("UserKnownHostsFile", "/dev/null");
    put("NoHostAuthenticationForLocalhost", "yes");
    put("PreferredAuthentications", "publickey");
    put("Compression", "no");
    put("BatchMode", "yes");
    put("IdentitiesOnly", "yes");
    put("GSSAPIAuthentication", "no");
    put(
        "Ciphers",
        "\"^aes128-gcm@openssh.com,aes256-gcm@openssh.com\"",
    );
    put("User", &yaml.user.name);
    put("ControlMaster", "auto");
    put(
        "ControlPath",
        &format!("\"{}\"", dir.join("ssh.sock").display()),
    );
    put("ControlPersist", "yes");
    if yaml.ssh.forward_agent {
        put("ForwardAgent", "yes");
    }
    options
}

/// Ends the connection that others share, if there is one.
pub(crate) fn end_master(instance: &Instance) {
    let socket = instance.dir.join("ssh.sock");
    if !socket.exists() {
        return;
    }
    let _ = Command::new("ssh")
        .args(["-O", "exit", "-F", "/dev/null", "-S"])
        .arg(&socket)
        .arg(instance.hostname())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let _ = std::fs::remove_file(socket);
}

/// A word for a POSIX shell.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\"'\"'"))
    }
}

/// `A=b` before the command stays an assignment.
fn command_line(args: &[String]) -> String {
    let mut assignments = true;
    let words: Vec<String> = args
        .iter()
        .map(|arg| match arg.split_once('=') {
            Some((name, value)) if assignments => format!("{name}={}", word(value)),
            _ => {
                assignments = false;
                word(arg)
            }
        })
        .collect();
    words.join(" ")
}

fn script(given: &Given, yaml: &Yaml, command: &[String]) -> String {
    let cwd = std::env::current_dir().ok();
    let mounted = |dir: &Path| {
        yaml.mounts
            .iter()
            .any(|mount| dir.starts_with(mount.source()))
    };
    let home = std::env::var("HOME").unwrap_or_default();
    let change = match (given.text("workdir").filter(|dir| !dir.is_empty()), cwd) {
        (Some(dir), _) => format!("cd {} || exit 1", word(dir)),
        (None, Some(cwd)) if mounted(&cwd) => {
            format!("cd {} || cd {}", word(&cwd.to_string_lossy()), word(&home))
        }
        (None, _) if !home.is_empty() && mounted(Path::new(&home)) => format!("cd {}", word(&home)),
        _ => "false".to_owned(),
    };
    let shell = word(given.text("shell").unwrap_or(&yaml.user.shell));
    let mut script = format!("{change} ; exec {shell} -l");
    if !command.is_empty() {
        script.push_str(&format!(" -c {}", word(&command_line(command))));
    }
    script
}

pub(crate) fn shell(context: &Context, given: &Given) -> Result<ExitCode> {
    for unsupported in ["sync", "preserve-env", "reconnect"] {
        if given.bool(unsupported) {
            bail!("the stand-in of the tests has no --{unsupported}");
        }
    }
    let mut args = given.args.clone();
    if let Some(name) = given.text("instance") {
        args.insert(0, name.to_owned());
    }
    if args.get(1).is_some_and(|arg| arg == "--") {
        args.remove(1);
    }
    let Some((name, command)) = args.split_first() else {
        bail!("requires instance name as first argument");
    };
    let mut instance = inspect(&context.home, name, &context.faults)?.ok_or_else(|| {
        anyhow!(
            "instance {} does not exist, run `limactl create {name}` to create a new instance",
            quoted(name)
        )
    })?;
    instance.yaml()?;
    if instance.status == Status::Stopped {
        if !given.bool("start") {
            bail!(
                "instance {} is stopped, run `limactl start {name}` to start the instance",
                quoted(name)
            );
        }
        let timeout = std::time::Duration::from_secs(600);
        crate::commands::start::run(context, &instance, timeout, false)?;
        instance = existing(&context.home, name, &context.faults)?;
    }
    let yaml = instance.yaml()?;
    let mut ssh = Command::new("ssh");
    ssh.args(ssh_args(&context.home, &instance, yaml));
    if std::io::stdout().is_terminal() {
        ssh.arg("-t");
    }
    ssh.args(["-o", "SendEnv=COLORTERM", "-q", "-p"])
        .arg(instance.ssh_port.to_string())
        .args(["127.0.0.1", "--"])
        .arg(script(given, yaml, command));
    Err(ssh.exec()).context("cannot run ssh")
}

fn ssh_args(home: &Home, instance: &Instance, yaml: &Yaml) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["-F".into(), "/dev/null".into()];
    for (key, value) in options(home, &instance.dir, yaml) {
        args.push("-o".into());
        args.push(format!("{key}={value}").into());
    }
    args
}

/// By scp; the real one takes rsync where both sides have it, which comes to the same.
pub(crate) fn copy(context: &Context, given: &Given) -> Result<ExitCode> {
    if let Some(backend) = given.text("backend")
        && !["auto", "scp", "rsync"].contains(&backend)
    {
        bail!(
            "invalid backend {}, must be one of scp, rsync, auto",
            quoted(backend)
        );
    }
    let mut scp = Command::new("scp");
    let mut paths: Vec<OsString> = Vec::new();
    let mut options = None;
    for arg in &given.args {
        let remote = arg.split_once(':').filter(|(name, _)| !name.contains('/'));
        let Some((name, path)) = remote else {
            paths.push(arg.into());
            continue;
        };
        let instance = inspect(&context.home, name, &context.faults)?.ok_or_else(|| {
            anyhow!(
                "instance {} does not exist, run `limactl create {name}` to create a new instance",
                quoted(name)
            )
        })?;
        if instance.status == Status::Stopped {
            bail!(
                "instance {} is stopped, run `limactl start {name}` to start the instance",
                quoted(name)
            );
        }
        let yaml = instance.yaml()?;
        paths.push(
            format!(
                "scp://{}@127.0.0.1:{}/{path}",
                yaml.user.name, instance.ssh_port
            )
            .into(),
        );
        options = Some(ssh_args(&context.home, &instance, yaml));
    }
    let Some(options) = options else {
        bail!("at least one of the paths must be in a guest");
    };
    scp.args(options).arg("-3");
    if given.bool("recursive") {
        scp.arg("-r");
    }
    if !given.bool("verbose") {
        scp.arg("-q");
    }
    log::info("Copying by scp");
    Err(scp.arg("--").args(paths).exec()).context("cannot run scp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_one_line_that_a_shell_takes_apart_again() {
        let args = ["A=x y", "printf", "%s|", "a b", "it's", "$HOME", "B=1;2"];
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let line = command_line(&args);
        let output = Command::new("sh")
            .args(["-c", &line])
            .env("HOME", "/nowhere")
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "a b|it's|$HOME|B=1;2|"
        );
    }
}
