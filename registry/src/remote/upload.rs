//! Pushes a blob, in one request or in parts, and resumes after broken connections and kills.
//!
//! ```text
//! POST                    opens an upload; its address is recorded (`upload_record`)
//! PATCH part, PATCH part  each answer gives the next address, which is recorded
//! PUT                     with the last part, or empty; or with the whole blob
//! ```
//!
//! After any failure of a part the registry is asked how many bytes it has (GET, end-13) and gets the rest: a
//! connection that broke, an answer that was lost, 416, another process that goes on. 404 opens a new upload, if the
//! blob does not exist by now, and so does any failure of a whole blob; 401 gets a new token for the same address.
//! Transient failures are waited for, and only attempts that make no progress are counted.
//!
//! The registry checks the digest, at the PUT. A blob that is not known to have been checked is also hashed here, and
//! its end is left out when the digest is wrong.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use reqwest::{Body, Method, Response, StatusCode, Url};
use samebundle_spec::{Descriptor, Digester, limits};

use super::RemoteRepository;
use super::answer::{compare, header};
use super::auth::{Action, Scope};
use super::blob::{ReadFailure, Supply};
use super::http::RequestError;
use super::part::Part;
use super::retry::{self, Failure, Try};
use super::upload_record::UploadRecord;
use super::wire::{Call, Redirects, StreamedBody};
use crate::StoreError;
use crate::store::blocking::blocking;

/// The result of a step of an upload.
enum Step {
    /// The registry has the blob.
    Done,
    /// A part was taken, or the address was renewed.
    On,
    /// A transient failure: wait, ask for the position, go on.
    Wait(Failure, String),
    /// Ask for the position, go on.
    Ask(String),
    /// The upload is gone.
    Lost(String),
    /// The registry takes no parts.
    Refused(StoreError),
}

/// An upload that is under way.
struct Upload<'a> {
    repository: &'a RemoteRepository,
    descriptor: &'a Descriptor,
    supply: Supply<'a>,
    /// All bytes are sent in one request; the position of such an upload is never asked for.
    whole: bool,
    record: Option<UploadRecord>,
    /// Where to send the next part; `None` before an upload is open.
    url: Option<Url>,
    /// Bytes that the registry has.
    at: u64,
    /// The most bytes that it has had.
    furthest: u64,
    /// Something failed, so the registry must be asked how many bytes it has.
    unsure: bool,
    part: Part,
    /// How often the registry redirected a part.
    redirects: Redirects,
    /// The upload was begun by an earlier process, so its bytes are not known here.
    inherited: bool,
    /// The position at which the last token was refused.
    refused_at: Option<u64>,
    /// The position at which a part was refused for an unknown reason.
    doubted_at: Option<u64>,
    hashed: Option<Arc<Mutex<Hashed>>>,
}

/// The hash of what was read so far, in order.
struct Hashed {
    digester: Digester,
    until: u64,
}

impl Hashed {
    /// Takes bytes from position `at` on; bytes that were hashed before are skipped. A gap cannot be closed: then
    /// `until` stays.
    fn update(&mut self, at: u64, bytes: &[u8]) {
        let known = self.until.saturating_sub(at);
        if let Ok(known) = usize::try_from(known)
            && known < bytes.len()
            && at <= self.until
        {
            self.digester.update(&bytes[known..]);
            self.until = at + bytes.len() as u64;
        }
    }
}

/// `Range: 0-N` of an upload's answer as a count. Nothing, and "0-0", which registries say of an empty upload, are 0.
pub(super) fn received(response: &Response) -> u64 {
    let range = header(response.headers(), "range");
    let last = range
        .trim_start_matches("bytes=")
        .split_once('-')
        .and_then(|(_, last)| last.trim().parse::<u64>().ok());
    last.filter(|last| *last > 0)
        .map_or(0, |last| last.saturating_add(1))
}

impl RemoteRepository {
    /// Pushes a blob that does not exist yet.
    pub(super) async fn upload(&self, descriptor: &Descriptor, supply: Supply<'_>) -> Result<(), StoreError> {
        let (part, checked) = match &supply {
            Supply::Source(source) if descriptor.size >= limits::RANGES_FROM => {
                (self.known.part(descriptor.size, 0), source.was_checked())
            }
            _ => (None, true),
        };
        let hashed = || Hashed {
            digester: Digester::new(descriptor.digest.algorithm()),
            until: 0,
        };
        let mut upload = Upload {
            repository: self,
            descriptor,
            supply,
            whole: part.is_none(),
            record: None,
            url: None,
            at: 0,
            furthest: 0,
            unsure: false,
            part: part.unwrap_or_else(Part::whole),
            redirects: Redirects::default(),
            inherited: false,
            refused_at: None,
            doubted_at: None,
            hashed: (!checked).then(|| Arc::new(Mutex::new(hashed()))),
        };
        if !upload.whole {
            upload.record = self.record(descriptor).await;
            upload.inherit().await?;
            upload.furthest = upload.at;
        }
        let (context, retry) = (upload.call(Method::PUT).context, &self.client.wire.retry);
        let mut attempts = retry.attempts(&context);
        while attempts.after(upload.attempt().await?).await?.is_none() {}
        Ok(())
    }

    async fn record(&self, descriptor: &Descriptor) -> Option<UploadRecord> {
        let folder = self.client.uploads.clone()?;
        let (repository, digest) = (self.endpoint.repository.clone(), descriptor.digest);
        let opened = blocking(move || Ok(UploadRecord::open(&folder, &repository, &digest))).await;
        match opened {
            Ok(Ok(record)) => record,
            Ok(Err(error)) => {
                tracing::warn!(%error, "an upload cannot be recorded; if it is cut off, it starts again");
                None
            }
            Err(_) => None,
        }
    }
}

impl Upload<'_> {
    /// Asks for the position, if it is not known, and sends the next part.
    async fn attempt(&mut self) -> Result<Try<()>, StoreError> {
        if std::mem::take(&mut self.unsure) {
            if self.whole {
                (self.url, self.at) = (None, 0);
            }
            if (self.url.is_none() || !self.ask().await?) && self.repository.has(self.descriptor).await? {
                return Ok(Try::Done(()));
            }
            if self.is_further() {
                return Ok(Try::Further);
            }
        }
        let (failure, why) = match self.step().await? {
            Step::Done => {
                if let Some(record) = self.record.take() {
                    record.remove();
                }
                return Ok(Try::Done(()));
            }
            Step::On if self.is_further() => return Ok(Try::Further),
            Step::On => return Ok(Try::Next),
            Step::Refused(error) => {
                tracing::info!(%error, "the registry takes no parts; the blob is sent whole");
                self.give_up().await;
                self.repository.known.takes_no_parts();
                (self.whole, self.part) = (true, Part::whole());
                (self.url, self.at) = (None, 0);
                return Ok(Try::Next);
            }
            Step::Lost(why) => {
                self.url = None;
                (Failure::Passing(None), why)
            }
            Step::Wait(failure, why) => (failure, why),
            Step::Ask(why) => (Failure::Passing(Some(Duration::ZERO)), why),
        };
        self.unsure = true;
        let why = match self.whole {
            true => why,
            false => format!("{why}, at byte {} of {}", self.at, self.descriptor.size),
        };
        Ok(Try::Again(failure, why))
    }

    fn is_further(&mut self) -> bool {
        let further = self.at > self.furthest;
        self.furthest = self.furthest.max(self.at);
        further
    }

    fn call(&self, method: Method) -> Call {
        let digest = self.descriptor.digest;
        let subject = digest.to_string();
        let mut call =
            Call::new(&self.repository.endpoint, method, "", "push a blob to", &subject).about(&digest);
        call.scope = Scope::new(&self.repository.endpoint.repository, Action::Push);
        if let Some(url) = &self.url {
            call.url = url.clone();
        }
        call
    }

    /// Resumes an upload that an earlier process began.
    async fn inherit(&mut self) -> Result<(), StoreError> {
        let Some(location) = self.record.as_ref().and_then(|record| record.location.clone()) else {
            return Ok(());
        };
        let call = self.call(Method::GET);
        if let Ok(url) = self.repository.upload_address(&call, location.as_str()) {
            self.url = Some(url);
            self.inherited = self.ask().await?;
        }
        Ok(())
    }

    /// Asks how many bytes the upload has; `false` if it is gone.
    async fn ask(&mut self) -> Result<bool, StoreError> {
        let call = self.call(Method::GET);
        let response = self.repository.send(&call).await?;
        if !response.status().is_success() {
            if matches!(response.status().as_u16(), 401 | 403) {
                return Err(call.context.refused(response).await);
            }
            self.url = None;
            self.at = 0;
            return Ok(false);
        }
        self.at = received(&response).min(self.descriptor.size);
        self.moved(&call, &response).await?;
        Ok(true)
    }

    /// Takes the next address from an answer, and records it.
    async fn moved(&mut self, call: &Call, response: &Response) -> Result<(), StoreError> {
        if !header(response.headers(), "location").is_empty() {
            self.url = Some(self.repository.sent_on(call, response)?);
        }
        self.write_note().await
    }

    /// Records the address for the next request.
    async fn write_note(&mut self) -> Result<(), StoreError> {
        if let (Some(mut record), Some(url)) = (self.record.take(), self.url.clone()) {
            match blocking(move || Ok(record.write(&url).map(|()| record))).await? {
                Ok(record) => self.record = Some(record),
                Err(error) => tracing::warn!(%error, "an upload cannot be recorded"),
            }
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<(), StoreError> {
        (self.at, self.inherited) = (0, false);
        let (url, least) = self.repository.open_upload(self.descriptor).await?;
        if !self.whole {
            // One part of all bytes, if the answer to the opening allows no other.
            let part = self.repository.known.part(self.descriptor.size, least);
            self.part = part.unwrap_or_else(Part::whole);
        }
        self.url = Some(url);
        self.write_note().await
    }

    /// Cancels an upload.
    async fn give_up(&mut self) {
        if self.url.is_some() {
            let call = self.call(Method::DELETE);
            // The registry ends it some time if this fails.
            let _ = self.repository.attempt(&call).await;
        }
        if let Some(record) = self.record.take() {
            record.remove();
        }
    }

    /// Sends one part, the last one with the digest.
    async fn step(&mut self) -> Result<Step, StoreError> {
        if self.url.is_none() {
            self.open().await?;
        }
        let size = self.descriptor.size;
        let end = self.part.end(self.at, size);
        let mut last = end == size;
        let alone = last && self.at == 0;
        if last && !alone && self.hashed.is_some() {
            // The last bytes are sent in a part of their own, so that the digest is known before the blob can be complete.
            last = self.at == size;
            if last && !self.is_right() {
                self.give_up().await;
                return Err(StoreError::Mismatch {
                    digest: self.descriptor.digest,
                    why: "the source sent bytes of another digest".to_owned(),
                });
            }
        }
        let call = self.part_call(end, last);
        let failure = ReadFailure::default();
        let once = StreamedBody {
            body: self.body(&call, end, &failure).await?,
            length: end - self.at,
        };
        let begun = Instant::now();
        let wire = &self.repository.client.wire;
        let sent = wire.send_once(&self.repository.endpoint, &call, once).await;
        if let Some(error) = failure.take() {
            return Err(StoreError::read(self.descriptor.digest, error));
        }
        if last {
            self.judge_last(&call, sent, end - self.at).await
        } else {
            self.judge_part(&call, sent, end, begun.elapsed()).await
        }
    }

    fn part_call(&self, end: u64, last: bool) -> Call {
        let method = if last { Method::PUT } else { Method::PATCH };
        let mut call = self.call(method).with("content-type", "application/octet-stream");
        // No unit, both ends included (distribution-spec); an empty or a whole body needs none.
        if end > self.at && !(last && self.at == 0) {
            call = call.with("content-range", &format!("{}-{}", self.at, end - 1));
        }
        if last {
            call.url
                .query_pairs_mut()
                .append_pair("digest", &self.descriptor.digest.to_string());
        }
        call
    }

    async fn body(&self, call: &Call, end: u64, failure: &ReadFailure) -> Result<Body, StoreError> {
        let alone = self.at == 0 && end == self.descriptor.size;
        let whole = self.whole || (alone && self.hashed.is_some());
        let source = match &self.supply {
            Supply::Source(source) if !whole => source,
            supply => {
                let whole = supply.whole(self.descriptor, failure).await?;
                return whole.ok_or_else(|| {
                    let why = "the connection broke and the content cannot be read a second time; push again";
                    call.context.unavailable(why)
                });
            }
        };
        if self.at == end {
            return Ok(Body::from(""));
        }
        let pieces = source.pieces_unverified(self.descriptor, self.at..end).await?;
        let (failure, hashed, mut at) = (failure.clone(), self.hashed.clone(), self.at);
        let mut left = end - self.at;
        Ok(Body::wrap_stream(pieces.map(move |piece| {
            let piece = piece.inspect_err(|error| failure.set(error))?;
            left = left.checked_sub(piece.len() as u64).ok_or_else(|| {
                let why = "the source has more bytes than its descriptor says";
                let error = io::Error::new(io::ErrorKind::InvalidData, why);
                failure.set(&error);
                error
            })?;
            if let Some(hashed) = &hashed {
                let mut hashed = hashed.lock().unwrap_or_else(PoisonError::into_inner);
                hashed.update(at, &piece);
            }
            at += piece.len() as u64;
            Ok::<_, io::Error>(piece)
        })))
    }

    /// Whether the bytes that were sent have the digest. It is also true if that is not known, because an earlier
    /// process sent a part.
    fn is_right(&self) -> bool {
        let Some(hashed) = &self.hashed else { return true };
        let hashed = hashed.lock().unwrap_or_else(PoisonError::into_inner);
        hashed.until < self.descriptor.size || hashed.digester.clone().finish() == self.descriptor.digest
    }

    /// Handles what all answers have in common; `Ok` is an answer that the caller must handle.
    async fn judge(
        &mut self,
        call: &Call,
        sent: Result<Response, RequestError>,
    ) -> Result<Result<Response, Step>, StoreError> {
        let response = match sent {
            Err(broken) => return Ok(Err(Step::Wait(broken.failure, broken.why))),
            Ok(response) => response,
        };
        let status = response.status();
        Ok(match status.as_u16() {
            _ if retry::passes(status) => {
                let (failure, why) = self.repository.client.wire.passing(&call.context, response).await;
                Err(Step::Wait(failure, why))
            }
            401 if self.refused_at != Some(self.at)
                && self
                    .repository
                    .client
                    .wire
                    .renew(&self.repository.endpoint, call, &response)
                    .await? =>
            {
                self.refused_at = Some(self.at);
                Err(Step::On)
            }
            401 | 403 => return Err(call.context.refused(response).await),
            404 => Err(Step::Lost("the upload was lost".to_owned())),
            // A request that was cut off here may still be writing at the registry.
            409 => Err(Step::Wait(
                Failure::Passing(None),
                "another request writes this upload".to_owned(),
            )),
            416 => Err(Step::Ask("the registry is at another byte".to_owned())),
            307 | 308 => {
                self.redirects.one_more(&call.context)?;
                self.url = Some(self.repository.sent_on(call, &response)?);
                Err(Step::On)
            }
            _ => Ok(response),
        })
    }

    async fn judge_part(
        &mut self,
        call: &Call,
        sent: Result<Response, RequestError>,
        end: u64,
        took: Duration,
    ) -> Result<Step, StoreError> {
        if sent.is_err() {
            self.part.broke();
            self.repository.known.parts_grew_to(0);
        }
        let length = end - self.at;
        let too_large = sent.as_ref().is_ok_and(|response| match response.status() {
            StatusCode::PAYLOAD_TOO_LARGE => true,
            // The position is right, so the registry refuses parts of this size.
            StatusCode::RANGE_NOT_SATISFIABLE => self.at == 0,
            _ => false,
        });
        if too_large && self.smaller(length) {
            return Ok(Step::Ask("the registry takes no parts of this size".to_owned()));
        }
        let response = match self.judge(call, sent).await? {
            Err(Step::Ask(_)) if too_large => {
                return Ok(Step::Refused(call.context.broken("it refuses the first part")));
            }
            Err(Step::Ask(why)) => {
                // Some registries also answer 416 to a part that is too large for them.
                self.part.was_too_large(length);
                return Ok(Step::Ask(why));
            }
            Err(step) => return Ok(step),
            Ok(response) => response,
        };
        if !response.status().is_success() {
            let never = matches!(response.status().as_u16(), 405 | 413 | 415 | 501);
            let error = call.context.refused(response).await;
            if self.part.was_too_large(length) {
                self.repository.known.takes_parts_up_to(self.part.most());
                return Ok(Step::Ask(error.to_string()));
            }
            // The first time it may have been the connection behind a proxy; the second time it is the registry.
            return Ok(if never || self.doubted_at == Some(self.at) {
                Step::Refused(error)
            } else {
                self.doubted_at = Some(self.at);
                Step::Ask(error.to_string())
            });
        }
        // It may have kept fewer bytes than were sent; a registry that reports more counts from one.
        let kept = received(&response);
        self.part.went_through(length, took);
        self.repository.known.parts_grew_to(self.part.size());
        self.at = if kept > self.at && kept < end { kept } else { end };
        self.moved(call, &response).await?;
        Ok(Step::On)
    }

    /// Goes on with smaller parts, if the registry may take any, and remembers that for other blobs.
    fn smaller(&mut self, sent: u64) -> bool {
        let smaller = self.part.was_too_large(sent) || self.part.may_be_small(sent);
        if smaller {
            self.repository.known.takes_parts_up_to(self.part.most());
        }
        smaller
    }

    async fn judge_last(
        &mut self,
        call: &Call,
        sent: Result<Response, RequestError>,
        length: u64,
    ) -> Result<Step, StoreError> {
        let response = match self.judge(call, sent).await? {
            Err(step) => return Ok(step),
            Ok(response) => response,
        };
        if response.status() == StatusCode::CREATED {
            compare(response.headers(), &self.descriptor.digest)?;
            return Ok(Step::Done);
        }
        let too_large = response.status() == StatusCode::PAYLOAD_TOO_LARGE;
        let error = call.context.refused(response).await;
        if too_large && !self.whole && self.smaller(length) {
            return Ok(Step::Ask(error.to_string()));
        }
        if self.inherited {
            // The bytes of an earlier process may be wrong.
            self.give_up().await;
            self.url = None;
            return Ok(Step::Lost(error.to_string()));
        }
        self.give_up().await;
        Err(error)
    }
}
