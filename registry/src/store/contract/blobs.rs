//! Cases of [`Source`](crate::store::Source) and [`Sink`](crate::store::Sink).

use std::sync::Arc;

use samebundle_spec::{Algorithm, Descriptor, Digester, MediaType};

use super::{Failing, Verdict, bytes_type, contains, ensure, ensure_absent, push, read, stream, text};
use crate::store::{ByteStream, SourceExt, Store, StoreError};

const TEXT: &[u8] = b"some content of 27 bytes...";

pub(super) async fn keeps_content(store: Arc<dyn Store>) -> Verdict {
    let descriptor = push(&*store, bytes_type(), TEXT).await?;
    ensure(contains(&*store, &descriptor).await?, || {
        "pushed content is not there".to_owned()
    })?;
    let end = TEXT.len();
    for from in [0, 1, end - 1, end] {
        let found = read(&*store, &descriptor, from as u64).await?;
        ensure(found == TEXT[from..], || format!("from byte {from}: {found:?}"))?;
    }
    let all = store
        .fetch_bytes(&descriptor, 100)
        .await
        .map_err(|error| text(&error))?;
    ensure(all == TEXT, || format!("{all:?}"))
}

pub(super) async fn says_what_is_absent(store: Arc<dyn Store>) -> Verdict {
    ensure_absent(&*store, &Descriptor::of(bytes_type(), TEXT)).await?;
    ensure_absent(&*store, &Descriptor::of(MediaType::OCI_MANIFEST, TEXT)).await
}

pub(super) async fn keeps_empty_content(store: Arc<dyn Store>) -> Verdict {
    let descriptor = push(&*store, bytes_type(), "").await?;
    ensure(contains(&*store, &descriptor).await?, || {
        "empty content is not there".to_owned()
    })?;
    let found = read(&*store, &descriptor, 0).await?;
    ensure(found.is_empty(), || format!("{} bytes", found.len()))
}

pub(super) async fn keeps_large_content(store: Arc<dyn Store>) -> Verdict {
    let bytes: Vec<u8> = (0..3_000_001_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let descriptor = push(&*store, bytes_type(), bytes.clone()).await?;
    for from in [0, 2_500_000] {
        let found = read(&*store, &descriptor, from as u64).await?;
        ensure(found == bytes[from..], || format!("from byte {from} it differs"))?;
    }
    Ok(())
}

pub(super) async fn keeps_manifests_byte_for_byte(store: Arc<dyn Store>) -> Verdict {
    let config = push(&*store, MediaType::OCI_CONFIG, "{}").await?;
    let layer = push(&*store, bytes_type(), "layer").await?;
    let spaced = format!(
        "{{ \"schemaVersion\" : 2,\n \"layers\":[{{\"size\":{},\"digest\":\"{}\",\"mediaType\":\"{}\"}}],\n\t\"config\": {{\"mediaType\":\"{}\",\"digest\":\"{}\",\"size\":{}}},\"mediaType\":\"{}\" }}\n",
        layer.size,
        layer.digest,
        layer.media_type,
        config.media_type,
        config.digest,
        config.size,
        MediaType::OCI_MANIFEST,
    );
    let descriptor = push(&*store, MediaType::OCI_MANIFEST, spaced.clone()).await?;
    let found = read(&*store, &descriptor, 0).await?;
    ensure(found == spaced.as_bytes(), || {
        String::from_utf8_lossy(&found).into_owned()
    })
}

pub(super) async fn names_content_by_sha512(store: Arc<dyn Store>) -> Verdict {
    let mut digester = Digester::new(Algorithm::Sha512);
    digester.update(TEXT);
    let descriptor = Descriptor::new(bytes_type(), digester.finish(), TEXT.len() as u64);
    let wrong = store.push(&descriptor, stream(vec![b'x'; TEXT.len()])).await;
    ensure_mismatch(&wrong)?;
    ensure_absent(&*store, &descriptor).await?;
    store
        .push(&descriptor, stream(TEXT))
        .await
        .map_err(|error| text(&error))?;
    let found = read(&*store, &descriptor, 0).await?;
    ensure(found == TEXT, || format!("{found:?}"))?;
    ensure_absent(&*store, &Descriptor::of(bytes_type(), TEXT)).await
}

fn ensure_mismatch(result: &Result<(), StoreError>) -> Verdict {
    match result {
        Err(StoreError::Mismatch { .. }) => Ok(()),
        Err(error) => Err(format!("not a Mismatch: {}", text(error))),
        Ok(()) => Err("the push succeeded".to_owned()),
    }
}

/// Pushes `content` under the descriptor of `TEXT`; it must be refused, leave nothing, and not be in the way.
async fn ensure_refused(store: &dyn Store, content: ByteStream) -> Verdict {
    let descriptor = Descriptor::of(bytes_type(), TEXT);
    ensure_mismatch(&store.push(&descriptor, content).await)?;
    ensure_absent(store, &descriptor).await?;
    push(store, bytes_type(), TEXT).await?;
    let found = read(store, &descriptor, 0).await?;
    ensure(found == TEXT, || format!("after a good push: {found:?}"))
}

pub(super) async fn refuses_other_bytes(store: Arc<dyn Store>) -> Verdict {
    ensure_refused(&*store, stream(vec![b'x'; TEXT.len()])).await
}

pub(super) async fn refuses_short_content(store: Arc<dyn Store>) -> Verdict {
    ensure_refused(&*store, stream(&TEXT[..TEXT.len() - 1])).await
}

pub(super) async fn refuses_long_content(store: Arc<dyn Store>) -> Verdict {
    ensure_refused(&*store, stream([TEXT, b"x"].concat())).await
}

pub(super) async fn stops_an_endless_stream(store: Arc<dyn Store>) -> Verdict {
    ensure_refused(&*store, Box::pin(tokio::io::repeat(b'x'))).await
}

pub(super) async fn keeps_nothing_of_a_broken_stream(store: Arc<dyn Store>) -> Verdict {
    let descriptor = Descriptor::of(bytes_type(), TEXT);
    let broken = Failing {
        before: TEXT[..5].into(),
    };
    let result = store.push(&descriptor, Box::pin(broken)).await;
    ensure(result.is_err(), || "the push succeeded".to_owned())?;
    ensure_absent(&*store, &descriptor).await?;
    push(&*store, bytes_type(), TEXT).await.map(|_| ())
}

pub(super) async fn reads_nothing_that_is_there(store: Arc<dyn Store>) -> Verdict {
    let blob = push(&*store, bytes_type(), TEXT).await?;
    let manifest = super::image(&*store, "present").await?;
    for descriptor in [blob, manifest] {
        let unread = Failing { before: "".into() };
        store
            .push(&descriptor, Box::pin(unread))
            .await
            .map_err(|error| format!("a push of what is there: {}", text(&error)))?;
    }
    Ok(())
}

async fn push_at_once(store: &Arc<dyn Store>, contents: Vec<Vec<u8>>) -> Verdict {
    let tasks: Vec<_> = contents
        .iter()
        .cloned()
        .map(|bytes| {
            let store = Arc::clone(store);
            tokio::spawn(async move { push(&*store, bytes_type(), bytes).await })
        })
        .collect();
    for (task, bytes) in tasks.into_iter().zip(contents) {
        let descriptor = task.await.map_err(|error| error.to_string())??;
        let found = read(&**store, &descriptor, 0).await?;
        ensure(found == bytes, || format!("{} differs", descriptor.digest))?;
    }
    Ok(())
}

pub(super) async fn takes_the_same_content_at_once(store: Arc<dyn Store>) -> Verdict {
    push_at_once(&store, vec![vec![b'a'; 300_000]; 16]).await
}

pub(super) async fn takes_other_content_at_once(store: Arc<dyn Store>) -> Verdict {
    push_at_once(&store, (0..16).map(|i| vec![i; 100_000]).collect()).await
}
