use samebundle_spec::Digest;
use samebundle_spec::signing::Release;
use zeroize::Zeroizing;

use super::*;
use crate::store::{Memory, Referrers as _, Resolve as _};

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([byte; 32]))
}

fn statement(index: &Descriptor) -> Statement {
    Statement {
        subject: index.digest,
        release: Release {
            name: "digits".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            sequence: 1,
            media_type: index.media_type.clone(),
            size: index.size,
            issued: "2026-05-01T00:00:00Z".parse().unwrap(),
            expires: None,
            repositories: Vec::new(),
        },
    }
}

async fn store() -> (Memory, Descriptor) {
    let store = Memory::new();
    let bytes = samebundle_spec::manifest::Index::new(Vec::new()).to_bytes();
    let index = store
        .push_bytes(MediaType::OCI_INDEX, bytes.into())
        .await
        .unwrap();
    (store, index)
}

async fn cosign_layers(store: &Memory, index: &Descriptor) -> Vec<Descriptor> {
    let tag = Tag::cosign(&index.digest);
    let found = store.resolve(&tag).await.unwrap();
    read_manifest(store, &found, &tag).await.unwrap().layers
}

#[tokio::test]
async fn signs_in_both_forms_and_keeps_what_others_signed() {
    let (store, index) = store().await;
    for byte in [1, 2, 1] {
        sign(&store, &index, &statement(&index), &key(byte))
            .await
            .unwrap();
    }
    let referrers = store
        .referrers(&index, Some(&MediaType::SIGSTORE_BUNDLE))
        .await
        .unwrap();
    assert_eq!(referrers.len(), 2);
    let layers = cosign_layers(&store, &index).await;
    assert_eq!(layers.len(), 2);
    for (layer, byte) in layers.iter().zip([1, 2]) {
        let payload = store.fetch_bytes(layer, 1 << 20).await.unwrap();
        assert_eq!(cosign::subject(&payload).unwrap(), index.digest);
        let signature = STANDARD
            .decode(&layer.annotations[cosign::SIGNATURE_ANNOTATION])
            .unwrap();
        assert!(key(byte).public().verifies(&payload, &signature));
    }
}

#[tokio::test]
async fn refuses_a_statement_about_something_else() {
    let (store, index) = store().await;
    let mut other = statement(&index);
    other.subject = Digest::sha256(b"other");
    let error = sign(&store, &index, &other, &key(1)).await.unwrap_err();
    assert!(matches!(error, TrustError::Statement { .. }));
    assert!(store.referrers(&index, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_no_manifest_under_cosigns_tag_is_not_overwritten() {
    use crate::store::Tags as _;
    let (store, index) = store().await;
    store.tag(&index, &Tag::cosign(&index.digest)).await.unwrap();
    let attached = sign(&store, &index, &statement(&index), &key(1)).await.unwrap();
    assert_eq!(attached.cosign, None);
    assert_eq!(
        store.resolve(&Tag::cosign(&index.digest)).await.unwrap().digest,
        index.digest
    );
}
