//! Sends one blob: as a whole, or in ranges if the sink takes them.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use samebundle_spec::{Descriptor, limits};
use tokio::sync::{Mutex, Notify};

use super::concurrency::Concurrency;
use super::observer::{ObservedSource, Observer};
use super::older::Reuse;
use super::{Options, on};
use crate::graph::{Graph, Node};
use crate::store::{Begun, Origin, Parts, Side, Stopped, StoreError, Target, digest_of, pump};

/// One copy.
#[derive(Debug)]
pub(super) struct Job<'a, O: ?Sized, T: ?Sized> {
    pub(super) source: &'a O,
    pub(super) sink: &'a T,
    pub(super) graph: &'a Graph,
    pub(super) options: &'a Options,
    pub(super) concurrency: &'a Arc<Concurrency>,
    pub(super) reuse: Reuse,
}

impl<O: Origin + ?Sized, T: Target + ?Sized> Job<'_, O, T> {
    /// Sends one blob. Returns how many bytes were read for it, or `None` if none were read because the sink has it.
    pub(super) async fn send(&self, node: &Node) -> Result<Option<u64>, StoreError> {
        let descriptor = &node.descriptor;
        // A push also lists a referrer, and the listing may be what is missing, so a referrer is always pushed.
        if !node.has_subject
            && self
                .sink
                .contains(descriptor)
                .await
                .map_err(on(Side::Destination))?
        {
            return self.skip(descriptor);
        }
        if descriptor.media_type.has_children() || descriptor.size < limits::RANGES_FROM {
            return self.whole(descriptor).await;
        }
        match self.begin(descriptor).await? {
            Begun::Whole => self.whole(descriptor).await,
            Begun::There => self.skip(descriptor),
            Begun::Parts(parts) => self.by_ranges(descriptor, parts).await.map(Some),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "what send returns")]
    fn skip(&self, descriptor: &Descriptor) -> Result<Option<u64>, StoreError> {
        if let Some(progress) = &self.options.progress {
            progress.skipped(&descriptor.digest, descriptor.size);
        }
        Ok(None)
    }

    async fn begin(&self, descriptor: &Descriptor) -> Result<Begun, StoreError> {
        self.sink.begin(descriptor).await.map_err(on(Side::Destination))
    }

    /// The sink reads the source.
    async fn whole(&self, descriptor: &Descriptor) -> Result<Option<u64>, StoreError> {
        let observer = Arc::new(Observer::new(
            descriptor,
            self.options.progress.clone(),
            self.concurrency,
        ));
        let observed = ObservedSource {
            source: self.source,
            concurrency: self.concurrency,
            known: self.graph.bytes(descriptor),
            observer: Arc::clone(&observer),
        };
        match self.sink.push_from(descriptor, &observed).await {
            Ok(()) if observer.was_read() => Ok(Some(observer.read())),
            Ok(()) => self.skip(descriptor),
            Err(error) => Err(match observer.failure() {
                Some(failure) => on(Side::Source)(StoreError::read(descriptor.digest, failure)),
                None => match error {
                    // The source could not be opened, and the error says so already.
                    error @ StoreError::Copy { .. } => error,
                    error @ StoreError::Mismatch { .. } if observer.was_read() => {
                        self.blame(descriptor, error).await
                    }
                    error => on(Side::Destination)(error),
                },
            }),
        }
    }

    /// Finds out which side is at fault if the sink got other bytes than the descriptor says: reads the source again.
    async fn blame(&self, descriptor: &Descriptor, error: StoreError) -> StoreError {
        let observed = ObservedSource {
            source: self.source,
            concurrency: self.concurrency,
            known: self.graph.bytes(descriptor),
            observer: Arc::new(Observer::new(descriptor, None, self.concurrency)),
        };
        match digest_of(&observed, descriptor).await {
            Ok(found) if found == descriptor.digest => on(Side::Destination)(error),
            Ok(_) => on(Side::Source)(error),
            Err(error @ StoreError::Copy { .. }) => error,
            Err(error) => on(Side::Source)(error),
        }
    }

    /// Writes to the sink by position; bytes of the blob that the sink already has are not fetched again.
    async fn by_ranges(&self, descriptor: &Descriptor, parts: Arc<dyn Parts>) -> Result<u64, StoreError> {
        let read = AtomicU64::new(0);
        let mut parts = parts;
        // This is tried only once: if the assembled bytes are wrong, an index is false, and everything is fetched.
        if let Some(chunked) = self.graph.chunked.get(&descriptor.digest) {
            let filled = self.reuse.fill(self.source, self.sink, chunked, &*parts).await?;
            read.fetch_add(filled, Ordering::Relaxed);
        }
        loop {
            let missing = parts.missing();
            let whole = missing.first() == Some(&(0..descriptor.size));
            self.fetch(descriptor, &*parts, missing, &read).await?;
            match parts.finish().await {
                Ok(()) => return Ok(read.load(Ordering::Relaxed)),
                Err(error @ StoreError::Mismatch { .. }) if whole => return Err(on(Side::Source)(error)),
                // The bytes that an earlier attempt left were wrong, and are removed.
                Err(StoreError::Mismatch { why, .. }) => {
                    tracing::warn!(digest = %descriptor.digest, why, "what was there is not used");
                }
                Err(error) => return Err(on(Side::Destination)(error)),
            }
            drop(parts);
            parts = match self.begin(descriptor).await? {
                Begun::Parts(parts) => parts,
                Begun::There => return Ok(read.load(Ordering::Relaxed)),
                Begun::Whole => return self.whole(descriptor).await.map(Option::unwrap_or_default),
            };
        }
    }

    async fn fetch(
        &self,
        descriptor: &Descriptor,
        parts: &dyn Parts,
        missing: Vec<Range<u64>>,
        read: &AtomicU64,
    ) -> Result<(), StoreError> {
        let size = descriptor.size;
        let there = size - missing.iter().map(|range| range.end - range.start).sum::<u64>();
        if let Some(progress) = self.options.progress.as_ref().filter(|_| there > 0) {
            progress.resumed(&descriptor.digest, there);
        }
        let (done, asked, recorded) = (AtomicU64::new(there), AtomicU64::new(0), Notify::new());
        let moved = |bytes: u64| {
            read.fetch_add(bytes, Ordering::Relaxed);
            asked.fetch_sub(bytes, Ordering::Relaxed);
            self.concurrency.moved(bytes);
            let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            if let Some(progress) = &self.options.progress {
                progress.advanced(&descriptor.digest, done.min(size), size);
            }
            recorded.notify_one();
        };
        let mut budget = Budget::new(size);
        // Ranges without a permit of their own are read one after the other, so that the bytes come in order; the next one
        // is requested while the one before ends.
        let (turn, mut in_turn) = (Mutex::new(()), 0);
        let mut left: VecDeque<Range<u64>> = missing.into();
        let mut running = FuturesUnordered::new();
        loop {
            let mut freed = pin!(self.concurrency.freed());
            freed.as_mut().enable();
            let pace = self.source.pace();
            if !pace.ranges {
                join(&mut left);
            }
            while let Some(first) = left.front_mut() {
                let most = match pace.streams {
                    1 => size,
                    streams => budget.range(size, streams.min(self.concurrency.streams())),
                };
                let length = most.min(first.end - first.start);
                let room = asked.load(Ordering::Relaxed) + length <= budget.now;
                if !running.is_empty() && (!room || running.len() >= pace.streams) {
                    break;
                }
                let permit = if in_turn > 0 {
                    self.concurrency.take_spare()
                } else {
                    None
                };
                let turn = permit.is_none().then_some(&turn);
                if turn.is_some() && in_turn > 1 {
                    break;
                }
                let range = first.start..first.start + length;
                first.start = range.end;
                if first.is_empty() {
                    left.pop_front();
                }
                asked.fetch_add(length, Ordering::Relaxed);
                in_turn += usize::from(turn.is_some());
                let range = self.range(descriptor, parts, range, turn, &moved);
                running.push(async move {
                    let fetched = range.await;
                    drop(permit);
                    fetched.map(|took| (turn.is_some(), length, took))
                });
            }
            if running.is_empty() {
                return Ok(());
            }
            tokio::select! {
                Some(done) = running.next() => {
                    let (followed, length, took) = done?;
                    in_turn -= usize::from(followed);
                    budget.took(length, took);
                }
                () = freed, if !left.is_empty() => {}
                () = recorded.notified(), if !left.is_empty() => {}
            }
            self.concurrency
                .throttled(self.source.pace().throttled + self.sink.pace().throttled);
        }
    }

    /// Fetches one range; its bytes wait for their turn, if there is one. Returns how long they took from then on.
    async fn range(
        &self,
        descriptor: &Descriptor,
        parts: &dyn Parts,
        range: Range<u64>,
        turn: Option<&Mutex<()>>,
        moved: impl Fn(u64),
    ) -> Result<Duration, StoreError> {
        let pieces = self.source.pieces_unverified(descriptor, range.clone()).await;
        let pieces = pieces.map_err(on(Side::Source))?;
        let _turn = match turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        let begun = Instant::now();
        let pumped = pump(range, pieces, |at, batch| parts.write(at, batch), moved).await;
        pumped.map(|()| begun.elapsed()).map_err(|stopped| match stopped {
            Stopped::Read(error) => on(Side::Source)(StoreError::read(descriptor.digest, error)),
            Stopped::Write(error) => on(Side::Destination)(error),
        })
    }
}

/// How much of one blob may be requested and not be recorded yet, bytes: a kill loses at most this. It grows only on a
/// fast network, so that a kill costs no more than a moment, and no early answer waits long to be read.
#[derive(Debug)]
struct Budget {
    now: u64,
    least: u64,
    most: u64,
}

impl Budget {
    /// A range that came in less time than this may be followed by a longer one.
    const QUICK: Duration = Duration::from_secs(1);

    /// The budget for a blob of `size` bytes.
    fn new(size: u64) -> Self {
        let (least, largest) = limits::ASKED_BYTES;
        let (least, most) = if size <= limits::ASKED_WHOLE {
            (size, size)
        } else {
            (least, (size / limits::ASKED_OF_ALL).clamp(least, largest))
        };
        Self {
            now: least,
            least,
            most,
        }
    }

    /// How long a range of a blob of `size` bytes may be with this many streams.
    fn range(&self, size: u64, streams: usize) -> u64 {
        if self.now >= size {
            return size;
        }
        // Three quarters leave room to request the next range while one ends.
        (self.now / streams as u64).min(self.now / 4 * 3)
    }

    /// Records how long the bytes of a range took to arrive.
    fn took(&mut self, length: u64, took: Duration) {
        if took >= Self::QUICK {
            self.now = (self.now / 2).max(self.least);
        } else if length >= self.now / 4 {
            self.now = (self.now * 2).min(self.most);
        }
    }
}

/// Joins all ranges into one. Where each range costs the bytes before it, reading the gaps costs less than another request.
fn join(left: &mut VecDeque<Range<u64>>) {
    if let (Some(first), Some(last)) = (left.front(), left.back()) {
        let all = first.start..last.end;
        left.clear();
        left.push_back(all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn more_is_asked_for_on_a_quick_way_up_to_a_part_of_the_content() {
        let (quick, slow) = (Duration::from_millis(999), Duration::from_secs(1));
        for (size, most) in [
            (17, 8),
            (256, 8),
            (512, 16),
            (1_024, 32),
            (2_048, 64),
            (1 << 20, 64),
        ] {
            let mut budget = Budget::new(size * MIB);
            assert_eq!(budget.now, 8 * MIB, "before anything is known");
            for _ in 0..9 {
                budget.took(budget.range(size * MIB, limits::RANGE_STREAMS), quick);
            }
            assert_eq!(budget.now, most * MIB);
            budget.took(1, quick);
            assert_eq!(budget.now, most * MIB);
            for _ in 0..9 {
                budget.took(budget.range(size * MIB, 1), slow);
            }
            assert_eq!(budget.now, 8 * MIB, "a way that became slow");
            budget.took(1, quick);
            assert_eq!(budget.now, 8 * MIB, "a short range says nothing");
        }
    }

    #[test]
    fn ranges_of_all_streams_fit_and_the_next_one_can_be_asked_for_before_one_ends() {
        let budget = Budget::new(1 << 30);
        assert_eq!(budget.range(1 << 30, 1), 6 * MIB);
        for streams in 2..=limits::RANGE_STREAMS {
            assert_eq!(budget.range(1 << 30, streams), 8 * MIB / streams as u64);
        }
        let small = Budget::new(limits::ASKED_WHOLE);
        assert_eq!(small.range(limits::ASKED_WHOLE, 4), limits::ASKED_WHOLE);
    }
}
