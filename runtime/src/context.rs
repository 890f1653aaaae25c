//! What the runtime takes from outside instead of reading it: time, ids, directories, cancellation, events.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use crate::event::Events;

/// A source of time and of ids that depend on it.
pub trait Clock: Debug + Send + Sync {
    /// Returns the time.
    fn now(&self) -> SystemTime;

    /// Returns a new ULID, 26 characters, never the same twice.
    fn new_id(&self) -> String;
}

/// The context that an operation is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// Where everything is kept.
    pub home: crate::home::Home,
    /// Cancelled when the user interrupts.
    pub cancel: CancellationToken,
    /// Where progress goes.
    pub events: Arc<dyn Events>,
    /// Whether the network is off: if so, no socket is opened.
    pub offline: bool,
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A clock that stands at the epoch, with one id.
    #[derive(Debug)]
    pub(crate) struct Still;

    impl Clock for Still {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }

        fn new_id(&self) -> String {
            "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned()
        }
    }
}
