//! The terminal of whoever looks into a container: it passes every key on, until it is as it was before.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use samebundle_runtime::driver::{Size, Streams};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A terminal that passes every key on. When it is dropped, it is as it was before.
#[derive(Debug)]
pub(crate) struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    fn enter(terminal: OwnedFd) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Drain, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// Returns the streams of this process for a container. If both input and output are a terminal, the container gets one as
/// well, and this one passes every key on as long as the second value is there.
///
/// # Errors
/// If a stream is closed, or the terminal cannot be set.
pub(crate) fn streams() -> io::Result<(Streams, Option<Raw>)> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    let errors = io::stderr().as_fd().try_clone_to_owned()?;
    let (terminal, raw) = match isatty(&input) && isatty(&output) {
        true => {
            let sizes = sizes(input.try_clone()?)?;
            (Some(sizes), Some(Raw::enter(input.try_clone()?)?))
        }
        false => (None, None),
    };
    let streams = Streams {
        input,
        output,
        errors,
        terminal,
    };
    Ok((streams, raw))
}

/// Follows the size of a terminal.
fn sizes(terminal: OwnedFd) -> io::Result<watch::Receiver<Size>> {
    let size = move || {
        tcgetwinsize(&terminal).map(|size| Size {
            rows: size.ws_row,
            columns: size.ws_col,
        })
    };
    let (sender, sizes) = watch::channel(size()?);
    let mut changed = signal(SignalKind::window_change())?;
    tokio::spawn(async move {
        while changed.recv().await.is_some() {
            if let Ok(size) = size() {
                sender.send_replace(size);
            }
        }
    });
    Ok(sizes)
}
