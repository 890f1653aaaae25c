//! Turns a copy's progress into events: how far each blob is, and how far the whole copy is, with its rate and the time
//! that is left.
//!
//! A copy reports every batch, but the events are few, so that a log or a terminal does not slow the copy.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use samebundle_registry::copy::Progress;
use samebundle_registry::remote::Waits;
use samebundle_spec::Digest;

use crate::{Event, Events};

/// Least time between two events about the same thing.
const EVENT_INTERVAL: Duration = Duration::from_millis(200);
/// The time over which the rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// Measures one copy.
#[derive(Debug)]
pub(super) struct CopyMeter {
    events: Arc<dyn Events>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    total: u64,
    /// Bytes that have arrived.
    done: u64,
    blobs: HashMap<Digest, BlobProgress>,
    reported: Option<Instant>,
    /// Bytes that were copied in each of the last moments.
    recent: VecDeque<(Instant, u64)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct BlobProgress {
    done: u64,
    reported: Option<Instant>,
}

impl CopyMeter {
    /// Makes a meter that reports to `events`.
    pub(super) fn new(events: Arc<dyn Events>) -> Self {
        Self {
            events,
            state: Mutex::default(),
        }
    }

    fn at(&self, now: Instant, change: impl FnOnce(&mut State) -> Option<Event>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let event = change(&mut state);
        let whole = state.whole(now);
        drop(state);
        for event in event.into_iter().chain(whole) {
            self.events.emit(event);
        }
    }

    fn advanced_at(&self, now: Instant, digest: &Digest, done: u64, total: u64) {
        self.at(now, |state| {
            let blob = state.blobs.entry(*digest).or_default();
            // Bytes that are sent again after an interruption count for the rate only once.
            let more = done.saturating_sub(blob.done);
            blob.done = blob.done.max(done);
            let due = done >= total
                || blob
                    .reported
                    .is_none_or(|reported| now.duration_since(reported) >= EVENT_INTERVAL);
            if due {
                blob.reported = Some(now);
            }
            state.done += more;
            if more > 0 {
                state.recent.push_back((now, more));
            }
            due.then_some(Event::Transfer {
                digest: *digest,
                done,
                total,
            })
        });
    }
}

impl State {
    fn whole(&mut self, now: Instant) -> Option<Event> {
        let complete = self.done >= self.total;
        let due = self
            .reported
            .is_none_or(|reported| now.duration_since(reported) >= EVENT_INTERVAL);
        if self.total == 0 || !(due || complete) {
            return None;
        }
        self.reported = Some(now);
        while self.recent.len() > 1
            && self
                .recent
                .front()
                .is_some_and(|(at, _)| now.duration_since(*at) > RATE_WINDOW)
        {
            self.recent.pop_front();
        }
        let per_second = self.rate(now);
        let left = self.total.saturating_sub(self.done);
        Some(Event::Moved {
            done: self.done.min(self.total),
            total: self.total,
            per_second,
            left: per_second
                .filter(|rate| *rate > 0)
                .map(|rate| Duration::from_secs(left.div_ceil(rate))),
        })
    }

    /// Returns bytes a second since the first moment that counts; none before some time has passed.
    fn rate(&self, now: Instant) -> Option<u64> {
        let (first, _) = self.recent.front()?;
        let took = now.duration_since(*first);
        if took < EVENT_INTERVAL {
            return None;
        }
        let bytes: u64 = self.recent.iter().skip(1).map(|(_, bytes)| bytes).sum();
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Some(bytes.saturating_mul(1_000) / millis.max(1))
    }
}

impl Progress for CopyMeter {
    fn planned(&self, _contents: usize, bytes: u64) {
        self.at(Instant::now(), |state| {
            state.total = bytes;
            None
        });
    }

    fn resumed(&self, digest: &Digest, there: u64) {
        self.at(Instant::now(), |state| {
            let blob = state.blobs.entry(*digest).or_default();
            let more = there.saturating_sub(blob.done);
            blob.done = blob.done.max(there);
            state.done += more;
            None
        });
    }

    fn advanced(&self, digest: &Digest, done: u64, total: u64) {
        self.advanced_at(Instant::now(), digest, done, total);
    }

    fn skipped(&self, digest: &Digest, total: u64) {
        self.resumed(digest, total);
    }
}

/// Reports the waits of a client as events.
#[derive(Debug)]
pub(super) struct WaitReporter(pub(super) Arc<dyn Events>);

impl Waits for WaitReporter {
    fn waiting(&self, place: &str, why: &str, wait: Duration) {
        self.0.emit(Event::Waiting {
            place: place.to_owned(),
            why: why.to_owned(),
            wait,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<Event>>);

    impl Events for Kept {
        fn emit(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    #[test]
    fn tells_bytes_rate_and_time_left_and_not_too_often() {
        let kept = Arc::new(Kept::default());
        let meter = CopyMeter::new(Arc::clone(&kept) as _);
        let digest = Digest::sha256(b"x");
        let total = 100 << 20;
        meter.planned(1, total);
        meter.resumed(&digest, 10 << 20);
        let start = Instant::now() + Duration::from_secs(1);
        // A MiB each 10 ms: 100 MiB a second.
        for step in 1..=90_u32 {
            let now = start + step * Duration::from_millis(10);
            meter.advanced_at(now, &digest, u64::from(10 + step) << 20, total);
        }
        let events = kept.0.lock().unwrap();
        assert!(events.len() < 20, "{}", events.len());
        let moved: Vec<&Event> = events
            .iter()
            .filter(|event| matches!(event, Event::Moved { .. }))
            .collect();
        for event in &moved[3..] {
            let Event::Moved {
                done,
                per_second,
                left,
                ..
            } = event
            else {
                unreachable!()
            };
            // Bytes that were present before do not count.
            assert_eq!(*per_second, Some(100 << 20), "{event:?}");
            assert_eq!(left.unwrap().as_secs(), (total - done).div_ceil(100 << 20));
        }
        assert!(matches!(moved.last(), Some(Event::Moved { done, .. }) if *done == total));
        assert!(
            events
                .iter()
                .any(|event| matches!(event, Event::Transfer { done, .. } if *done == total))
        );
    }
}
