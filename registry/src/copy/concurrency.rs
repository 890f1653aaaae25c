//! How many blobs and ranges of a copy are transferred at once.
//!
//! A permit is for one blob, or for one more range of a blob. The number of permits grows by one as long as that makes
//! the copy faster, and is halved each time one of the two stores answers 429: additive increase, multiplicative
//! decrease.
//!
//! Blobs begin with as many permits as the user allows. Further ranges of a blob begin with none: on a short connection one
//! stream fills it and more only disturb each other; on a long one each window that shows a gain brings one more.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use samebundle_spec::limits;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// How long throughput is measured before the number of permits is reconsidered.
const WINDOW: Duration = Duration::from_secs(1);
/// One more permit must bring this much more throughput.
const GAIN: f64 = 1.05;
/// Windows without growth after one more permit brought no gain.
const REST: u32 = 8;
/// Windows without growth after a store answered 429.
const REST_THROTTLED: u32 = 5;

/// The permits of one copy.
#[derive(Debug)]
pub(super) struct Concurrency {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// One more range gets a permit only while fewer than this many are in use.
    ranges: usize,
    used: usize,
    /// Blobs that could be sent if there were a permit; ranges wait for them.
    waiting: usize,
    throttled: u64,
    window: Window,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    bytes: u64,
    /// The kind that could not get a permit at some time in this window.
    wanted: Option<Kind>,
    /// The kind that last got one more permit, and the throughput of the window before, bytes a second.
    grown: Option<(Kind, f64)>,
    rest: u32,
}

/// What a permit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Blob,
    Range,
}

/// The right to send one blob or range; it is given back when dropped.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    concurrency: &'a Concurrency,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.concurrency.state().used -= 1;
        self.concurrency.freed.notify_waiters();
    }
}

impl Concurrency {
    /// Begins with `limit` permits for blobs.
    pub(super) fn new(limit: usize, throttled: u64) -> Self {
        Self {
            state: Mutex::new(State {
                limit: limit.max(1),
                ranges: 1,
                used: 0,
                waiting: 0,
                throttled,
                window: Window {
                    start: Instant::now(),
                    bytes: 0,
                    wanted: None,
                    grown: None,
                    rest: 0,
                },
            }),
            freed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when a permit may have become free since it was made and enabled.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// A permit for a blob.
    pub(super) fn take(&self) -> Option<Permit<'_>> {
        let mut state = self.state();
        if state.used >= state.limit {
            state.window.wanted = Some(Kind::Blob);
            return None;
        }
        state.used += 1;
        Some(Permit { concurrency: self })
    }

    /// A permit for one more range of a blob that has one; none while blobs wait.
    pub(super) fn take_spare(&self) -> Option<Permit<'_>> {
        let mut state = self.state();
        if state.waiting > 0 {
            return None;
        }
        if state.used >= state.ranges {
            state.window.wanted.get_or_insert(Kind::Range);
            return None;
        }
        state.used += 1;
        Some(Permit { concurrency: self })
    }

    /// How many streams one blob may have.
    pub(super) fn streams(&self) -> usize {
        self.state().ranges
    }

    /// Records how many blobs wait for a permit.
    pub(super) fn waiting(&self, contents: usize) {
        self.state().waiting = contents;
    }

    /// Records how often the two stores have answered 429 in all.
    pub(super) fn throttled(&self, times: u64) {
        let mut state = self.state();
        if times > state.throttled {
            state.throttled = times;
            state.limit = (state.limit / 2).max(1);
            state.ranges = (state.ranges / 2).max(1);
            state.window.grown = None;
            state.window.rest = REST_THROTTLED;
        }
    }

    /// Records that bytes were transferred.
    pub(super) fn moved(&self, bytes: u64) {
        let mut state = self.state();
        state.window.bytes += bytes;
        let took = state.window.start.elapsed();
        if took >= WINDOW && state.think(took) {
            drop(state);
            self.freed.notify_waiters();
        }
    }
}

impl State {
    /// Ends a window; returns whether there is one more permit.
    fn think(&mut self, took: Duration) -> bool {
        let rate = self.window.bytes as f64 / took.as_secs_f64();
        let wanted = self.window.wanted.take();
        (self.window.start, self.window.bytes) = (Instant::now(), 0);
        if let Some((kind, before)) = self.window.grown.take()
            && rate < before * GAIN
        {
            let concurrency = self.limit_for(kind);
            *concurrency = (*concurrency - 1).max(1);
            self.window.rest = REST;
            return false;
        }
        if self.window.rest > 0 {
            self.window.rest -= 1;
            return false;
        }
        let Some(kind) = wanted else { return false };
        let used = self.used;
        let concurrency = self.limit_for(kind);
        if (*concurrency).max(used) >= limits::LANES {
            return false;
        }
        *concurrency = used.max(*concurrency) + 1;
        self.window.grown = Some((kind, rate));
        true
    }

    fn limit_for(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Blob => &mut self.limit,
            Kind::Range => &mut self.ranges,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_given_back_and_ranges_wait_for_contents() {
        let concurrency = Concurrency::new(2, 0);
        let one = concurrency.take().unwrap();
        concurrency.waiting(1);
        assert!(concurrency.take_spare().is_none());
        let two = concurrency.take().unwrap();
        assert!(concurrency.take().is_none());
        drop((one, two));
        concurrency.waiting(0);
        assert!(concurrency.take_spare().is_some());
    }

    #[test]
    fn one_more_range_at_a_time_while_that_is_faster() {
        let concurrency = Concurrency::new(4, 0);
        let _content = concurrency.take().unwrap();
        let window = |bytes: u64| {
            let mut spare = Vec::new();
            while let Some(permit) = concurrency.take_spare() {
                spare.push(permit);
            }
            let mut state = concurrency.state();
            state.window.bytes = bytes;
            state.think(Duration::from_secs(1));
            spare.len()
        };
        assert_eq!(
            window(100),
            0,
            "none before it is known that one stream does not fill the way"
        );
        assert_eq!(window(200), 1);
        assert_eq!(window(201), 2, "that brought nothing");
        for _ in 0..REST {
            assert_eq!(window(200), 1);
        }
        assert_eq!(window(200), 1, "tried again");
        assert_eq!(window(300), 2);
        concurrency.throttled(1);
        assert_eq!(window(300), 1, "halved");
        assert_eq!(concurrency.state().limit, 2);
    }

    #[test]
    fn lanes_are_halved_when_a_place_asks_and_grow_while_it_helps() {
        let concurrency = Concurrency::new(4, 3);
        concurrency.throttled(3);
        assert_eq!(concurrency.state().limit, 4);
        concurrency.throttled(4);
        assert_eq!(concurrency.state().limit, 2);
        concurrency.throttled(9);
        concurrency.throttled(10);
        assert_eq!(concurrency.state().limit, 1, "never none");
        let second = Duration::from_secs(1);
        let window = |bytes: u64| {
            let mut state = concurrency.state();
            (state.window.bytes, state.window.wanted) = (bytes, Some(Kind::Blob));
            state.think(second);
            state.limit
        };
        for _ in 0..REST_THROTTLED {
            assert_eq!(window(100), 1, "rests after it was throttled");
        }
        assert_eq!(window(100), 2);
        assert_eq!(window(200), 3, "it was faster, so one more");
        assert_eq!(window(201), 2, "that brought nothing");
        assert_eq!(window(200), 2);
        for _ in 0..200 {
            assert!(window(1 << 20) <= limits::LANES);
        }
    }
}
