//! Commands, users and sockets inside an env.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::Workspace;

pub fn exec_passes_exit_codes_and_streams(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    for (command, code) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["no-such-command"], 127),
        (&["/etc/passwd"], 126),
        (&["sh", "-c", "kill -TERM $$"], 143),
    ] {
        for user in ["dev", "root"] {
            let arguments = [&["exec", "-u", user, "dev", "--"][..], command].concat();
            let ran = workspace.run(&arguments)?;
            ensure!(ran.code == Some(code), "{user}: {command:?}: {ran:?}");
        }
    }
    let mut child = workspace
        .command(&["exec", "dev", "cat"])?
        .stdin(Stdio::piped())
        .spawn()?;
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    child
        .stdin
        .take()
        .context("no stdin")?
        .write_all(&bytes[..65_536])?;
    let output = child.wait_with_output()?;
    ensure!(
        output.stdout == bytes[..65_536],
        "{} bytes came back",
        output.stdout.len()
    );
    let ran = workspace.run(&["exec", "dev", "sh", "-c", "echo out; echo err >&2"])?;
    ensure!(
        (ran.stdout.as_str(), ran.stderr.as_str()) == ("out\n", "err\n"),
        "{ran:?}"
    );
    Ok(())
}

pub fn exec_runs_as_the_user(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let said = workspace.ok(&[
        "exec",
        "dev",
        "--",
        "sh",
        "-c",
        "id -un; pwd; id -Gn; sudo -n id -un",
    ])?;
    let lines: Vec<&str> = said.lines().collect();
    ensure!(lines[0] == "dev" && lines[1] == "/home/dev", "{said}");
    ensure!(lines[2].split(' ').any(|group| group == "sudo"), "{said}");
    ensure!(lines[3] == "root", "{said}");
    let said = workspace.ok(&["exec", "dev", "--", "echo", "a b; id", "$(id)", "'"])?;
    ensure!(said == "a b; id $(id) '\n", "{said}");
    Ok(())
}

pub fn password_is_set_literally(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::bare(engine)?;
    let password = "a'b\"c $(touch /pwned) ; : \\ #é";
    let text = format!(
        "project: {}\ndefaults:\n  user: {{name: ada, password: {}}}\ncontainers:\n",
        workspace.project,
        serde_json::to_string(password)?
    );
    std::fs::write(workspace.directory().join("containers.yaml"), text)?;
    workspace.create("dev")?;
    let check =
        "my $hash = (getpwnam 'ada')[1]; print crypt($ARGV[0], $hash) eq $hash ? 'same' : 'other'";
    let said = workspace.ok(&[
        "exec", "-u", "root", "dev", "--", "perl", "-e", check, password,
    ])?;
    ensure!(said == "same", "{said}");
    let traces = workspace.run(&["exec", "-u", "root", "dev", "--", "test", "-e", "/pwned"])?;
    ensure!(traces.code == Some(1), "password was executed: {traces:?}");
    let said = workspace.ok(&["exec", "-u", "root", "dev", "--", "sshd", "-T"]);
    ensure!(
        said?.contains("passwordauthentication yes"),
        "password login is disabled"
    );
    Ok(())
}

fn address(workspace: &Workspace) -> Result<String> {
    let list: serde_json::Value = serde_json::from_str(&workspace.ok(&["list", "--json"])?)?;
    let address = list["envs"][0]["address"].as_str().context("no address")?;
    Ok(address.to_owned())
}

pub fn ssh_accepts_the_key(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let key = workspace.home().join("ssh/id_ed25519");
    let output = Command::new("ssh")
        .args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
        ])
        .args([
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "ConnectTimeout=10",
            "-i",
        ])
        .arg(key)
        .arg(format!("dev@{}", address(&workspace)?))
        .args(["id", "-un"])
        .output()?;
    ensure!(output.stdout == b"dev\n", "{output:?}");
    Ok(())
}

/// A web server in Perl, which every Debian has.
const SERVER: &str = r#"
use IO::Socket::INET;
my $s = IO::Socket::INET->new(Listen => 16, LocalPort => 8000, ReuseAddr => 1) or die "listen: $!";
print STDOUT "listening\n"; close STDOUT;
while (my $c = $s->accept) { <$c>; print $c "HTTP/1.0 200 OK\r\n\r\nhello from the env\n"; close $c; }
"#;

pub fn forwards_a_port(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::bare(engine)?;
    // Tests run in parallel, so pick a free port.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let server = SERVER.replace("8000", &port.to_string());
    workspace.ok(&["create", "-n", &workspace.project, "-p", &port.to_string()])?;
    workspace.create("dev")?;
    let mut service = workspace
        .command(&["exec", "dev", "--", "perl", "-e", &server])?
        .spawn()?;
    let mut line = String::new();
    BufReader::new(service.stdout.take().context("no output")?).read_line(&mut line)?;
    ensure!(line == "listening\n", "{line:?}");
    let mut proxy = workspace.command(&["proxy", "dev"])?.spawn()?;
    line.clear();
    BufReader::new(proxy.stdout.take().context("no output")?).read_line(&mut line)?;
    ensure!(line.contains(&format!("127.0.0.1:{port}")), "{line:?}");
    for host in ["127.0.0.1", "::1"] {
        let mut stream = TcpStream::connect((host, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(
            answer.ends_with("hello from the env\n"),
            "{host}: {answer:?}"
        );
    }
    terminate(&proxy)?;
    ensure!(proxy.wait()?.success(), "the proxy failed");
    ensure!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "still listening"
    );
    terminate(&service)?;
    service.wait()?;
    Ok(())
}

pub fn exec_forwards_signals(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let script = "trap 'echo got it; exit 5' TERM; echo ready; while :; do sleep 0.1; done";
    let mut child = workspace
        .command(&["exec", "-u", "root", "dev", "--", "sh", "-c", script])?
        .spawn()?;
    let mut output = BufReader::new(child.stdout.take().context("no output")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    ensure!(line == "ready\n", "{line:?}");
    terminate(&child)?;
    line.clear();
    output.read_line(&mut line)?;
    ensure!(line == "got it\n", "{line:?}");
    ensure!(child.wait()?.code() == Some(5), "wrong exit code");
    Ok(())
}

fn terminate(child: &std::process::Child) -> Result<()> {
    let status = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()?;
    ensure!(status.success(), "kill failed");
    Ok(())
}

/// An SSH agent, killed on drop.
struct Agent(std::process::Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn ssh_agent_is_forwarded_and_rolled_back(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let socket = workspace.root.path().join("agent");
    let mut agent = std::process::Command::new("ssh-agent");
    agent.args(["-D", "-a"]).arg(&socket);
    let _agent = Agent(agent.stdout(std::process::Stdio::null()).spawn()?);
    let key = workspace.home().join("ssh/id_ed25519");
    let add = || {
        let mut add = std::process::Command::new("ssh-add");
        add.arg("-q")
            .arg(&key)
            .env("SSH_AUTH_SOCK", &socket)
            .output()
    };
    let begun = std::time::Instant::now();
    while !add()?.status.success() {
        ensure!(begun.elapsed().as_secs() < 10, "SSH agent not responding");
        std::thread::yield_now();
    }
    let mut command = workspace.command(&["exec", "-A", "dev", "--", "ssh-add", "-l"])?;
    let output = command.env("SSH_AUTH_SOCK", &socket).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(text.contains("lxc-dev-manager (ED25519)"), "{output:?}");
    let without = workspace.run(&["exec", "-A", "dev", "--", "true"])?;
    ensure!(without.code == Some(125), "{without:?}");
    ensure!(without.stderr.contains("no SSH agent"), "{without:?}");
    // After a kill, the forward ends by itself.
    let mut command = workspace.command(&[
        "exec",
        "-A",
        "dev",
        "--",
        "sh",
        "-c",
        "echo there; sleep 60",
    ])?;
    let mut child = command.env("SSH_AUTH_SOCK", &socket).spawn()?;
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().context("no stdout")?, &mut line)?;
    ensure!(socket_forwards(&workspace)? == 1, "socket not forwarded");
    child.kill()?;
    child.wait()?;
    let killed = std::time::Instant::now();
    while socket_forwards(&workspace)? != 0 {
        ensure!(killed.elapsed().as_secs() < 20, "socket still forwarded");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let next = workspace.run(&["up", "dev"])?;
    ensure!(!next.stderr.contains("interrupted"), "{next:?}");
    Ok(())
}

/// Returns the number of socket forwards of the env, according to the engine.
fn socket_forwards(workspace: &Workspace) -> Result<usize> {
    let socket = &workspace.engine().socket;
    let output = std::process::Command::new("curl")
        .args(["-sS", "--unix-socket"])
        .arg(socket)
        .arg(format!(
            "http://engine/1.0/instances/{}-dev",
            workspace.project
        ))
        .output()?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let devices = answer["metadata"]["devices"]
        .as_object()
        .context("no devices")?;
    Ok(devices
        .keys()
        .filter(|name| name.starts_with("ldm-lent-"))
        .count())
}
