//! `container create` until SSH answers, against the engine's launch until an address.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::workspace::Workspace;

use crate::pairs::{Pairs, Spread, time};
use crate::peer::Peer;
use crate::row::{Part, Row, Verdict, split};

/// What we may need beyond the launch, in seconds.
const BEYOND_LAUNCH: f64 = 1.0;
/// Pairs, and how many come before the counted ones.
const PAIRS: (usize, usize) = (1, 7);
/// Creations that fetch packages.
const WITH_PACKAGES: usize = 3;
/// How long SSH may take to answer after the command has ended.
const SSH_TIMEOUT: Duration = Duration::from_secs(60);

/// One creation by this program, split by its status lines.
pub struct Creation {
    /// Until SSH answered.
    pub taken: Duration,
    /// Each step and how long it took; the last one is the wait for SSH.
    pub steps: Vec<(String, Duration)>,
}

/// The row of an image that has sshd and sudo.
pub fn create(engine: &TestEngine, label: &str) -> Result<Vec<Row>> {
    let peer = Peer::new(engine)?;
    let image = image();
    let made = RefCell::new(Vec::new());
    let pairs = Pairs::take(
        PAIRS.0,
        PAIRS.1,
        || {
            let workspace = Workspace::new(engine)?;
            let creation = until_ssh(&workspace, &image)?;
            made.borrow_mut().push(creation.steps);
            Ok(creation.taken)
        },
        || {
            let name = peer.new_instance();
            let taken = time(|| {
                peer.ok(&["launch", &image, &name])?;
                peer.wait_for_address(&name)
            })?;
            peer.delete(&name)?;
            Ok(taken)
        },
    )?;
    let made = made.into_inner();
    let difference = pairs.difference();
    let what = format!(
        "`container create` until SSH answers / `{} launch` until an address",
        peer.program()
    );
    let row = Row {
        compared: format!("{:.2}, {:+.2} s", pairs.ratio().median, difference.median),
        wanted: format!("≤ +{BEYOND_LAUNCH:.0} s"),
        verdict: Verdict::below(difference.median, BEYOND_LAUNCH),
        ..Row::pairs(label, &what, &pairs)
    };
    let counted = &made[PAIRS.0..];
    Ok(vec![row.noting(Some(format!(
        "ours: {}",
        split(&medians(counted))
    )))])
}

/// Makes `dev` from an image and connects to it until its SSH server says its first word.
pub fn until_ssh(workspace: &Workspace, image: &str) -> Result<Creation> {
    let begun = Instant::now();
    let command = workspace.command(&["--json", "container", "create", "dev", image])?;
    let (output, mut marks) = said(command, begun)?;
    let ended = begun.elapsed();
    let made: serde_json::Value = serde_json::from_str(&output)?;
    let address = made["address"].as_str().context("an env without address")?;
    wait_for_ssh(address.parse()?)?;
    let taken = begun.elapsed();
    marks.push(("SSH".to_owned(), ended));
    Ok(Creation {
        taken,
        steps: lengths(&marks, taken),
    })
}

/// A command's output, and when it said each line of its status.
fn said(mut command: Command, begun: Instant) -> Result<(String, Vec<(String, Duration)>)> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut marks = vec![("start".to_owned(), Duration::ZERO)];
    for line in BufReader::new(child.stderr.take().context("no status")?).lines() {
        marks.push((line?, begun.elapsed()));
    }
    // It is short enough for the pipe: the status was read to its end before.
    let mut output = String::new();
    child
        .stdout
        .take()
        .context("no output")?
        .read_to_string(&mut output)?;
    if !child.wait()?.success() {
        bail!("{command:?} failed: {marks:?}");
    }
    Ok((output, marks))
}

/// From when each began to how long each took.
fn lengths(marks: &[(String, Duration)], end: Duration) -> Vec<(String, Duration)> {
    let ends = marks.iter().skip(1).map(|(_, begun)| *begun).chain([end]);
    marks
        .iter()
        .zip(ends)
        .map(|((name, begun), end)| (name.clone(), end.saturating_sub(*begun)))
        .collect()
}

/// The median of each step; steps that only some runs had (an image's unpacking) are left out.
fn medians(runs: &[Vec<(String, Duration)>]) -> Vec<(String, Spread)> {
    let Some(first) = runs.first() else {
        return Vec::new();
    };
    let of = |name: &String| {
        let found = runs.iter().filter_map(|run| {
            let same = run.iter().filter(|(other, _)| other == name);
            same.map(|(_, taken)| taken.as_secs_f64()).reduce(f64::max)
        });
        found.collect::<Vec<f64>>()
    };
    first
        .iter()
        .map(|(name, _)| (name, of(name)))
        .filter(|(_, values)| values.len() == runs.len())
        .map(|(name, values)| (name.clone(), Spread::of(&values)))
        .collect()
}

fn wait_for_ssh(address: IpAddr) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < SSH_TIMEOUT {
        if banner(address).is_ok_and(|first| first.starts_with("SSH-")) {
            return Ok(());
        }
        // A port that isn't open yet gives no event to who is outside.
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("no SSH at {address}")
}

fn banner(address: IpAddr) -> Result<String> {
    let timeout = Duration::from_secs(5);
    let stream = TcpStream::connect_timeout(&SocketAddr::new(address, 22), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

/// The row of an image that lacks sshd and sudo: packages come from outside, if they can be had.
pub fn bare(engine: &TestEngine, label: &str) -> Result<Vec<Row>> {
    let what = "`container create` from an image without sshd and sudo";
    let peer = Peer::new(engine)?;
    let (image, packages) = bare_image(&peer)?;
    let workspace = Workspace::new(engine)?;
    if packages {
        drop(workspace);
        return installed(engine, label, what, &image);
    }
    let begun = Instant::now();
    let ran = workspace.run(&["container", "create", "dev", &image])?;
    let taken = begun.elapsed().as_secs_f64();
    let left = workspace.instances()?.len();
    let error = ran
        .stderr
        .lines()
        .skip_while(|line| !line.starts_with("error:"));
    let error = error.map(str::trim).collect::<Vec<_>>().join("; ");
    let code = ran.code;
    Ok(vec![Row::unmeasured(
        Part::Commands,
        label,
        what,
        format!(
            "the envs here reach no package server; it failed after {taken:.1} s with code \
             {code:?}, {left} instances left behind, saying: {error}"
        ),
    )])
}

/// Creations with packages that are fetched each time.
fn installed(engine: &TestEngine, label: &str, what: &str, image: &str) -> Result<Vec<Row>> {
    let made = (0..WITH_PACKAGES).map(|_| until_ssh(&Workspace::new(engine)?, image));
    let made = made.collect::<Result<Vec<Creation>>>()?;
    let taken: Vec<f64> = made.iter().map(|one| one.taken.as_secs_f64()).collect();
    let steps: Vec<_> = made.into_iter().map(|one| one.steps).collect();
    let note = format!(
        "packages come from a Debian server each time; ours: {}",
        split(&medians(&steps))
    );
    Ok(vec![
        Row::figure(Part::Commands, label, what, Spread::of(&taken).seconds()).noting(Some(note)),
    ])
}

/// Takes sshd and sudo out of an instance, and what the look for packages has left.
const TAKE_OUT: &str = "
    SUDO_FORCE_REMOVE=yes dpkg --purge --force-all openssh-server openssh-sftp-server sudo &&
    rm -rf /var/lib/apt/lists/*
";

/// Makes an image without sshd and sudo out of the tests' image; whether packages can be had in it.
fn bare_image(peer: &Peer) -> Result<(String, bool)> {
    let (instance, alias) = (peer.new_instance(), peer.new_image());
    peer.ok(&["launch", &image(), &instance])?;
    peer.wait_for_address(&instance)?;
    let inside = |script: &str| -> Result<bool> {
        let arguments = ["exec", &instance, "--", "sh", "-c", script];
        Ok(peer.command(&arguments)?.output()?.status.success())
    };
    let packages = inside(
        "timeout 30 apt-get -q -o APT::Update::Error-Mode=any -o Acquire::Retries=0 update",
    )?;
    if !inside(TAKE_OUT)? {
        bail!("sshd and sudo can't be taken out of {instance}");
    }
    peer.ok(&["stop", "--force", &instance])?;
    peer.ok(&[
        "publish",
        &instance,
        "--alias",
        &alias,
        "--compression",
        "none",
    ])?;
    peer.delete(&instance)?;
    Ok((alias, packages))
}
