//! Cases of [`Referrers`](crate::store::Referrers).

use std::sync::Arc;

use samebundle_spec::{Descriptor, MediaType};

use super::{Verdict, artifact, ensure, image, tag, text};
use crate::store::Store;

const SIGNATURE: &str = "application/vnd.example.signature";
const RECEIPT: &str = "application/vnd.example.receipt";

async fn list(store: &dyn Store, subject: &Descriptor, of: Option<&str>) -> Result<Vec<Descriptor>, String> {
    let of: Option<MediaType> = match of {
        Some(of) => Some(of.parse().map_err(|error| format!("{error}"))?),
        None => None,
    };
    store
        .referrers(subject, of.as_ref())
        .await
        .map_err(|error| format!("referrers: {}", text(&error)))
}

async fn ensure_lists(
    store: &dyn Store,
    subject: &Descriptor,
    of: Option<&str>,
    wanted: &[&Descriptor],
) -> Verdict {
    let found = list(store, subject, of).await?;
    let found: Vec<Descriptor> = found.iter().map(Descriptor::bare).collect();
    let mut wanted: Vec<Descriptor> = wanted.iter().map(|one| one.bare()).collect();
    wanted.sort_by_key(|one| one.digest);
    ensure(found == wanted, || {
        format!("with filter {of:?}: {found:?}, not {wanted:?}")
    })
}

async fn refer(store: &dyn Store, mark: &str, subject: &Descriptor, of: &str) -> Result<Descriptor, String> {
    artifact(store, mark, Some(subject), Some(of), MediaType::OCI_EMPTY).await
}

pub(super) async fn lists_none(store: Arc<dyn Store>) -> Verdict {
    let subject = image(&*store, "subject").await?;
    ensure_lists(&*store, &subject, None, &[]).await?;
    let absent = Descriptor::of(MediaType::OCI_MANIFEST, b"never pushed");
    ensure_lists(&*store, &absent, None, &[]).await
}

pub(super) async fn lists_sorted(store: Arc<dyn Store>) -> Verdict {
    let subject = image(&*store, "subject").await?;
    let mut all = Vec::new();
    for i in 0..6 {
        all.push(refer(&*store, &i.to_string(), &subject, SIGNATURE).await?);
    }
    ensure_lists(&*store, &subject, None, &all.iter().collect::<Vec<_>>()).await
}

pub(super) async fn lists_only_the_subjects_own(store: Arc<dyn Store>) -> Verdict {
    let subject = image(&*store, "subject").await?;
    let other = image(&*store, "other").await?;
    let signature = refer(&*store, "a", &subject, SIGNATURE).await?;
    let of_signature = refer(&*store, "b", &signature, RECEIPT).await?;
    let of_other = refer(&*store, "c", &other, SIGNATURE).await?;
    ensure_lists(&*store, &subject, None, &[&signature]).await?;
    ensure_lists(&*store, &signature, None, &[&of_signature]).await?;
    ensure_lists(&*store, &other, None, &[&of_other]).await
}

pub(super) async fn filters_by_artifact_type(store: Arc<dyn Store>) -> Verdict {
    let subject = image(&*store, "subject").await?;
    let signature = refer(&*store, "a", &subject, SIGNATURE).await?;
    let receipt = refer(&*store, "b", &subject, RECEIPT).await?;
    ensure_lists(&*store, &subject, None, &[&signature, &receipt]).await?;
    ensure_lists(&*store, &subject, Some(SIGNATURE), &[&signature]).await?;
    ensure_lists(&*store, &subject, Some(RECEIPT), &[&receipt]).await?;
    ensure_lists(&*store, &subject, Some("application/vnd.example.none"), &[]).await?;
    let found = list(&*store, &subject, Some(SIGNATURE)).await?;
    let told = found[0].artifact_type.as_ref().map(MediaType::as_str);
    ensure(told == Some(SIGNATURE), || {
        format!("the descriptor has artifactType {told:?}")
    })?;
    let mark = found[0].annotations.get("mark").map(String::as_str);
    ensure(mark == Some("a"), || {
        format!("the descriptor lacks the manifest's annotations: {mark:?}")
    })
}

pub(super) async fn takes_the_type_of_the_config(store: Arc<dyn Store>) -> Verdict {
    let subject = image(&*store, "subject").await?;
    let config_type: MediaType = SIGNATURE.parse().map_err(|error| format!("{error}"))?;
    let signature = artifact(&*store, "a", Some(&subject), None, config_type).await?;
    ensure_lists(&*store, &subject, Some(SIGNATURE), &[&signature]).await
}

pub(super) async fn lists_once_what_is_pushed_twice(store: Arc<dyn Store>) -> Verdict {
    let subject = image(&*store, "subject").await?;
    refer(&*store, "a", &subject, SIGNATURE).await?;
    let signature = refer(&*store, "a", &subject, SIGNATURE).await?;
    ensure_lists(&*store, &subject, None, &[&signature]).await
}

pub(super) async fn keeps_listing_what_lost_its_tag(store: Arc<dyn Store>) -> Verdict {
    let subject = image(&*store, "subject").await?;
    let signature = refer(&*store, "a", &subject, SIGNATURE).await?;
    let name = tag("signature")?;
    store.tag(&signature, &name).await.map_err(|error| text(&error))?;
    ensure_lists(&*store, &subject, None, &[&signature]).await?;
    store.tag(&subject, &name).await.map_err(|error| text(&error))?;
    ensure_lists(&*store, &subject, None, &[&signature]).await?;
    store.tag(&signature, &name).await.map_err(|error| text(&error))?;
    store.untag(&name).await.map_err(|error| text(&error))?;
    ensure_lists(&*store, &subject, None, &[&signature]).await
}

pub(super) async fn keeps_every_referrer_pushed_at_once(store: Arc<dyn Store>) -> Verdict {
    let subject = image(&*store, "subject").await?;
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let (store, subject) = (Arc::clone(&store), subject.clone());
            tokio::spawn(async move { refer(&*store, &i.to_string(), &subject, SIGNATURE).await })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.map_err(|error| error.to_string())??);
    }
    ensure_lists(&*store, &subject, None, &all.iter().collect::<Vec<_>>()).await
}
