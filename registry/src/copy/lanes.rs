//! How much of a copy is on the way at once.
//!
//! A lane is one content, or one more range of a content. The number of lanes grows by one as long as that makes the copy
//! faster, and is halved each time one of the places asks to be spared (429): additive increase, multiplicative decrease.
//!
//! Contents begin with as many lanes as the user allows. Further ranges of a content begin with none: on a short way one
//! stream fills it and more only disturb each other, on a long one each window that shows a gain brings one more.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use samebundle_spec::limits;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// How long throughput is measured before the number of lanes is thought over.
const WINDOW: Duration = Duration::from_secs(1);
/// A lane more must bring this much more throughput.
const GAIN: f64 = 1.05;
/// Windows without growth after a lane more brought nothing.
const REST: u32 = 8;
/// Windows without growth after a place asked to be spared.
const REST_THROTTLED: u32 = 5;

/// The lanes of one copy.
#[derive(Debug)]
pub(super) struct Lanes {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// Lanes in use up to which one more range may have one.
    ranges: usize,
    used: usize,
    /// Contents that could go if there were a lane; ranges wait for them.
    waiting: usize,
    throttled: u64,
    window: Window,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    bytes: u64,
    /// What had no lane at some time.
    wanted: Option<Kind>,
    /// What got one more lane last, and the throughput of the window before, bytes a second.
    grown: Option<(Kind, f64)>,
    rest: u32,
}

/// What a lane is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Content,
    Range,
}

/// A place on the way; given back when dropped.
#[derive(Debug)]
pub(super) struct Lane<'a> {
    lanes: &'a Lanes,
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        self.lanes.state().used -= 1;
        self.lanes.freed.notify_waiters();
    }
}

impl Lanes {
    /// Begins with so many.
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

    /// Ends when a lane may have become free since it was made and enabled.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// A lane for a content.
    pub(super) fn take(&self) -> Option<Lane<'_>> {
        let mut state = self.state();
        if state.used >= state.limit {
            state.window.wanted = Some(Kind::Content);
            return None;
        }
        state.used += 1;
        Some(Lane { lanes: self })
    }

    /// A lane for one more range of a content that has one; none while contents wait.
    pub(super) fn take_spare(&self) -> Option<Lane<'_>> {
        let mut state = self.state();
        if state.waiting > 0 {
            return None;
        }
        if state.used >= state.ranges {
            state.window.wanted.get_or_insert(Kind::Range);
            return None;
        }
        state.used += 1;
        Some(Lane { lanes: self })
    }

    /// How many streams one content may have.
    pub(super) fn streams(&self) -> usize {
        self.state().ranges
    }

    /// Says how many contents wait for a lane.
    pub(super) fn waiting(&self, contents: usize) {
        self.state().waiting = contents;
    }

    /// Says how often the places asked to be spared, in all.
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

    /// Says that bytes went through.
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
    /// Ends a window; whether there is a lane more.
    fn think(&mut self, took: Duration) -> bool {
        let rate = self.window.bytes as f64 / took.as_secs_f64();
        let wanted = self.window.wanted.take();
        (self.window.start, self.window.bytes) = (Instant::now(), 0);
        if let Some((kind, before)) = self.window.grown.take()
            && rate < before * GAIN
        {
            let lanes = self.lanes_for(kind);
            *lanes = (*lanes - 1).max(1);
            self.window.rest = REST;
            return false;
        }
        if self.window.rest > 0 {
            self.window.rest -= 1;
            return false;
        }
        let Some(kind) = wanted else { return false };
        let used = self.used;
        let lanes = self.lanes_for(kind);
        if (*lanes).max(used) >= limits::LANES {
            return false;
        }
        *lanes = used.max(*lanes) + 1;
        self.window.grown = Some((kind, rate));
        true
    }

    fn lanes_for(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Content => &mut self.limit,
            Kind::Range => &mut self.ranges,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_given_back_and_ranges_wait_for_contents() {
        let lanes = Lanes::new(2, 0);
        let one = lanes.take().unwrap();
        lanes.waiting(1);
        assert!(lanes.take_spare().is_none());
        let two = lanes.take().unwrap();
        assert!(lanes.take().is_none());
        drop((one, two));
        lanes.waiting(0);
        assert!(lanes.take_spare().is_some());
    }

    #[test]
    fn one_more_range_at_a_time_while_that_is_faster() {
        let lanes = Lanes::new(4, 0);
        let _content = lanes.take().unwrap();
        let window = |bytes: u64| {
            let mut spare = Vec::new();
            while let Some(lane) = lanes.take_spare() {
                spare.push(lane);
            }
            let mut state = lanes.state();
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
        lanes.throttled(1);
        assert_eq!(window(300), 1, "halved");
        assert_eq!(lanes.state().limit, 2);
    }

    #[test]
    fn lanes_are_halved_when_a_place_asks_and_grow_while_it_helps() {
        let lanes = Lanes::new(4, 3);
        lanes.throttled(3);
        assert_eq!(lanes.state().limit, 4);
        lanes.throttled(4);
        assert_eq!(lanes.state().limit, 2);
        lanes.throttled(9);
        lanes.throttled(10);
        assert_eq!(lanes.state().limit, 1, "never none");
        let second = Duration::from_secs(1);
        let window = |bytes: u64| {
            let mut state = lanes.state();
            (state.window.bytes, state.window.wanted) = (bytes, Some(Kind::Content));
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
