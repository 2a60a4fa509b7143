//! Copies the data of a sparse file, for file systems that cannot share blocks. Holes stay holes.
//!
//! Several threads write with direct I/O where supported (ext4, xfs): through the page cache, a copy with its flush
//! took 1.5 times as long on ext4.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{SeekFrom, seek};

use super::is_full;
use crate::backend::Progress;

const CHUNK_BYTES: usize = 1 << 20;
const THREADS: usize = 4;
/// Shorter chunks go through the page cache, which merges writes.
const MIN_DIRECT_BYTES: usize = 64 << 10;
/// Alignment for direct I/O in file and memory: no disk has larger sectors. With pages of this size, no cached page
/// mixes both kinds of writes.
const ALIGNMENT: usize = 4096;

/// Copies the data of `source` to `target`, an empty file at `path`. It isn't synced.
///
/// # Errors
/// The system's; then the content of `target` is undefined.
pub(crate) fn copy_data(
    source: &File,
    target: &File,
    path: &Path,
    progress: &Progress,
) -> io::Result<()> {
    let metadata = source.metadata()?;
    let length = metadata.len();
    target.set_len(length)?;
    let allocated = (metadata.blocks() * 512).clamp(1, length.max(1));
    let work = CopyJob {
        source,
        target,
        direct: open_direct(path),
        progress,
        allocated,
        length,
        cursor: Mutex::default(),
    };
    let others = usize::try_from(allocated).map_or(THREADS, |allocated| allocated / CHUNK_BYTES);
    std::thread::scope(|scope| {
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, || work.run());
        // If no thread can be started, this one does all the work.
        let others: Vec<_> = (0..others.min(THREADS - 1)).flat_map(spawn).collect();
        let mut ended = vec![work.run()];
        ended.extend(others.into_iter().map(|other| {
            other
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a copy thread panicked")))
        }));
        // All threads have ended before the first error is returned.
        ended.into_iter().collect()
    })
}

/// Start of the next data or hole; `None` beyond the last one.
pub(crate) fn seek_next(file: &File, from: SeekFrom) -> io::Result<Option<u64>> {
    match seek(file.as_fd(), from) {
        Ok(at) => Ok(Some(at)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A copy shared by its threads.
struct CopyJob<'a> {
    source: &'a File,
    target: &'a File,
    /// `target`, opened for direct I/O.
    direct: Option<File>,
    progress: &'a Progress,
    /// Allocated bytes: about the amount to copy.
    allocated: u64,
    length: u64,
    cursor: Mutex<Cursor>,
}

/// Progress of a copy.
#[derive(Default)]
struct Cursor {
    /// The next byte to copy, and the end of its extent.
    at: u64,
    end: u64,
    done: u64,
    /// The last reported percentage.
    reported: Option<u8>,
    /// At the end of the file, or after an error.
    is_over: bool,
}

impl CopyJob<'_> {
    fn cursor(&self) -> MutexGuard<'_, Cursor> {
        self.cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK_BYTES + ALIGNMENT];
        let start = buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let buffer = &mut buffer[start..start + CHUNK_BYTES];
        let copied = self.copy_chunks(buffer);
        if copied.is_err() {
            self.cursor().is_over = true;
        }
        copied
    }

    fn copy_chunks(&self, buffer: &mut [u8]) -> io::Result<()> {
        while let Some(chunk) = self.next_chunk()? {
            let length = usize::try_from(chunk.end - chunk.start).unwrap_or(CHUNK_BYTES);
            let bytes = &mut buffer[..length];
            self.source.read_exact_at(bytes, chunk.start)?;
            self.write(bytes, chunk.start)?;
            self.report(length as u64);
        }
        Ok(())
    }

    /// Claims the next chunk.
    fn next_chunk(&self) -> io::Result<Option<Range<u64>>> {
        let mut cursor = self.cursor();
        if cursor.is_over {
            return Ok(None);
        }
        if cursor.at == cursor.end {
            let Some(start) = seek_next(self.source, SeekFrom::Data(cursor.at))? else {
                cursor.is_over = true;
                return Ok(None);
            };
            let end = seek_next(self.source, SeekFrom::Hole(start))?.unwrap_or(self.length);
            if self.direct.is_some() {
                reserve(self.target, start..end);
            }
            (cursor.at, cursor.end) = (start, end);
        }
        let start = cursor.at;
        cursor.at = cursor.end.min(start + CHUNK_BYTES as u64);
        Ok(Some(start..cursor.at))
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let is_aligned =
            bytes.len().is_multiple_of(ALIGNMENT) && at.is_multiple_of(ALIGNMENT as u64);
        let direct = self.direct.as_ref();
        let direct = direct.filter(|_| is_aligned && bytes.len() >= MIN_DIRECT_BYTES);
        match direct.map(|direct| direct.write_all_at(bytes, at)) {
            Some(Err(error)) if is_full(&error) => Err(error),
            Some(Ok(())) => Ok(()),
            // Direct I/O may be unsupported; any other error recurs.
            Some(Err(_)) | None => self.target.write_all_at(bytes, at),
        }
    }

    fn report(&self, copied: u64) {
        let mut cursor = self.cursor();
        cursor.done += copied;
        let percent = u8::try_from(cursor.done.min(self.allocated) * 100 / self.allocated).ok();
        if percent != cursor.reported {
            cursor.reported = percent;
            self.progress.step("copying the disk", percent);
        }
    }
}

/// Opens a file for direct I/O, if supported.
#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    opened.ok().map(File::from)
}

/// Not needed on APFS, which shares blocks.
#[cfg(not(target_os = "linux"))]
fn open_direct(_path: &Path) -> Option<File> {
    None
}

/// Preallocates blocks, which is faster than one by one. A failure shows in the write.
#[cfg(target_os = "linux")]
fn reserve(file: &File, range: Range<u64>) {
    use rustix::fs::{FallocateFlags, fallocate};
    let length = range.end - range.start;
    if length >= MIN_DIRECT_BYTES as u64 {
        let _ = fallocate(file, FallocateFlags::KEEP_SIZE, range.start, length);
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_file: &File, _range: Range<u64>) {}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;

    /// Copies; returns the result, the copy and the reported percentages.
    fn copied(
        source: &fs::OpenOptions,
        bytes: &[u8],
    ) -> (io::Result<()>, Vec<u8>, Vec<Option<u8>>) {
        let home = tempfile::tempdir().unwrap();
        let (from, to) = (home.path().join("disk"), home.path().join("copy"));
        fs::write(&from, bytes).unwrap();
        let reported = Arc::new(Mutex::new(Vec::new()));
        let listener = reported.clone();
        let progress = Progress::new(move |step| listener.lock().unwrap().push(step.percent));
        let (source, target) = (source.open(&from).unwrap(), File::create_new(&to).unwrap());
        let done = copy_data(&source, &target, &to, &progress);
        let reported = reported.lock().unwrap().clone();
        (done, fs::read(&to).unwrap(), reported)
    }

    #[test]
    fn copies_many_chunks_of_any_length() {
        let mixed = |at: u32| (at >> 9) as u8 ^ at as u8;
        let bytes: Vec<u8> = (0..(9 << 20) + 77).map(mixed).collect();
        let (done, copy, reported) = copied(fs::OpenOptions::new().read(true), &bytes);
        done.unwrap();
        assert!(copy == bytes);
        assert!(reported.is_sorted(), "{reported:?}");
        assert_eq!(reported.last(), Some(&Some(100)));
    }

    #[test]
    fn unreadable_source_is_an_error() {
        let (done, ..) = copied(fs::OpenOptions::new().write(true), &[1; 5 << 20]);
        assert!(done.is_err());
    }
}
