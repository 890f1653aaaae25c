//! Interrupt and termination: the first signal asks for an orderly end, a second one ends the process at once.
//!
//! A thread of its own waits for them, because the working thread may compute without a pause. If it does, it cannot be
//! stopped in order, and the process ends at once: unfinished files have no final name yet, and the next start removes
//! them.

use std::io;
use std::time::Duration;

use samebundle_spec::ErrorKind;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long the working thread may continue to compute after a signal.
const ANSWER: Duration = Duration::from_millis(1_500);

/// Cancels `cancel` at the first signal, and ends the process at the second, or if the working thread does not answer the
/// first by cancelling `answered`.
pub(crate) fn watch(cancel: CancellationToken, answered: CancellationToken) {
    std::thread::spawn(move || {
        let Ok(runtime) = Builder::new_current_thread().enable_all().build() else {
            // Without the thread, the signals have their default effects.
            return;
        };
        // After an error here, the signals have their default effects as well.
        drop(runtime.block_on(wait(&cancel, &answered)));
    });
}

async fn wait(cancel: &CancellationToken, answered: &CancellationToken) -> io::Result<()> {
    let mut signals = Signals::new()?;
    signals.next().await;
    cancel.cancel();
    let answered = async { tokio::time::timeout(ANSWER, answered.cancelled()).await.is_ok() };
    tokio::select! {
        answered = answered => {
            if answered {
                signals.next().await;
            }
        }
        () = signals.next() => {}
    }
    end()
}

#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "nothing else ends a thread that computes"
)]
fn end() -> ! {
    std::process::exit(i32::from(ErrorKind::Interrupted.exit_code()))
}

/// The signals that end a command.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
