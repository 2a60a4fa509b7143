//! Docker in an env, without a registry. Each function takes a runner that fails for failed commands.

use anyhow::{Result, ensure};

/// For Debian guests: builds the image `tiny` from a shell and its libraries, and prints `inside` from a container.
const IMPORT: &str = "set -e; mkdir -p r/bin; cp /bin/dash r/bin/sh; \
    for lib in $(ldd /bin/dash | grep -o '/lib[^ ]*'); do mkdir -p r${lib%/*}; cp $lib r$lib; done; \
    tar -C r -c . | docker import - tiny >/dev/null; docker run --rm tiny /bin/sh -c 'echo inside'";

/// Checks that `dev` runs containers.
pub fn runs(ok: impl Fn(&[&str]) -> Result<String>) -> Result<()> {
    let inside = ok(&["exec", "dev", "--", "sh", "-c", IMPORT])?;
    ensure!(inside == "inside\n", "{inside}");
    Ok(())
}

/// Waits until the boot of `dev` has started Docker.
pub fn booted(ok: impl Fn(&[&str]) -> Result<String>) -> Result<()> {
    ok(&["exec", "dev", "--", "systemctl", "is-enabled", "docker"])?;
    let start = ["exec", "dev", "--", "sudo", "systemctl", "start", "docker"];
    ok(&start).map(drop)
}

/// Checks Docker after a restart: the image still runs, and the config is applied.
pub fn runs_again(ok: impl Fn(&[&str]) -> Result<String>) -> Result<()> {
    let run = "docker run --rm tiny /bin/sh -c";
    let words = ["exec", "dev", "--"].into_iter().chain(run.split(' '));
    let again: Vec<&str> = words.chain(["echo again"]).collect();
    let again = ok(&again)?;
    ensure!(again == "again\n", "{again}");
    let applied = ok(&["config", "apply", "dev"])?;
    ensure!(applied.contains("is already up to date"), "{applied}");
    Ok(())
}
