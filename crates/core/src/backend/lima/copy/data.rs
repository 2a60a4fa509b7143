//! Bytes of one file into another, where two files can't share them: only what holds data, so that holes stay.
//!
//! Several threads write past the system's cache where it can be passed (ext4, xfs). Bytes that go through it are written
//! twice, and Linux holds them back on a slow disk: on ext4 a copy and the flush after it took half as long again.

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

/// Bytes that are copied at once.
const PIECE: usize = 1 << 20;
/// Pieces that are on their way at once.
const THREADS: usize = 4;
/// Shorter ones go through the cache, which makes one write of many.
const SMALL: usize = 64 << 10;
/// Where and how long a piece has to be to pass the cache, and where in memory: no disk has larger sectors. Nor does any
/// page of the cache have bytes of both kinds then, on systems with pages of this size.
const ALIGNED: usize = 4096;

/// Copies what `source` holds into `target`, an empty file at `path`. It isn't on the disk yet when this returns.
///
/// # Errors
/// What the system says; `target` is of no use then.
pub(crate) fn copy_data(
    source: &File,
    target: &File,
    path: &Path,
    progress: &Progress,
) -> io::Result<()> {
    let metadata = source.metadata()?;
    let length = metadata.len();
    target.set_len(length)?;
    let held = (metadata.blocks() * 512).clamp(1, length.max(1));
    let work = Work {
        source,
        target,
        direct: past_the_cache(path),
        progress,
        held,
        length,
        place: Mutex::default(),
    };
    let others = usize::try_from(held).map_or(THREADS, |held| held / PIECE);
    std::thread::scope(|scope| {
        let begin = |_| std::thread::Builder::new().spawn_scoped(scope, || work.run());
        // As many as the system lets have: this one does it all, if need be.
        let others: Vec<_> = (0..others.min(THREADS - 1)).flat_map(begin).collect();
        let mut ended = vec![work.run()];
        ended.extend(others.into_iter().map(|other| {
            let broken = || Err(io::Error::other("a thread of the copy broke off"));
            other.join().unwrap_or_else(|_| broken())
        }));
        // All have ended before the first that failed is told.
        ended.into_iter().collect()
    })
}

/// Where the next data or hole begins; `None` beyond the last one.
pub(crate) fn next(file: &File, from: SeekFrom) -> io::Result<Option<u64>> {
    match seek(file.as_fd(), from) {
        Ok(at) => Ok(Some(at)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A copy that threads share.
struct Work<'a> {
    source: &'a File,
    target: &'a File,
    /// The same file as `target`.
    direct: Option<File>,
    progress: &'a Progress,
    /// Bytes on the disk, which is about what there is to copy.
    held: u64,
    length: u64,
    place: Mutex<Place>,
}

/// Where a copy is.
#[derive(Default)]
struct Place {
    /// The next byte to copy, and the end of the data in which it is.
    at: u64,
    end: u64,
    /// Bytes that were copied.
    done: u64,
    /// Percents that were told last.
    told: Option<u8>,
    /// There is no more, or one of the threads has failed.
    is_over: bool,
}

impl Work<'_> {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) -> io::Result<()> {
        let mut room = vec![0; PIECE + ALIGNED];
        let begin = room.as_ptr().align_offset(ALIGNED).min(ALIGNED);
        let room = &mut room[begin..begin + PIECE];
        let copied = self.copy_pieces(room);
        if copied.is_err() {
            self.place().is_over = true;
        }
        copied
    }

    fn copy_pieces(&self, room: &mut [u8]) -> io::Result<()> {
        while let Some(piece) = self.next_piece()? {
            let length = usize::try_from(piece.end - piece.start).unwrap_or(PIECE);
            let bytes = &mut room[..length];
            self.source.read_exact_at(bytes, piece.start)?;
            self.write(bytes, piece.start)?;
            self.tell(length as u64);
        }
        Ok(())
    }

    /// What nobody copies yet.
    fn next_piece(&self) -> io::Result<Option<Range<u64>>> {
        let mut place = self.place();
        if place.is_over {
            return Ok(None);
        }
        if place.at == place.end {
            let Some(start) = next(self.source, SeekFrom::Data(place.at))? else {
                place.is_over = true;
                return Ok(None);
            };
            let end = next(self.source, SeekFrom::Hole(start))?.unwrap_or(self.length);
            if self.direct.is_some() {
                reserve(self.target, start..end);
            }
            (place.at, place.end) = (start, end);
        }
        let start = place.at;
        place.at = place.end.min(start + PIECE as u64);
        Ok(Some(start..place.at))
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let is_aligned = bytes.len().is_multiple_of(ALIGNED) && at.is_multiple_of(ALIGNED as u64);
        let direct = self.direct.as_ref();
        let direct = direct.filter(|_| is_aligned && bytes.len() >= SMALL);
        match direct.map(|direct| direct.write_all_at(bytes, at)) {
            Some(Err(error)) if is_full(&error) => Err(error),
            Some(Ok(())) => Ok(()),
            // Not in pieces of this size, or not at all: what else is wrong is told again.
            Some(Err(_)) | None => self.target.write_all_at(bytes, at),
        }
    }

    fn tell(&self, copied: u64) {
        let mut place = self.place();
        place.done += copied;
        let percent = u8::try_from(place.done.min(self.held) * 100 / self.held).ok();
        if percent != place.told {
            place.told = percent;
            self.progress.step("copying the disk", percent);
        }
    }
}

/// A file that can be written past the system's cache, on file systems that have such a thing.
#[cfg(target_os = "linux")]
fn past_the_cache(path: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    opened.ok().map(File::from)
}

/// A disk of APFS, which every Mac with Lima has, shares its blocks.
#[cfg(not(target_os = "linux"))]
fn past_the_cache(_path: &Path) -> Option<File> {
    None
}

/// Has the file system find the blocks before they are written: one by one it takes longer than the writing. Advice only:
/// who finds no room is told by the write.
#[cfg(target_os = "linux")]
fn reserve(file: &File, range: Range<u64>) {
    use rustix::fs::{FallocateFlags, fallocate};
    let length = range.end - range.start;
    if length >= SMALL as u64 {
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

    /// Copies with these ways to open the source, and what was told.
    fn copied(
        source: &fs::OpenOptions,
        bytes: &[u8],
    ) -> (io::Result<()>, Vec<u8>, Vec<Option<u8>>) {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("disk"), place.path().join("copy"));
        fs::write(&from, bytes).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = told.clone();
        let progress = Progress::new(move |step| listener.lock().unwrap().push(step.percent));
        let (source, target) = (source.open(&from).unwrap(), File::create_new(&to).unwrap());
        let done = copy_data(&source, &target, &to, &progress);
        let told = told.lock().unwrap().clone();
        (done, fs::read(&to).unwrap(), told)
    }

    #[test]
    fn data_of_many_pieces_and_any_length_is_copied() {
        let mixed = |at: u32| (at >> 9) as u8 ^ at as u8;
        let bytes: Vec<u8> = (0..(9 << 20) + 77).map(mixed).collect();
        let (done, copy, told) = copied(fs::OpenOptions::new().read(true), &bytes);
        done.unwrap();
        assert!(copy == bytes);
        assert!(told.is_sorted(), "{told:?}");
        assert_eq!(told.last(), Some(&Some(100)));
    }

    #[test]
    fn a_source_that_cannot_be_read_is_an_error() {
        let (done, ..) = copied(fs::OpenOptions::new().write(true), &[1; 5 << 20]);
        assert!(done.is_err());
    }
}
