//! Habits of registries that cost nothing but patience: types that they do not know, bodies that they compress, blobs that
//! they lose, disks that are full.

use super::front::{Fault, Front, answer};
use super::*;
use crate::store::{Memory, SinkExt, SourceExt};
use samebundle_spec::manifest::Manifest;

/// Registries that call every manifest JSON or text, or say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn manifests_without_a_type_of_their_own_are_read_by_what_they_say() {
    for media_type in [
        "application/json",
        "text/plain; charset=utf-8",
        "",
        "APPLICATION/VND.OCI.IMAGE.MANIFEST.V1+JSON; charset=utf-8",
    ] {
        let front = Front::start(move |parts, _| match parts.method.as_str() {
            "GET" if parts.uri.path().contains("/manifests/") => {
                Fault::Change(Box::new(move |mut response| {
                    response.headers_mut().remove("content-type");
                    if !media_type.is_empty() && response.status().is_success() {
                        response
                            .headers_mut()
                            .insert("content-type", media_type.parse().unwrap());
                    }
                    response
                }))
            }
            _ => Fault::None,
        })
        .await;
        let place = repository_at(&front.address, config());
        let (root, _) = image_of(&place, [b"layer".to_vec()]).await;
        place.tag(&root, &"v1".parse().unwrap()).await.unwrap();
        let other = repository_at(&front.address, config());
        assert_eq!(
            other.resolve(&"v1".parse().unwrap()).await.unwrap().digest,
            root.digest
        );
        other.fetch_bytes(&root, 1 << 20).await.unwrap();
        // One that does not say what it is, is what it is written like.
        let silent = Manifest {
            media_type: None,
            ..Manifest::new(Descriptor::empty(), Vec::new())
        };
        let silent = place
            .push_bytes(MediaType::OCI_MANIFEST, silent.to_bytes().into())
            .await;
        other.fetch_bytes(&silent.unwrap(), 1 << 20).await.unwrap();
    }
}

/// Servers that compress whatever they send.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_compressed_is_decompressed() {
    use std::io::Write;
    let plain = noise(300_000, 7);
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let compressed = gzip(&plain);
    for body in [
        compressed.clone(),
        compressed[..200_000].to_vec(),
        b"no gzip".to_vec(),
    ] {
        let whole = body == compressed;
        let front = Front::start(move |parts, _| match parts.method.as_str() {
            "GET" => {
                let mut response = axum::response::Response::new(axum::body::Body::from(body.clone()));
                let encoding = "gzip".parse().unwrap();
                response.headers_mut().insert("content-encoding", encoding);
                Fault::Instead(response)
            }
            _ => Fault::None,
        })
        .await;
        let place = repository_at(&front.address, config());
        let descriptor = place
            .push_bytes(MediaType::OCI_LAYER, plain.clone().into())
            .await
            .unwrap();
        let read = place.fetch_bytes(&descriptor, 1 << 20).await;
        assert_eq!(read.is_ok(), whole, "{read:?}");
        if whole {
            assert_eq!(read.unwrap(), plain);
            let part = place.pieces_unverified(&descriptor, 1000..5000).await.unwrap();
            let part: Vec<_> = futures::TryStreamExt::try_collect(part).await.unwrap();
            assert_eq!(part.concat(), plain[1000..5000]);
        }
    }
    // A blob that is gzip itself, and is sent as it is by a server that takes that for an encoding.
    let kept = compressed.clone();
    let front = Front::start(move |parts, _| match parts.method.as_str() {
        "GET" => lie_encoding(),
        _ => Fault::None,
    })
    .await;
    let place = repository_at(&front.address, config());
    let descriptor = place
        .push_bytes(MediaType::OCI_LAYER_GZIP, kept.into())
        .await
        .unwrap();
    assert_eq!(place.fetch_bytes(&descriptor, 1 << 20).await.unwrap(), compressed);
}

fn lie_encoding() -> Fault {
    Fault::Change(Box::new(|mut response| {
        response
            .headers_mut()
            .insert("content-encoding", "gzip".parse().unwrap());
        response
    }))
}

/// Blobs that a collection of garbage took away before their manifest came are sent again, once.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_registry_lost_is_sent_again() {
    let front = Front::start(|_, _| Fault::None).await;
    let from = Memory::new();
    let (root, layers) = image_of(&from, [noise(70_000, 2)]).await;
    // As if it had been pushed and was gone: nothing but the manifest is sent.
    let place = repository_at(&front.address, config());
    place.push_from(&root, &from).await.unwrap();
    assert!(place.contains(&layers[0]).await.unwrap() && place.contains(&root).await.unwrap());
    let puts = |front: &Front| {
        let lines = front.lines().into_iter();
        lines
            .filter(|line| line.starts_with("PUT") && line.contains("/manifests/"))
            .count()
    };
    assert_eq!(puts(&front), 2);

    let lost = "{\"errors\":[{\"code\":\"MANIFEST_BLOB_UNKNOWN\",\"message\":\"no such blob\"}]}";
    let front = Front::start(move |parts, _| match parts.method.as_str() {
        "PUT" if parts.uri.path().contains("/manifests/") => answer(400, &[], lost),
        _ => Fault::None,
    })
    .await;
    let place = repository_at(&front.address, config());
    let error = place.push_from(&root, &from).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable { why, .. } if why.contains("no such blob")),
        "{error:?}"
    );
    assert_eq!(puts(&front), 2, "it is sent again once");
}

/// What a registry says with an answer that passes is told with the error.
#[tokio::test]
async fn the_words_of_a_full_disk_are_passed_on() {
    let full = "{\"errors\":[{\"code\":\"UNKNOWN\",\"message\":\"no space left on the registry's disk\"}]}";
    for status in [500, 507] {
        let front = Front::start(move |parts, _| match parts.method.as_str() {
            "PUT" => answer(status, &[], full),
            _ => Fault::None,
        })
        .await;
        let place = repository_at(&front.address, config());
        let error = place
            .push_bytes(MediaType::OCI_LAYER, "x".into())
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("no space left"), "{error}");
    }
}
