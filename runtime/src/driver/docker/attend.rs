//! Containers that somebody attends: the engine's stream of the container's input and outputs is passed on both ways.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::Pin;
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::query_parameters::{AttachContainerOptionsBuilder, ResizeContainerTTYOptionsBuilder};
use futures::{Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{DockerDriver, failed};
use crate::driver::attended::{relay, write_all};
use crate::driver::{DriverError, Operation, Outcome, Size, Streams};

/// The most bytes that are read at once.
const PART: usize = 8 << 10;

/// How often a terminal is given its size, until the engine can do it.
const ATTEMPTS: usize = 20;
/// The time between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

type Outputs = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;

impl DockerDriver {
    /// Starts a container and passes its streams on until it ends.
    pub(super) async fn attend_container(
        &self,
        container: &str,
        operation: &Operation,
        streams: Streams,
        cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError> {
        let fail = |step: &'static str| failed(step, &operation.name);
        let options = AttachContainerOptionsBuilder::default()
            .stream(true)
            .stdin(true)
            .stdout(true)
            .stderr(true);
        let attached = self
            .engine
            .attach_container(container, Some(options.build()))
            .await;
        let AttachContainerResults { output, input } = attached.map_err(fail("attach to the container"))?;
        let started = self.engine.start_container(container, None).await;
        if let Err(error) = started {
            // The engine tells so of a command that the image does not have.
            return match self.outcome(container, operation).await {
                Ok(outcome @ Outcome::Failed { code: 126 | 127, .. }) => {
                    let _ = write_all(&streams.errors, format!("{error}\n").as_bytes());
                    Ok(outcome)
                }
                _ => Err(fail("start the container")(error)),
            };
        }
        let Streams {
            input: ours,
            output: to,
            errors,
            terminal,
        } = streams;
        let ended = async {
            print(output, to, errors).await;
            self.wait(container).await
        };
        tokio::select! {
            ended = ended => ended.map_err(fail("wait for the container"))?,
            () = cancel.cancelled() => {
                self.ask_to_end(container).await;
                return Ok(Outcome::Cancelled);
            }
            never = feed(ours, input) => never,
            never = self.follow(container, terminal) => never,
        }
        self.outcome(container, operation).await
    }

    /// Gives the container's terminal the size of the caller's, whenever that changes.
    async fn follow(&self, container: &str, sizes: Option<watch::Receiver<Size>>) {
        if let Some(mut sizes) = sizes {
            loop {
                let size = *sizes.borrow_and_update();
                let options = ResizeContainerTTYOptionsBuilder::default()
                    .h(size.rows.into())
                    .w(size.columns.into());
                // A container that has just started may have no terminal yet, and one that ended has none any more.
                for _ in 0..ATTEMPTS {
                    let resized = self
                        .engine
                        .resize_container_tty(container, options.clone().build());
                    match resized.await {
                        Ok(()) => break,
                        Err(error) => tracing::debug!("the terminal keeps its size: {error}"),
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                if sizes.changed().await.is_err() {
                    break;
                }
            }
        }
        std::future::pending::<()>().await;
    }
}

/// Gives the container what the caller types, to its end. It does not return: the container may read nothing.
async fn feed(from: OwnedFd, mut to: Pin<Box<dyn AsyncWrite + Send>>) {
    if let Ok((ours, theirs)) = StdStream::pair() {
        // The thread ends when the other end is dropped.
        drop(tokio::task::spawn_blocking(move || {
            relay(&from, None, &theirs.into())
        }));
        let taken = ours
            .set_nonblocking(true)
            .and_then(|()| UnixStream::from_std(ours));
        if let Ok(mut taken) = taken {
            let mut part = vec![0; PART];
            while let Ok(count @ 1..) = taken.read(&mut part).await {
                let given = to.write_all(part.get(..count).unwrap_or_default());
                if given.await.is_err() || to.flush().await.is_err() {
                    break;
                }
            }
            let _ = to.shutdown().await;
            let _open = taken;
            return std::future::pending::<()>().await;
        }
    }
    std::future::pending::<()>().await;
}

/// Prints what the container does.
async fn print(mut from: Outputs, output: OwnedFd, errors: OwnedFd) {
    let work = |message: LogOutput, to: &OwnedFd| write_all(to, &message.into_bytes());
    while let Some(Ok(message)) = from.next().await {
        let to = match message {
            LogOutput::StdErr { .. } => errors.try_clone(),
            _ => output.try_clone(),
        };
        // A reader that is gone does not stop the container.
        let printed = tokio::task::spawn_blocking(move || to.and_then(|to| work(message, &to)));
        let _ = printed.await;
    }
}
