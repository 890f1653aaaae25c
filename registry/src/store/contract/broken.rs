//! Stores that each break one promise, and the proof that the contract sees it.

use std::sync::Arc;

use async_trait::async_trait;
use samebundle_spec::{Algorithm, Descriptor, Digest, MediaType, Tag};
use tokio::io::AsyncReadExt;

use super::store_contract;
use crate::store::{ByteStream, Memory, Referrers, Resolve, Sink, Source, Store, StoreError, Tags};

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    None,
    ContainsAlways,
    ContainsNever,
    AbsentIsUnavailable,
    IgnoresOffset,
    LosesOneByte,
    TrustsTheDescriptor,
    CutsLongContent,
    FillsShortContent,
    WrongKindOfRefusal,
    ReadsWhatIsThere,
    NoSha512,
    RewritesManifests,
    TagsWhatIsAbsent,
    TagNeverMoves,
    LosesTagsSetAtOnce,
    TagsUnsorted,
    ForgetsToListATag,
    UntagOfAbsentFails,
    UntagDoesNothing,
    AbsentTagIsInvalid,
    ReferrersUnsorted,
    ReferrersIgnoreTheFilter,
    ReferrersIgnoreTheSubject,
    ReferrersNone,
    ReferrersTwice,
    ReferrersWithoutType,
    ReferrersOfAbsentFail,
}

const FAULTS: [(Defect, &str); 27] = [
    (Defect::ContainsAlways, "says_what_is_absent"),
    (Defect::ContainsNever, "keeps_content"),
    (Defect::AbsentIsUnavailable, "says_what_is_absent"),
    (Defect::IgnoresOffset, "keeps_content"),
    (Defect::LosesOneByte, "keeps_content"),
    (Defect::TrustsTheDescriptor, "refuses_other_bytes"),
    (Defect::CutsLongContent, "refuses_long_content"),
    (Defect::FillsShortContent, "refuses_short_content"),
    (Defect::WrongKindOfRefusal, "refuses_other_bytes"),
    (Defect::ReadsWhatIsThere, "reads_nothing_that_is_there"),
    (Defect::NoSha512, "names_content_by_sha512"),
    (Defect::RewritesManifests, "keeps_manifests_byte_for_byte"),
    (Defect::TagsWhatIsAbsent, "refuses_to_tag_what_is_absent"),
    (Defect::TagNeverMoves, "moves_a_tag"),
    (Defect::LosesTagsSetAtOnce, "keeps_every_tag_set_at_once"),
    (Defect::TagsUnsorted, "lists_tags_sorted"),
    (Defect::ForgetsToListATag, "lists_tags_sorted"),
    (Defect::UntagOfAbsentFails, "removes_a_tag_and_keeps_the_content"),
    (Defect::UntagDoesNothing, "removes_a_tag_and_keeps_the_content"),
    (Defect::AbsentTagIsInvalid, "says_that_a_tag_is_absent"),
    (Defect::ReferrersUnsorted, "lists_sorted"),
    (Defect::ReferrersIgnoreTheFilter, "filters_by_artifact_type"),
    (Defect::ReferrersIgnoreTheSubject, "lists_only_the_subjects_own"),
    (Defect::ReferrersNone, "lists_sorted"),
    (Defect::ReferrersTwice, "lists_once_what_is_pushed_twice"),
    (Defect::ReferrersWithoutType, "filters_by_artifact_type"),
    (Defect::ReferrersOfAbsentFail, "lists_none"),
];

#[derive(Debug)]
struct Faulty {
    fault: Defect,
    good: Memory,
    /// Bytes that stand in for content under digests that are not theirs.
    wrong: std::sync::Mutex<std::collections::BTreeMap<Digest, Vec<u8>>>,
    referrers: std::sync::Mutex<Vec<Descriptor>>,
    tags: std::sync::Mutex<std::collections::BTreeMap<Tag, Descriptor>>,
}

fn unavailable() -> StoreError {
    StoreError::Unavailable {
        place: "faulty".to_owned(),
        operation: "ask",
        why: "on purpose".to_owned(),
    }
}

fn stream(bytes: Vec<u8>) -> ByteStream {
    Box::pin(std::io::Cursor::new(bytes))
}

#[async_trait]
impl Source for Faulty {
    async fn fetch_unverified(&self, descriptor: &Descriptor, from: u64) -> Result<ByteStream, StoreError> {
        if let Some(bytes) = self.wrong.lock().unwrap().get(&descriptor.digest) {
            return Ok(stream(
                bytes[usize::try_from(from).unwrap().min(bytes.len())..].to_vec(),
            ));
        }
        let from = if self.fault == Defect::IgnoresOffset {
            0
        } else {
            from
        };
        let found = self.good.fetch_unverified(descriptor, from).await;
        match (self.fault, found) {
            (Defect::AbsentIsUnavailable, Err(_)) => Err(unavailable()),
            (Defect::LosesOneByte, Ok(mut whole)) => {
                let mut bytes = Vec::new();
                whole.read_to_end(&mut bytes).await.unwrap();
                bytes.pop();
                Ok(stream(bytes))
            }
            (_, found) => found,
        }
    }

    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        match self.fault {
            Defect::ContainsAlways => Ok(true),
            Defect::ContainsNever => Ok(false),
            _ => {
                let wrong = self.wrong.lock().unwrap().contains_key(&descriptor.digest);
                Ok(wrong || self.good.contains(descriptor).await?)
            }
        }
    }
}

impl Faulty {
    /// Changes the bytes that are pushed as the fault has it; returns whether they are kept under the wrong name.
    async fn take(
        &self,
        descriptor: &Descriptor,
        mut content: ByteStream,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let size = usize::try_from(descriptor.size).unwrap();
        let mut bytes = Vec::new();
        (&mut content)
            .take(descriptor.size + 10)
            .read_to_end(&mut bytes)
            .await
            .map_err(|error| StoreError::read(descriptor.digest, error))?;
        match self.fault {
            Defect::TrustsTheDescriptor => Ok(Some(bytes)),
            Defect::CutsLongContent if bytes.len() > size => {
                bytes.truncate(size);
                Ok(Some(bytes))
            }
            Defect::FillsShortContent if bytes.len() < size => {
                bytes.resize(size, 0);
                Ok(Some(bytes))
            }
            Defect::RewritesManifests if descriptor.media_type.has_children() => {
                let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                Ok(Some(serde_json::to_vec(&value).unwrap()))
            }
            _ => {
                self.good.push(descriptor, stream(bytes)).await?;
                Ok(None)
            }
        }
    }
}

#[async_trait]
impl Sink for Faulty {
    async fn push(&self, descriptor: &Descriptor, content: ByteStream) -> Result<(), StoreError> {
        if self.fault == Defect::NoSha512 && descriptor.digest.algorithm() == Algorithm::Sha512 {
            return Err(StoreError::Unsupported {
                place: "faulty".to_owned(),
                operation: "push sha512 to",
            });
        }
        if self.fault != Defect::ReadsWhatIsThere && self.good.contains(descriptor).await? {
            return Ok(());
        }
        let kept = match self.take(descriptor, content).await {
            Err(StoreError::Mismatch { .. }) if self.fault == Defect::WrongKindOfRefusal => {
                return Err(unavailable());
            }
            other => other?,
        };
        if let Some(bytes) = kept {
            self.wrong.lock().unwrap().insert(descriptor.digest, bytes);
        }
        if descriptor.media_type.has_children() {
            self.referrers.lock().unwrap().push(descriptor.clone());
        }
        Ok(())
    }
}

#[async_trait]
impl Resolve for Faulty {
    async fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        let lost = self.tags.lock().unwrap().get(tag).cloned();
        match (self.fault, self.good.resolve(tag).await) {
            (Defect::LosesTagsSetAtOnce, _) => lost.ok_or_else(unavailable),
            (Defect::AbsentTagIsInvalid, Err(_)) => Err(StoreError::Invalid {
                subject: tag.to_string(),
                why: "absent".to_owned(),
            }),
            (_, found) => found,
        }
    }

    async fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        let mut tags = self.good.tags().await?;
        match self.fault {
            Defect::TagsUnsorted => tags.reverse(),
            Defect::ForgetsToListATag => {
                tags.pop();
            }
            Defect::LosesTagsSetAtOnce => tags = self.tags.lock().unwrap().keys().cloned().collect(),
            _ => {}
        }
        Ok(tags)
    }
}

#[async_trait]
impl Tags for Faulty {
    async fn tag(&self, descriptor: &Descriptor, tag: &Tag) -> Result<(), StoreError> {
        match self.fault {
            Defect::TagsWhatIsAbsent if !self.good.contains(descriptor).await? => return Ok(()),
            Defect::TagNeverMoves if self.good.resolve(tag).await.is_ok() => return Ok(()),
            Defect::LosesTagsSetAtOnce => {
                let mut tags = self.tags.lock().unwrap().clone();
                tags.insert(tag.clone(), descriptor.clone());
                tokio::task::yield_now().await;
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                *self.tags.lock().unwrap() = tags;
                return Ok(());
            }
            _ => {}
        }
        self.good.tag(descriptor, tag).await
    }

    async fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        match self.fault {
            Defect::UntagDoesNothing => Ok(()),
            Defect::UntagOfAbsentFails => {
                self.good.resolve(tag).await?;
                self.good.untag(tag).await
            }
            _ => self.good.untag(tag).await,
        }
    }
}

#[async_trait]
impl Referrers for Faulty {
    async fn referrers(
        &self,
        subject: &Descriptor,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>, StoreError> {
        if self.fault == Defect::ReferrersIgnoreTheSubject {
            return Ok(self.referrers.lock().unwrap().clone());
        }
        if self.fault == Defect::ReferrersOfAbsentFail && !self.good.contains(subject).await? {
            return Err(unavailable());
        }
        let filter = artifact_type.filter(|_| self.fault != Defect::ReferrersIgnoreTheFilter);
        let mut list = self.good.referrers(subject, filter).await?;
        match self.fault {
            Defect::ReferrersUnsorted => list.reverse(),
            Defect::ReferrersNone => list.clear(),
            Defect::ReferrersTwice => list = [list.clone(), list].concat(),
            Defect::ReferrersWithoutType => list.iter_mut().for_each(|one| one.artifact_type = None),
            _ => {}
        }
        Ok(list)
    }
}

async fn broken_by(fault: Defect) -> Vec<&'static str> {
    let broken = store_contract(|| async {
        Arc::new(Faulty {
            fault,
            good: Memory::new(),
            wrong: std::sync::Mutex::default(),
            referrers: std::sync::Mutex::default(),
            tags: std::sync::Mutex::default(),
        }) as Arc<dyn Store>
    })
    .await;
    broken.into_iter().map(|broken| broken.case).collect()
}

#[tokio::test]
async fn a_sound_store_keeps_the_contract_through_the_wrapper() {
    assert_eq!(broken_by(Defect::None).await, Vec::<&str>::new());
}

#[tokio::test]
async fn every_broken_store_fails_the_case_that_is_meant_for_it() {
    for (fault, case) in FAULTS {
        let broken = broken_by(fault).await;
        assert!(
            broken.contains(&case),
            "{fault:?} should break {case}, broke {broken:?}"
        );
    }
}
