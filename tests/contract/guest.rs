//! Promises about commands in guests.

use anyhow::{Result, ensure};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::{ExecSpec, capture};
use lxc_dev_manager_core::model::InstanceName;

use super::{Stage, ensure_kind};

async fn run(
    stage: &Stage,
    name: &InstanceName,
    argv: &[&str],
    stdin: &[u8],
) -> lxc_dev_manager_core::Result<(i32, Vec<u8>, Vec<u8>)> {
    let spec = ExecSpec::new(argv.iter().copied());
    let output = capture(stage.backend.as_ref(), name, &spec, stdin.to_vec()).await?;
    Ok((output.code, output.stdout, output.stderr))
}

pub async fn write(stage: &Stage, name: &InstanceName, path: &str, bytes: &[u8]) -> Result<()> {
    let (code, _, err) = run(stage, name, &["tee", path], bytes).await?;
    ensure!(
        code == 0,
        "tee ended with {code}: {}",
        String::from_utf8_lossy(&err)
    );
    Ok(())
}

pub async fn read(stage: &Stage, name: &InstanceName, path: &str) -> Result<Vec<u8>> {
    let (code, out, err) = run(stage, name, &["cat", path], b"").await?;
    ensure!(code == 0, "cat failed: {}", String::from_utf8_lossy(&err));
    Ok(out)
}

pub async fn exit_codes_pass_through(stage: &Stage) -> Result<()> {
    let name = stage.running("dev").await?;
    ensure!(
        run(stage, &name, &["true"], b"").await?.0 == 0,
        "`true` did not exit with 0"
    );
    ensure!(
        run(stage, &name, &["false"], b"").await?.0 == 1,
        "`false` did not exit with 1"
    );
    ensure!(
        run(stage, &name, &["no-such-command"], b"").await?.0 == 127,
        "a missing command did not exit with 127"
    );
    Ok(())
}

pub async fn streams_pass_through(stage: &Stage) -> Result<()> {
    let name = stage.running("dev").await?;
    let (code, out, err) = run(stage, &name, &["cat"], b"to stdout\n").await?;
    ensure!(
        (code, out.as_slice(), err.as_slice()) == (0, b"to stdout\n".as_slice(), b"".as_slice())
    );
    let (code, out, err) = run(stage, &name, &["cat", "/missing"], b"").await?;
    ensure!(code == 1 && out.is_empty(), "{code} {out:?}");
    ensure!(
        String::from_utf8_lossy(&err).contains("/missing"),
        "{err:?}"
    );
    Ok(())
}

pub async fn a_stopped_instance_runs_nothing(stage: &Stage) -> Result<()> {
    let name = stage.create("dev").await?;
    ensure_kind(run(stage, &name, &["true"], b"").await, ErrorKind::Engine)
}

pub async fn many_bytes_pass_unchanged(stage: &Stage) -> Result<()> {
    let name = stage.running("dev").await?;
    let bytes: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let (code, out, _) = run(stage, &name, &["cat"], &bytes).await?;
    ensure!(code == 0, "cat ended with {code}");
    ensure!(
        out == bytes,
        "{} bytes came back of {}",
        out.len(),
        bytes.len()
    );
    Ok(())
}
