//! Builds the relay that runs in guests, and embeds it, packed (zlib).
//!
//! It has to run in any guest, whatever C library that has, so it is linked statically: with the same
//! target as ours and flags of its own, hence by a cargo of its own. For a host that isn't Linux there
//! is none: engines that need it run on Linux only.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::ZlibEncoder;

const PACKAGE: &str = "lxc-dev-manager-relay";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../relay");
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    let out = PathBuf::from(variable("OUT_DIR"));
    let embedded = out.join("relay.rs");
    let text = if variable("CARGO_CFG_TARGET_OS") == "linux" {
        write(&out.join("relay.zlib"), &pack(&build(&out)));
        // Not an absolute path: the target directory may be moved.
        r#"Some(include_bytes!(concat!(env!("OUT_DIR"), "/relay.zlib")))"#
    } else {
        "None"
    };
    write(&embedded, text.as_bytes());
}

fn build(out: &Path) -> PathBuf {
    let (directory, target) = (out.join("relay"), variable("TARGET"));
    let target = target.to_string_lossy().into_owned();
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .args([
            "build",
            "--locked",
            "--release",
            "--quiet",
            "--package",
            PACKAGE,
        ])
        .args(["--target", &target, "--target-dir"])
        .arg(&directory);
    // What the outer build is told (lints instead of code, coverage, flags of the user) isn't for this.
    for name in [
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET_DIR",
    ] {
        cargo.env_remove(name);
    }
    cargo.env(
        "CARGO_ENCODED_RUSTFLAGS",
        "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static",
    );
    let built = cargo.status();
    assert!(
        built.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{PACKAGE} can't be built for {target} ({built:?}): is a static C library installed \
         (libc6-dev, glibc-static)?"
    );
    directory.join(target).join("release").join(PACKAGE)
}

fn pack(program: &Path) -> Vec<u8> {
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
    let packed = fs::read(program)
        .and_then(|bytes| packer.write_all(&bytes))
        .and_then(|()| packer.finish());
    match packed {
        Ok(packed) => packed,
        Err(error) => panic!("cannot pack {}: {error}", program.display()),
    }
}

fn write(path: &Path, content: &[u8]) {
    if let Err(error) = fs::write(path, content) {
        panic!("cannot write {}: {error}", path.display());
    }
}

fn variable(name: &str) -> OsString {
    match env::var_os(name) {
        Some(value) => value,
        None => panic!("cargo sets no {name}"),
    }
}
