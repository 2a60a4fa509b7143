//! Docker in a guest, without a registry.

/// Makes the image `tiny` of a shell and its libraries, and says `inside` in a container of it. For a shell in a Debian guest.
pub const IMPORT: &str = "set -e; mkdir -p r/bin; cp /bin/dash r/bin/sh; \
    for lib in $(ldd /bin/dash | grep -o '/lib[^ ]*'); do mkdir -p r${lib%/*}; cp $lib r$lib; done; \
    tar -C r -c . | docker import - tiny >/dev/null; docker run --rm tiny /bin/sh -c 'echo inside'";
