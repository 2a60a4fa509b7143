//! What happens in the guest.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::lima::LimaStage;

pub fn the_user_is_as_asked_for(stage: &LimaStage) -> Result<()> {
    stage.running("a", "")?;
    let script = "id -un; id -u; echo $HOME; sudo -n id -u; hostname";
    let text = stage.run("a", &["sh", "-c", script])?;
    ensure!(text == "dev\n1000\n/home/dev\n0\nlima-a\n", "{text:?}");
    Ok(())
}

pub fn provision_scripts_run_at_each_boot(stage: &LimaStage) -> Result<()> {
    let scripts = "param: {Word: \"a b; c\"}\nprovision:\n\
        - mode: system\n  script: |\n    #!/bin/sh\n    echo \"$(id -u) $PARAM_Word\" >>/var/system\n\
        - mode: user\n  script: |\n    #!/bin/sh\n    echo \"$(id -u) $PARAM_Word\" >>$HOME/user\n";
    stage.running("a", scripts)?;
    let both = ["sh", "-c", "cat /var/system ~/user"];
    ensure!(stage.run("a", &both)? == "0 a b; c\n1000 a b; c\n");
    stage.ok(&["restart", "--tty=false", "a"])?;
    ensure!(stage.run("a", &both)? == "0 a b; c\n0 a b; c\n1000 a b; c\n1000 a b; c\n");
    Ok(())
}

pub fn a_failing_script_fails_no_start_and_leaves_a_trace(stage: &LimaStage) -> Result<()> {
    let scripts = "provision:\n\
        - mode: system\n  script: |\n    #!/bin/sh\n    echo first words\n    exit 3\n\
        - mode: system\n  script: |\n    #!/bin/sh\n    touch /var/second\n";
    stage.running("a", scripts)?;
    let log = stage.run("a", &["sudo", "cat", "/var/log/cloud-init-output.log"])?;
    ensure!(log.contains("first words"), "{log}");
    ensure!(
        log.contains("WARNING: Failed to execute /mnt/lima-cidata/provision.system/00000000"),
        "{log}"
    );
    stage.run("a", &["test", "-e", "/var/second"])?;
    Ok(())
}

pub fn mounts_are_seen_and_written_as_allowed(stage: &LimaStage) -> Result<()> {
    for name in ["open", "closed"] {
        fs::create_dir_all(stage.path(name))?;
        fs::write(stage.path(name).join("word"), name)?;
    }
    let yaml = fs::read_to_string(stage.yaml("")?)?.replace("mounts: []\n", &format!(
        "mounts:\n- {{location: \"{}\", mountPoint: /mnt/open, writable: true}}\n- {{location: \"{}\", mountPoint: /mnt/closed}}\n",
        stage.path("open").display(),
        stage.path("closed").display(),
    ));
    let path = stage.path("mounts.yaml");
    fs::write(&path, yaml)?;
    stage.ok(&["create", "--tty=false", "--name=a", &path.to_string_lossy()])?;
    stage.ok(&["start", "--tty=false", "a"])?;
    ensure!(stage.run("a", &["cat", "/mnt/open/word", "/mnt/closed/word"])? == "openclosed");
    stage.run("a", &["sh", "-c", "echo new >/mnt/open/new"])?;
    ensure!(fs::read_to_string(stage.path("open").join("new"))? == "new\n");
    let refused = stage.run("a", &["sudo", "touch", "/mnt/closed/new"]);
    ensure!(refused.is_err() && !stage.path("closed").join("new").exists());
    Ok(())
}

pub fn files_outlive_a_stop(stage: &LimaStage) -> Result<()> {
    stage.running("a", "")?;
    stage.run(
        "a",
        &[
            "sudo",
            "sh",
            "-c",
            "echo 1 >/root/file; chown 123:45 /root/file; chmod 4750 /root/file; sync",
        ],
    )?;
    stage.ok(&["stop", "a"])?;
    stage.ok(&["start", "--tty=false", "a"])?;
    let text = stage.run("a", &["sudo", "stat", "-c", "%u %g %a %s", "/root/file"])?;
    ensure!(text == "123 45 4750 2\n", "{text:?}");
    Ok(())
}

fn ssh(stage: &LimaStage, options: &[&str], command: &[&str]) -> Result<Command> {
    let mut ssh = Command::new("ssh");
    ssh.arg("-F")
        .arg(stage.instance("a").join("ssh.config"))
        .args(options)
        .arg("lima-a")
        .args(command);
    Ok(ssh)
}

pub fn ssh_by_its_config_reaches_it(stage: &LimaStage) -> Result<()> {
    stage.running("a", "")?;
    let output = ssh(stage, &[], &["id", "-un"])?
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.stdout == b"dev\n", "{output:?}");
    // With a terminal, on a connection of its own.
    let alone = ["-tt", "-o", "ControlPath=none"];
    let output = ssh(stage, &alone, &["test -t 0 && echo terminal"])?
        .stdin(Stdio::null())
        .output()?;
    ensure!(
        String::from_utf8_lossy(&output.stdout).trim() == "terminal",
        "{output:?}"
    );
    Ok(())
}

/// Starts a web server on the guest's loopback, on the port that is the script's first argument; every connection of it
/// gets an answer. Not every guest has all of these programs.
pub const SERVE: &str = r#"busybox httpd -p 127.0.0.1:$0 -h /tmp 2>/dev/null ||
    if command -v nc >/dev/null; then
        (while :; do printf 'HTTP/1.0 200 OK\r\n\r\n' | nc -l -p $0 -s 127.0.0.1; done >/dev/null 2>&1 &)
    else
        perl -MIO::Socket::INET -e '
            my $l = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => shift, Listen => 9, ReuseAddr => 1) or die;
            while (my $c = $l->accept) { sysread $c, my $b, 4096; print $c "HTTP/1.0 200 OK\r\n\r\n"; close $c }
        ' $0 </dev/null >/dev/null 2>&1 &
    fi"#;

pub fn serve(stage: &LimaStage, port: u16) -> Result<()> {
    stage
        .run("a", &["sh", "-c", SERVE, &port.to_string()])
        .map(drop)
}

/// Asks it.
pub fn ask(mut to: impl Write, mut from: impl Read) -> std::io::Result<bool> {
    to.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut word = [0; 5];
    from.read_exact(&mut word)?;
    Ok(&word == b"HTTP/")
}

pub fn a_port_on_the_guests_loopback_is_reached(stage: &LimaStage) -> Result<()> {
    stage.running("a", "")?;
    serve(stage, 7001)?;
    stage.until("it answers", || {
        let mut child = ssh(stage, &["-W", "127.0.0.1:7001"], &[])?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let to = child.stdin.take().context("no stdin")?;
        let from = child.stdout.take().context("no stdout")?;
        let answered = ask(to, from).unwrap_or(false);
        child.kill()?;
        child.wait()?;
        Ok(answered)
    })
}

pub fn host_keys_change_with_each_boot(stage: &LimaStage) -> Result<()> {
    stage.running("a", "")?;
    let key = ["cat", "/etc/ssh/ssh_host_ed25519_key.pub"];
    let first = stage.run("a", &key)?;
    stage.ok(&["restart", "--tty=false", "a"])?;
    ensure!(stage.run("a", &key)? != first);
    Ok(())
}
