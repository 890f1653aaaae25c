//! How far a longer step is: counted by those who do the work, on any thread, and reported as events while it lasts.

use std::future::Future;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::event::{Amount, Event, Events, Working};

/// The interval between two reports.
const INTERVAL: Duration = Duration::from_millis(200);

/// Counts the parts and the bytes of a step. Its clones count together.
#[derive(Clone, Debug)]
pub struct Meter(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    name: String,
    parts: Counter,
    bytes: Counter,
}

#[derive(Debug, Default)]
struct Counter {
    done: AtomicU64,
    total: Option<u64>,
}

impl Counter {
    fn amount(&self) -> Option<Amount> {
        let done = self.done.load(Ordering::Relaxed);
        (self.total.is_some() || done > 0).then_some(Amount {
            done,
            total: self.total,
        })
    }
}

impl Meter {
    /// Makes a meter of a step, an imperative verb with its object, whose parts and bytes may be known beforehand.
    pub fn new(name: impl Into<String>, parts: Option<u64>, bytes: Option<u64>) -> Self {
        let counter = |total| Counter {
            total,
            ..Counter::default()
        };
        Self(Arc::new(Counted {
            name: name.into(),
            parts: counter(parts),
            bytes: counter(bytes),
        }))
    }

    /// Counts parts that are done.
    pub fn add_parts(&self, count: u64) {
        self.0.parts.done.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts parts up to this one as done, unless more are.
    pub fn parts_reach(&self, number: u64) {
        self.0.parts.done.fetch_max(number, Ordering::Relaxed);
    }

    /// Counts bytes that are done.
    pub fn add_bytes(&self, count: u64) {
        self.0.bytes.done.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts what is read through the returned reader.
    pub fn reading<R: Read>(&self, from: R) -> impl Read + use<R> {
        Counting {
            from,
            meter: self.clone(),
        }
    }

    /// Does the work, and reports how far it is until it ends.
    pub async fn watch<T>(&self, events: &dyn Events, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let report = async {
            loop {
                tokio::time::sleep(INTERVAL).await;
                events.emit(Event::Working(self.now(began.elapsed(), false)));
            }
        };
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = report => unreachable!("the report has no end"),
        };
        events.emit(Event::Working(self.now(began.elapsed(), true)));
        outcome
    }

    fn now(&self, took: Duration, ended: bool) -> Working {
        let (parts, bytes) = (self.0.parts.amount(), self.0.bytes.amount());
        let left = |amount: Amount| {
            let total = amount.total.filter(|_| amount.done > 0)?;
            Some(took.mul_f64(total.saturating_sub(amount.done) as f64 / amount.done as f64))
        };
        Working {
            name: self.0.name.clone(),
            parts,
            bytes,
            left: bytes
                .and_then(left)
                .or_else(|| parts.and_then(left))
                .filter(|_| !ended),
            ended,
        }
    }
}

struct Counting<R> {
    from: R,
    meter: Meter,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.meter.add_bytes(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_estimated_from_what_is_known() {
        let (second, known) = (Duration::from_secs(1), Meter::new("x", Some(4), None));
        assert_eq!(known.now(second, false).left, None);
        known.add_parts(1);
        known.add_bytes(10);
        let now = known.now(second, false);
        assert_eq!(now.left, Some(Duration::from_secs(3)));
        let bytes = Amount {
            done: 10,
            total: None,
        };
        assert_eq!(now.bytes, Some(bytes));
        let bytes = Meter::new("x", Some(4), Some(100));
        bytes.add_parts(1);
        io::copy(&mut bytes.reading(&[0; 50][..]), &mut io::sink()).unwrap();
        assert_eq!(bytes.now(second, false).left, Some(second));
        assert_eq!(bytes.now(second, true).left, None);
        assert_eq!(Meter::new("x", None, None).now(second, false).parts, None);
    }
}
