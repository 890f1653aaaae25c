//! Cases of [`Resolve`](crate::store::Resolve) and [`Tags`](crate::store::Tags).

use std::sync::Arc;

use samebundle_spec::{Descriptor, MediaType};

use super::{Verdict, contains, ensure, image, tag, text};
use crate::store::{Store, StoreError};

async fn set(store: &dyn Store, descriptor: &Descriptor, name: &str) -> Verdict {
    store
        .tag(descriptor, &tag(name)?)
        .await
        .map_err(|error| format!("tag {name}: {}", text(&error)))
}

async fn ensure_resolves(store: &dyn Store, name: &str, wanted: &Descriptor) -> Verdict {
    let found = store
        .resolve(&tag(name)?)
        .await
        .map_err(|error| format!("resolve {name}: {}", text(&error)))?;
    ensure(found.bare() == wanted.bare(), || format!("{name} is {found:?}"))
}

async fn ensure_unknown(store: &dyn Store, name: &str) -> Verdict {
    match store.resolve(&tag(name)?).await {
        Err(StoreError::NotFound { .. }) => Ok(()),
        other => Err(format!("resolve of an absent tag: {other:?}")),
    }
}

async fn names(store: &dyn Store) -> Result<Vec<String>, String> {
    let tags = store.tags().await.map_err(|error| text(&error))?;
    Ok(tags.iter().map(ToString::to_string).collect())
}

pub(super) async fn resolves_what_was_tagged(store: Arc<dyn Store>) -> Verdict {
    let one = image(&*store, "one").await?;
    let two = image(&*store, "two").await?;
    set(&*store, &one, "1").await?;
    set(&*store, &two, "2").await?;
    set(&*store, &one, "also-1").await?;
    ensure_resolves(&*store, "1", &one).await?;
    ensure_resolves(&*store, "2", &two).await?;
    ensure_resolves(&*store, "also-1", &one).await
}

pub(super) async fn moves_a_tag(store: Arc<dyn Store>) -> Verdict {
    let one = image(&*store, "one").await?;
    let two = image(&*store, "two").await?;
    set(&*store, &one, "t").await?;
    set(&*store, &two, "t").await?;
    ensure_resolves(&*store, "t", &two).await?;
    set(&*store, &two, "t").await?;
    ensure_resolves(&*store, "t", &two).await?;
    let found = names(&*store).await?;
    ensure(found == ["t"], || format!("{found:?}"))?;
    ensure(contains(&*store, &one).await?, || {
        "the content that lost its tag is gone".to_owned()
    })
}

pub(super) async fn lists_tags_sorted(store: Arc<dyn Store>) -> Verdict {
    let found = names(&*store).await?;
    ensure(found.is_empty(), || format!("a new store has tags: {found:?}"))?;
    let one = image(&*store, "one").await?;
    for name in ["b", "a.1", "c", "a"] {
        set(&*store, &one, name).await?;
    }
    let found = names(&*store).await?;
    ensure(found == ["a", "a.1", "b", "c"], || format!("{found:?}"))
}

pub(super) async fn says_that_a_tag_is_absent(store: Arc<dyn Store>) -> Verdict {
    ensure_unknown(&*store, "absent").await?;
    let one = image(&*store, "one").await?;
    set(&*store, &one, "present").await?;
    ensure_unknown(&*store, "absent").await
}

pub(super) async fn refuses_to_tag_what_is_absent(store: Arc<dyn Store>) -> Verdict {
    let absent = Descriptor::of(MediaType::OCI_MANIFEST, b"never pushed");
    match store.tag(&absent, &tag("t")?).await {
        Err(StoreError::NotFound { .. }) => {}
        other => return Err(format!("tag of absent content: {other:?}")),
    }
    ensure_unknown(&*store, "t").await
}

pub(super) async fn removes_a_tag_and_keeps_the_content(store: Arc<dyn Store>) -> Verdict {
    let untag = async |name: &str| {
        let name = tag(name)?;
        store
            .untag(&name)
            .await
            .map_err(|error| format!("untag {name}: {}", text(&error)))
    };
    untag("never-set").await?;
    let one = image(&*store, "one").await?;
    set(&*store, &one, "stays").await?;
    set(&*store, &one, "goes").await?;
    untag("goes").await?;
    untag("goes").await?;
    ensure_unknown(&*store, "goes").await?;
    ensure_resolves(&*store, "stays", &one).await?;
    untag("stays").await?;
    ensure(contains(&*store, &one).await?, || {
        "untag removed the content".to_owned()
    })
}

pub(super) async fn keeps_every_tag_set_at_once(store: Arc<dyn Store>) -> Verdict {
    let one = image(&*store, "one").await?;
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let (store, one) = (Arc::clone(&store), one.clone());
            tokio::spawn(async move { set(&*store, &one, &format!("t{i:02}")).await })
        })
        .collect();
    for task in tasks {
        task.await.map_err(|error| error.to_string())??;
    }
    let wanted: Vec<String> = (0..16).map(|i| format!("t{i:02}")).collect();
    let found = names(&*store).await?;
    ensure(found == wanted, || format!("{found:?}"))
}
