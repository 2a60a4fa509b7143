//! One direction of a connection.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, Result};
use rustix::net::{Shutdown, shutdown};
use rustix::pipe::{SpliceFlags, splice};

use crate::pipes::{Pipe, Pipes, SIZE};

/// Limits the calls of one connection, for fairness.
const MAX_ROUNDS: usize = 16;

/// A socket and its known readiness.
pub(crate) struct End {
    pub(crate) socket: OwnedFd,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// Transfers bytes from one socket to another.
#[derive(Default)]
pub(crate) struct Flow {
    /// With the number of bytes in it, which is never 0 between calls.
    pipe: Option<(Pipe, usize)>,
    /// The source has ended.
    ended: bool,
    /// The target was shut down.
    pub(crate) closed: bool,
}

impl Flow {
    /// Moves available bytes; returns whether there may be more.
    pub(crate) fn transfer(
        &mut self,
        from: &mut End,
        to: &mut End,
        pipes: &mut Pipes,
    ) -> Result<bool> {
        if self.closed {
            return Ok(false);
        }
        let (mut pipe, mut held) = match self.pipe.take() {
            Some((pipe, held)) => (Some(pipe), held),
            None => (None, 0),
        };
        let mut more = true;
        for _ in 0..MAX_ROUNDS {
            let filled = self.fill(from, &mut pipe, &mut held, pipes)?;
            let drained = drain(to, pipe.as_ref(), &mut held)?;
            more = filled || drained;
            if !more {
                break;
            }
        }
        match pipe {
            Some(pipe) if held > 0 => self.pipe = Some((pipe, held)),
            Some(pipe) => pipes.put(pipe),
            None => {}
        }
        if self.ended && held == 0 {
            self.closed = true;
            // The target may be closed already.
            let _ = shutdown(&to.socket, Shutdown::Write);
            return Ok(false);
        }
        Ok(more)
    }

    fn fill(
        &mut self,
        from: &mut End,
        pipe: &mut Option<Pipe>,
        held: &mut usize,
        pipes: &mut Pipes,
    ) -> Result<bool> {
        if self.ended || !from.readable || *held >= SIZE {
            return Ok(false);
        }
        if pipe.is_none() {
            *pipe = Some(pipes.take()?);
        }
        let Some(pipe) = pipe else { return Ok(false) };
        match splice(&from.socket, None, &pipe.writer, None, SIZE, FLAGS) {
            Ok(0) => {
                self.ended = true;
                Ok(false)
            }
            Ok(moved) => {
                *held += moved;
                Ok(true)
            }
            Err(Errno::INTR) => Ok(true),
            // The pipe may be full instead.
            Err(Errno::AGAIN) => {
                from.readable = *held > 0;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Never blocks; moves pages where possible.
const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

fn drain(to: &mut End, pipe: Option<&Pipe>, held: &mut usize) -> Result<bool> {
    let Some(pipe) = pipe.filter(|_| *held > 0 && to.writable) else {
        return Ok(false);
    };
    match splice(&pipe.reader, None, &to.socket, None, *held, FLAGS) {
        Ok(moved) => {
            *held -= moved;
            Ok(moved > 0)
        }
        Err(Errno::INTR) => Ok(true),
        Err(Errno::AGAIN) => {
            to.writable = false;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
