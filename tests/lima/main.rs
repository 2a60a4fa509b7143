//! Our Lima backend on the stand-in, and on a real limactl if installed.

mod bad_limactl;
mod crashes;
mod docker;
mod envs;
mod facts;
mod freeze;
mod killed;
mod leftovers;
mod native;
mod ports;
mod scripts;
mod sessions;
mod volumes;

use std::process::ExitCode;

use lxc_dev_manager_tests::harness;
use lxc_dev_manager_tests::lima::Lima;

fn main() -> ExitCode {
    let lima = match Lima::find() {
        Ok(lima) => lima,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    if !lima.found.iter().any(|limactl| !limactl.fake) {
        eprintln!("skipped: lima (no limactl in PATH, and LIMACTL is not set)");
    }
    let mut trials = facts::trials(&lima);
    trials.extend(envs::trials(&lima));
    trials.extend(killed::trials(&lima));
    trials.extend(native::trials(&lima));
    trials.extend(crashes::trials(&lima));
    trials.extend(docker::trials(&lima));
    trials.extend(leftovers::trials(&lima));
    trials.extend(scripts::trials(&lima));
    trials.extend(sessions::trials(&lima));
    trials.extend(bad_limactl::trials(&lima));
    trials.extend(ports::trials(&lima));
    trials.extend(freeze::trials(&lima));
    trials.extend(volumes::trials(&lima));
    harness::run(trials)
}
