//! The standard input and outputs of a container that somebody attends: a person at a terminal, or a script with pipes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::Winsize;
use tokio::sync::watch;

use super::LogSink;

/// The most bytes that are read at once.
const PART: usize = 8 << 10;

/// The streams of whoever attends a container.
#[derive(Debug)]
pub struct Streams {
    /// What the container reads.
    pub input: OwnedFd,
    /// Where it prints.
    pub output: OwnedFd,
    /// Where it prints errors; not used with a terminal, which has one stream.
    pub errors: OwnedFd,
    /// The size of the terminal, if the container is to have one. The terminal of the caller is in raw mode then.
    pub terminal: Option<watch::Receiver<Size>>,
}

/// The size of a terminal, characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl Size {
    #[cfg(all(feature = "embedded", target_os = "linux"))]
    pub(super) fn to_window(self) -> Winsize {
        Winsize {
            ws_row: self.rows,
            ws_col: self.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        }
    }
}

/// Nobody reads what a driver says beside what the container prints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unheard;

impl LogSink for Unheard {
    fn line(&self, line: &str, _stderr: bool) {
        tracing::debug!("beside the container: {line}");
    }
}

/// Passes bytes on between a person and the container's side, until the container's side ends: `input` to it, and what it
/// gives to `output`, if there is one. It blocks, and waits for neither side while the other has something to say.
pub(super) fn relay(input: &OwnedFd, output: Option<&OwnedFd>, other: &OwnedFd) -> io::Result<()> {
    rustix::io::ioctl_fionbio(other, true)?;
    let mut pending: Vec<u8> = Vec::new();
    let mut listening = true;
    loop {
        let wanted = match pending.is_empty() {
            true => PollFlags::IN,
            false => PollFlags::IN | PollFlags::OUT,
        };
        let mut watched = [PollFd::new(other, wanted), PollFd::new(input, PollFlags::IN)];
        let count = if listening && pending.is_empty() { 2 } else { 1 };
        match poll(&mut watched[..count], None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let (theirs, ours) = (watched[0].revents(), watched[1].revents());
        if theirs.contains(PollFlags::OUT) && !written(other, &mut pending)? {
            return Ok(());
        }
        if theirs.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) && !passed_on(other, output)? {
            return Ok(());
        }
        if count == 2 && !ours.is_empty() {
            pending = read(input.as_fd())?.unwrap_or_default();
            listening = !pending.is_empty();
            if !listening {
                // A terminal cannot be closed in one direction.
                let _ = rustix::net::shutdown(other, rustix::net::Shutdown::Write);
            }
        }
    }
}

/// Writes what fits, and tells whether the other side still reads.
fn written(other: &OwnedFd, pending: &mut Vec<u8>) -> io::Result<bool> {
    match rustix::io::write(other, pending) {
        Ok(count) => drop(pending.drain(..count)),
        Err(Errno::AGAIN | Errno::INTR) => {}
        Err(Errno::IO | Errno::PIPE | Errno::CONNRESET) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    Ok(true)
}

/// Passes on what the other side gives, and tells whether it goes on.
fn passed_on(other: &OwnedFd, output: Option<&OwnedFd>) -> io::Result<bool> {
    let Some(part) = read(other.as_fd())? else {
        return Ok(true);
    };
    if let (Some(output), false) = (output, part.is_empty()) {
        write_all(output, &part)?;
    }
    Ok(!part.is_empty())
}

/// Reads a part; nothing at the end, and none if there is nothing now.
fn read(from: BorrowedFd<'_>) -> io::Result<Option<Vec<u8>>> {
    let mut part = vec![0; PART];
    match rustix::io::read(from, &mut part) {
        Ok(count) => part.truncate(count),
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        // A terminal whose programs have all ended.
        Err(Errno::IO | Errno::CONNRESET) => part.clear(),
        Err(error) => return Err(error.into()),
    }
    Ok(Some(part))
}

/// Writes all bytes, also where the file was opened by somebody who does not want to wait.
pub(super) fn write_all(to: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&to, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// The container prints much while it reads nothing, and reads later.
    #[test]
    fn neither_side_waits_for_the_other() {
        const BYTES: usize = 3 << 20;
        let (mut person, input) = std::io::pipe().map(|(read, write)| (write, read)).unwrap();
        let (mut seen, output) = std::io::pipe().unwrap();
        let (ours, mut container) = UnixStream::pair().unwrap();
        let relayed = std::thread::spawn(move || relay(&input.into(), Some(&output.into()), &ours.into()));
        let typed = std::thread::spawn(move || person.write_all(&vec![1; BYTES]));
        let watched = std::thread::spawn(move || {
            let mut all = Vec::new();
            seen.read_to_end(&mut all).map(|_| all.len())
        });
        container.write_all(&vec![2; BYTES]).unwrap();
        let mut got = Vec::new();
        container.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), BYTES, "the end of the input is passed on");
        container.write_all(b"end").unwrap();
        drop(container);
        typed.join().unwrap().unwrap();
        relayed.join().unwrap().unwrap();
        assert_eq!(watched.join().unwrap().unwrap(), BYTES + 3);
    }
}
