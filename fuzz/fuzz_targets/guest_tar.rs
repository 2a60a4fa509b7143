//! A tar stream of a guest writes nothing outside of its directory, and not more than allowed.

#![no_main]

use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lxc_dev_manager_core::fuzzing::unpack_stream;

const MAX_BYTES: u64 = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let root = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let staging = root.path().join("staging");
    fs::create_dir(&staging).expect("a directory");
    fs::write(root.path().join("secret"), "mine").expect("a file");
    let unpacked = unpack_stream(bytes, &staging, MAX_BYTES);
    let beside: Vec<_> = fs::read_dir(root.path())
        .expect("its names")
        .flatten()
        .collect();
    assert_eq!(beside.len(), 2, "{beside:?}");
    assert_eq!(
        fs::read(root.path().join("secret")).expect("still there"),
        b"mine"
    );
    let (files, size) = measure(&staging);
    assert!(size <= MAX_BYTES, "{size}");
    if let Ok(said) = unpacked {
        assert!(said >= files, "{said} < {files}");
    }
});

/// Files below a directory, with their sizes. No file has rights that a copy must not bring.
fn measure(directory: &Path) -> (u64, u64) {
    use std::os::unix::fs::PermissionsExt;
    let (mut files, mut size) = (0, 0);
    for entry in fs::read_dir(directory).expect("readable").flatten() {
        let metadata = entry.metadata().expect("its metadata");
        if metadata.is_dir() {
            let below = measure(&entry.path());
            files += below.0;
            size += below.1;
        } else {
            files += 1;
            if metadata.is_file() {
                assert_eq!(metadata.permissions().mode() & 0o7000, 0, "{entry:?}");
                size += metadata.len();
            }
        }
    }
    (files, size)
}
