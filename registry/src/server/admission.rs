//! Tracks the connections, and decides which one is closed when there are too many.
//!
//! A connection waits for its client in the head of a request (a TLS handshake and the pause between two requests count
//! as one), in a body that does not come, or with bytes that the client does not take. When there is no room, the one
//! that has waited longest in a head gives way to a new one; if there is none, one that has waited for long inside a
//! request. A connection for which the server works never gives way. So a client that opens many connections and sends
//! little displaces its own oldest ones, and an honest request is answered at once. Only when all connections are at
//! work a new one waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use samebundle_spec::limits;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const YIELDS_AFTER: Duration = Duration::from_secs(limits::YIELD_SILENCE_SECONDS);

/// All connections of a server. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    seats: Mutex<Seats>,
    /// Notified when a connection ends or begins to wait for its client.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    taken: HashMap<u64, Arc<Waiting>>,
}

/// A connection that was admitted; it frees its seat when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    admission: Admission,
    number: u64,
    waiting: Arc<Waiting>,
}

/// What the server waits for on one connection.
#[derive(Debug)]
struct Waiting {
    state: Mutex<State>,
    evicted: CancellationToken,
}

#[derive(Clone, Copy, Debug)]
struct State {
    in_request: bool,
    /// Bytes of an answer wait to be taken.
    unsent: bool,
    /// The time since which the server has waited for the client; `None` while the server works itself.
    since: Option<Instant>,
}

/// A request under way on a connection; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Underway {
    admission: Admission,
    waiting: Arc<Waiting>,
}

impl State {
    fn is_idle(self) -> bool {
        !self.in_request && !self.unsent
    }

    /// The order in which connections give way: idle ones first, then the longest silence. `None` if it does not give way.
    fn yields(self, now: Instant) -> Option<(bool, Duration)> {
        let silence = now.saturating_duration_since(self.since?);
        (self.is_idle() || silence >= YIELDS_AFTER).then_some((self.is_idle(), silence))
    }
}

impl Admission {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Inner {
            most,
            seats: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// Admits a connection, when there is room or another one gives way.
    pub(super) async fn admit(&self) -> Seat {
        loop {
            if let Some(seat) = self.try_admit(Instant::now()) {
                return seat;
            }
            // No notification comes when a silence grows.
            let _ = tokio::time::timeout(YIELDS_AFTER, self.0.changed.notified()).await;
        }
    }

    fn try_admit(&self, now: Instant) -> Option<Seat> {
        let mut seats = self.0.seats.lock();
        if seats.taken.len() >= self.0.most {
            let yielding = seats.taken.iter().filter_map(|(number, waiting)| {
                let state = *waiting.state.lock();
                state.yields(now).map(|rank| (rank, *number))
            });
            let (_, number) = yielding.max()?;
            if let Some(waiting) = seats.taken.remove(&number) {
                waiting.evicted.cancel();
            }
        }
        let waiting = Arc::new(Waiting {
            state: Mutex::new(State {
                in_request: false,
                unsent: false,
                since: Some(now),
            }),
            evicted: CancellationToken::new(),
        });
        let number = seats.next;
        seats.next += 1;
        seats.taken.insert(number, Arc::clone(&waiting));
        Some(Seat {
            admission: self.clone(),
            number,
            waiting,
        })
    }

    /// Ends the connections on which nothing is under way.
    pub(super) fn end_idle(&self) {
        for waiting in self.0.seats.lock().taken.values() {
            if waiting.state.lock().is_idle() {
                waiting.evicted.cancel();
            }
        }
    }
}

impl Seat {
    /// Records that the head of a request has arrived.
    pub(super) fn begin(&self) -> Underway {
        *self.waiting.state.lock() = State {
            in_request: true,
            unsent: false,
            since: None,
        };
        Underway {
            admission: self.admission.clone(),
            waiting: Arc::clone(&self.waiting),
        }
    }

    /// Records whether the client took the bytes that were to be written.
    pub(super) fn wrote(&self, taken: bool) {
        let mut state = self.waiting.state.lock();
        state.unsent = !taken;
        if !taken {
            state.since.get_or_insert_with(Instant::now);
        } else {
            state.since = (!state.in_request).then(Instant::now);
        }
    }

    /// Waits until this connection has to give way.
    pub(super) async fn evicted(&self) {
        self.waiting.evicted.cancelled().await;
    }

    /// Whether it can be ended without anything being lost.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.state.lock().is_idle()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.admission.0.seats.lock().taken.remove(&self.number);
        self.admission.0.changed.notify_one();
    }
}

impl Underway {
    /// Records whether the body's next bytes have arrived, when they are requested.
    pub(super) fn read(&self, came: bool) {
        let mut state = self.waiting.state.lock();
        if came {
            state.since = None;
        } else {
            state.since.get_or_insert_with(Instant::now);
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut state = self.waiting.state.lock();
        state.in_request = false;
        state.since = Some(Instant::now());
        drop(state);
        self.admission.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gave_way(seat: &Seat) -> bool {
        seat.waiting.evicted.is_cancelled()
    }

    #[test]
    fn the_longest_silence_in_a_head_gives_way_and_no_work_does() {
        let admission = Admission::new(3);
        let began = Instant::now();
        let admit = |after: u64| admission.try_admit(began + Duration::from_secs(after));
        let (one, two, three) = (admit(0).unwrap(), admit(1).unwrap(), admit(2).unwrap());
        let working = one.begin();
        let four = admit(3).unwrap();
        assert_eq!(
            [&one, &two, &three, &four].map(gave_way),
            [false, true, false, false]
        );
        drop(two);
        let (_third, _fourth) = (three.begin(), four.begin());
        assert!(admit(100).is_none(), "all are at work");
        // A body that does not come, for long.
        working.read(false);
        let silent = one.waiting.state.lock().since.unwrap();
        assert!(admission.try_admit(silent + YIELDS_AFTER / 2).is_none());
        let five = admission.try_admit(silent + YIELDS_AFTER).unwrap();
        assert_eq!(
            [&one, &three, &four, &five].map(gave_way),
            [true, false, false, false]
        );
    }

    #[test]
    fn an_answer_that_was_not_taken_yet_is_work() {
        let admission = Admission::new(1);
        let seat = admission.try_admit(Instant::now()).unwrap();
        let underway = seat.begin();
        seat.wrote(false);
        drop(underway);
        let now = Instant::now();
        assert!(!seat.is_idle());
        assert!(admission.try_admit(now).is_none());
        seat.wrote(true);
        assert!(seat.is_idle());
        assert!(admission.try_admit(now).is_some());
    }

    #[tokio::test]
    async fn room_that_is_given_back_is_taken() {
        let admission = Admission::new(1);
        let seat = admission.admit().await;
        let underway = seat.begin();
        let next = tokio::spawn({
            let admission = admission.clone();
            async move { admission.admit().await }
        });
        tokio::task::yield_now().await;
        assert!(!next.is_finished());
        drop((underway, seat));
        drop(next.await.unwrap());
    }
}
