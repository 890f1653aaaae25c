//! The streams of whoever attends a container. File descriptors go through a socket in the container's folder: its standard
//! input to the helper, or the other side of its terminal to the driver, as runtimes of OCI containers do.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::protocol::{Attended, STREAMS};
use crate::driver::attended::relay;
use crate::driver::{Size, Streams};

/// Tells how a container is attended.
pub(super) fn attended(streams: &Streams) -> Attended {
    match streams.terminal {
        Some(_) => Attended::Terminal,
        None => Attended::Pipes,
    }
}

/// The driver's side of an attended container.
#[derive(Debug)]
pub(super) struct Attending {
    listener: UnixListener,
    streams: Streams,
}

impl Attending {
    /// Waits for the container in its folder.
    pub(super) fn prepare(folder: &Path, streams: Streams) -> io::Result<Self> {
        let (_folder, path) = short(folder)?;
        let listener = UnixListener::bind(path)?;
        Ok(Self { listener, streams })
    }

    /// The outputs of the container; none if it prints to a terminal.
    pub(super) fn outputs(&mut self) -> Option<(OwnedFd, OwnedFd)> {
        let plain = self.streams.terminal.is_none();
        let clone = |stream: &OwnedFd| stream.try_clone().ok().filter(|_| plain);
        clone(&self.streams.output).zip(clone(&self.streams.errors))
    }

    /// Attends a container while something runs, and returns what that gives when everything was passed on.
    pub(super) async fn during<T>(self, run: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let over = CancellationToken::new();
        let run = async {
            let ended = run.await;
            over.cancel();
            ended
        };
        let attending = async {
            let (stream, _) = tokio::select! {
                accepted = self.listener.accept() => accepted?,
                () = over.cancelled() => return Ok(()),
            };
            attend(blocking_stream(stream)?, self.streams).await
        };
        let (ended, attended) = tokio::join!(run, attending);
        attended.and(ended)
    }
}

/// Gives a container its input, or passes on what its terminal and that of the caller say.
async fn attend(socket: StdStream, streams: Streams) -> io::Result<()> {
    let Streams {
        input,
        output,
        terminal,
        ..
    } = streams;
    let Some(sizes) = terminal else {
        return blocking(move || give(&socket, &input)).await;
    };
    let Some(terminal) = blocking(move || take(&socket)).await? else {
        // The container did not come to its start, which the helper reports.
        return Ok(());
    };
    let other = terminal.try_clone()?;
    let relayed = blocking(move || relay(&input, Some(&output), &other));
    tokio::select! {
        relayed = relayed => relayed,
        never = follow(terminal, sizes) => never,
    }
}

/// Gives a terminal the size of another one, whenever that changes.
async fn follow(terminal: OwnedFd, mut sizes: watch::Receiver<Size>) -> io::Result<()> {
    loop {
        let size = *sizes.borrow_and_update();
        rustix::termios::tcsetwinsize(&terminal, size.to_window())?;
        if sizes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Takes the container's standard input, in its helper.
pub(super) fn taken(folder: &Path) -> io::Result<OwnedFd> {
    let (_folder, path) = short(folder)?;
    let taken = take(&StdStream::connect(path)?)?;
    taken.ok_or_else(|| io::Error::other("the driver gave none"))
}

/// A path of the socket that is short enough for one, as long as the folder is open.
fn short(folder: &Path) -> io::Result<(File, PathBuf)> {
    let folder = File::open(folder)?;
    let path = format!("/proc/self/fd/{}/{STREAMS}", folder.as_raw_fd());
    Ok((folder, PathBuf::from(path)))
}

fn give(socket: &StdStream, descriptor: &OwnedFd) -> io::Result<()> {
    let descriptors = [descriptor.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    message.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(b"i")], &mut message, SendFlags::empty())?;
    Ok(())
}

/// Takes a file descriptor; none if the other side ended without one.
fn take(socket: &StdStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut byte)];
    recvmsg(socket, &mut into, &mut message, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = message.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(descriptors.flatten().next())
}

fn blocking_stream(stream: UnixStream) -> io::Result<StdStream> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
