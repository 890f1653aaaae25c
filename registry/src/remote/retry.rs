//! When a request is retried, and how long to wait before.
//!
//! Only requests that may be repeated come here: reads, writes of whole blobs under their digest or tag, and the opening
//! of uploads. The wait doubles from [`RetryPolicy::first`] to [`RetryPolicy::longest`] with a jitter of half of it, and is
//! never shorter than what the registry asked for with `Retry-After`, in seconds or as a date (RFC 9110 10.2.3).

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use samebundle_spec::limits;

use super::answer::RequestContext;
use crate::StoreError;

/// Receives every wait, so that a user who watches knows why there is no progress. It must not block.
pub trait Waits: Debug + Send + Sync {
    /// A request to `place` failed for the reason `why` and is sent again after `wait`.
    fn waiting(&self, place: &str, why: &str, wait: Duration);
}

/// How often a request is retried, and how long the waits are.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// The clock, for registries that state until when to wait but not their own time.
    pub clock: fn() -> SystemTime,
    /// How often a request is sent at most; also, how often a broken transfer may stop without progress.
    pub attempts: u32,
    /// How often at most if the registry cannot even be connected to.
    pub connects: u32,
    /// The first wait.
    pub first: Duration,
    /// The longest wait that the registry did not ask for.
    pub longest: Duration,
    /// The longest wait that the registry may ask for; beyond it the request fails at once.
    pub longest_asked: Duration,
    /// Receives every wait.
    pub waits: Option<Arc<dyn Waits>>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            // Then a date without the registry's own is in the far future, and the request fails at once with that reason.
            clock: || SystemTime::UNIX_EPOCH,
            attempts: 8,
            connects: 3,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(60),
            longest_asked: Duration::from_secs(limits::RETRY_AFTER_SECONDS),
            waits: None,
        }
    }
}

impl RetryPolicy {
    pub(super) fn now(&self) -> SystemTime {
        (self.clock)()
    }
}

/// Tells whether a status is transient: throttled, overloaded, restarting.
pub(super) fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// The kind of a failure, which decides how long to wait, and the error when it is given up ([`RequestContext::given_up`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection.
    Connect,
    /// The connection broke, or the answer is a transient error; with the wait that was asked for.
    Passing(Option<Duration>),
    /// The registry answers 429; with the wait that was asked for.
    Throttled(Option<Duration>),
    /// The registry contradicts itself.
    Odd,
    /// Other writers keep changing the same thing.
    Contended,
    /// A failure that is not transient.
    Lasting,
}

/// The result of an attempt that did not end in an error.
pub(super) enum Try<T> {
    /// The end.
    Done(T),
    /// It made progress: failures are counted from zero again.
    Further,
    /// It goes on without progress.
    Next,
    /// It failed, for this reason, and may be tried again.
    Again(Failure, String),
}

/// The attempts of one operation.
#[derive(Debug)]
pub(super) struct Attempts<'a> {
    policy: &'a RetryPolicy,
    context: &'a RequestContext,
    made: u32,
}

impl Attempts<'_> {
    /// Takes the result of an attempt, and waits if it failed. Returns the final result, or `None` if there is to be
    /// another attempt.
    ///
    /// # Errors
    /// If it has failed too often, or the failure is not transient.
    pub(super) async fn after<T>(&mut self, tried: Try<T>) -> Result<Option<T>, StoreError> {
        let (failure, why) = match tried {
            Try::Done(done) => return Ok(Some(done)),
            Try::Further => {
                self.made = 0;
                return Ok(None);
            }
            Try::Next => return Ok(None),
            Try::Again(failure, why) => (failure, why),
        };
        self.made += 1;
        let made = self.made;
        let Some(wait) = self.policy.wait(failure, made) else {
            return Err(self.context.given_up(failure, why, made));
        };
        let (place, wait_ms) = (&self.context.place, wait.as_millis());
        tracing::info!(place, why, made, wait_ms, "asking again");
        if let Some(waits) = &self.policy.waits {
            waits.waiting(place, &why, wait);
        }
        tokio::time::sleep(wait).await;
        Ok(None)
    }
}

impl RetryPolicy {
    pub(super) fn attempts<'a>(&'a self, context: &'a RequestContext) -> Attempts<'a> {
        Attempts {
            policy: self,
            context,
            made: 0,
        }
    }

    /// How long to wait after `made` failures; `None` if it is not tried again.
    fn wait(&self, failure: Failure, made: u32) -> Option<Duration> {
        let (most, context) = match failure {
            Failure::Lasting => return None,
            Failure::Connect => (self.connects.min(self.attempts), None),
            Failure::Passing(context) | Failure::Throttled(context) => (self.attempts, context),
            Failure::Odd | Failure::Contended => (self.attempts, None),
        };
        if made >= most || context.is_some_and(|context| context > self.longest_asked) {
            return None;
        }
        let doublings = (made - 1).min(16);
        let full = self.first.saturating_mul(1 << doublings).min(self.longest);
        let own = full.mul_f64(0.5 + 0.5 * fraction());
        Some(context.map_or(own, |context| context.max(own)))
    }
}

/// A random number in 0..1. Without randomness there is no jitter, which only makes a registry busier.
fn fraction() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

/// Reads `Retry-After`. A date is measured against the answer's own `Date`, so that no clocks need agree, or else `now`.
pub(super) fn context(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let date = headers.get(DATE).and_then(|value| value.to_str().ok());
    let now = date
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or(now);
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn headers(after: &str, date: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(after).unwrap());
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_str(date).unwrap());
        }
        headers
    }

    #[test]
    fn reads_both_forms_of_retry_after() {
        let epoch = SystemTime::UNIX_EPOCH;
        let later = "Thu, 01 Jan 1970 00:01:30 GMT";
        assert_eq!(context(&headers("7", None), epoch), Some(Duration::from_secs(7)));
        assert_eq!(
            context(&headers(later, None), epoch),
            Some(Duration::from_secs(90))
        );
        let date = Some("Thu, 01 Jan 1970 00:01:00 GMT");
        assert_eq!(
            context(&headers(later, date), epoch),
            Some(Duration::from_secs(30))
        );
        let past = context(&headers("Thu, 01 Jan 1970 00:00:01 GMT", date), epoch);
        assert_eq!(past, Some(Duration::ZERO));
        assert_eq!(context(&headers("soon", None), epoch), None);
    }

    #[test]
    fn waits_longer_and_longer_and_then_stops() {
        let policy = RetryPolicy::default();
        let waits = (1..).map_while(|made| policy.wait(Failure::Passing(None), made));
        let waits: Vec<_> = waits.map(|wait| wait.as_secs_f64()).collect();
        assert_eq!(waits.len(), 7);
        for (index, wait) in waits.iter().enumerate() {
            let full = 0.5 * f64::from(1 << index);
            assert!((full / 2.0..=full.min(60.0)).contains(wait), "{index}: {wait}");
        }
    }

    #[test]
    fn waits_as_long_as_asked_but_not_for_ever() {
        let policy = RetryPolicy::default();
        let context = |seconds| Failure::Passing(Some(Duration::from_secs(seconds)));
        assert_eq!(policy.wait(context(40), 1), Some(Duration::from_secs(40)));
        assert_eq!(policy.wait(context(901), 1), None);
        let connects = [1, 2, 3].map(|made| policy.wait(Failure::Connect, made).is_some());
        assert_eq!(connects, [true, true, false]);
        assert_eq!(policy.wait(Failure::Lasting, 1), None);
    }
}
