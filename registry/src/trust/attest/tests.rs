use std::sync::Arc;

use samebundle_spec::signing::{BundleOrigin, Policy, Release, Scope, SignatureFormat, Statement};
use samebundle_spec::{Classify as _, ErrorKind, MediaType, Timestamp};
use zeroize::Zeroizing;

use super::*;
use crate::store::{Memory, Referrers as _, Tags as _};
use crate::trust::{Marks, Request, Verified, sign, verify};

fn key(byte: u8) -> SigningKey {
    SigningKey::from_scalar(&Zeroizing::new([byte; 32])).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A store with a bundle that has provenance and a bill of materials beside it, and a home that trusts alice (1).
struct World {
    store: Memory,
    index: Descriptor,
    home: Arc<tempfile::TempDir>,
    trust: TrustStore,
}

impl World {
    async fn new(change: impl FnOnce(&mut Rule)) -> Self {
        let store = Memory::new();
        let bytes = samebundle_spec::manifest::Index::new(Vec::new()).to_bytes();
        let index = store
            .push_bytes(MediaType::OCI_INDEX, bytes.into())
            .await
            .unwrap();
        for kind in Predicate::ALL {
            let document = format!("{{\"kind\":\"{}\"}}", kind.word());
            attach(&store, &index, kind, document.into_bytes()).await.unwrap();
        }
        let home = tempfile::tempdir().unwrap();
        let mut trust = TrustStore::open(&home.path().join("trust")).unwrap();
        trust
            .add(&"alice".parse().unwrap(), &key(1).public(), &Scope::ANY)
            .unwrap();
        let mut rule = Rule::signed_by(vec!["alice".parse().unwrap()]);
        change(&mut rule);
        let mut policy = Policy::default();
        policy.set(Scope::ANY, rule).unwrap();
        Self {
            store,
            index,
            home: Arc::new(home),
            trust: trust.with_policy(policy).unwrap(),
        }
    }

    fn statement(&self) -> Statement {
        Statement {
            subject: self.index.digest,
            release: Release {
                name: "digits".parse().unwrap(),
                version: "1.0.0".parse().unwrap(),
                sequence: 1,
                media_type: self.index.media_type.clone(),
                size: self.index.size,
                issued: at("2026-05-01T00:00:00Z"),
                expires: Some(at("2026-07-01T00:00:00Z")),
                repositories: Vec::new(),
            },
        }
    }

    async fn verify(&self, wanted: &[Predicate], now: &str) -> Result<Verified<Descriptor>, TrustError> {
        let request = Request {
            attested: wanted.iter().copied().collect(),
            ..Request::new(self.index.clone(), BundleOrigin::Local, at(now))
        };
        verify(&self.store, request, &self.trust, &Marks::at(self.home.path())).await
    }

    /// Takes all sigstore bundles and envelopes away that say `what`, as somebody who strips a release would.
    async fn with(&self, keep: impl Fn(&Descriptor) -> bool) -> Self {
        let store = Memory::new();
        let all = self.store.referrers(&self.index, None).await.unwrap();
        let options = crate::copy::Options {
            referrers: false,
            ..crate::copy::Options::default()
        };
        crate::copy::copy(&self.store, &store, &self.index, &options)
            .await
            .unwrap();
        for referrer in all.iter().filter(|referrer| keep(referrer)) {
            crate::copy::copy(&self.store, &store, referrer, &options)
                .await
                .unwrap();
        }
        Self {
            store,
            index: self.index.clone(),
            home: Arc::clone(&self.home),
            trust: TrustStore::open(&self.home.path().join("trust"))
                .unwrap()
                .with_policy(self.trust.policy().clone())
                .unwrap(),
        }
    }
}

const NOW: &str = "2026-06-01T00:00:00Z";

#[tokio::test]
async fn attestations_are_signed_and_verified_by_type() {
    let world = World::new(|_| ()).await;
    sign(&world.store, &world.index, &world.statement(), &key(1))
        .await
        .unwrap();
    assert!(world.verify(&[], NOW).await.is_ok());
    let missing = world.verify(&[Predicate::Slsa], NOW).await.unwrap_err();
    assert!(
        matches!(
            missing,
            TrustError::NotAttested {
                kind: Predicate::Slsa,
                ..
            }
        ),
        "{missing}"
    );
    assert_eq!(missing.kind(), ErrorKind::NotTrusted);
    let signed = sign_documents(&world.store, &world.index, &key(1)).await.unwrap();
    assert_eq!(signed, Predicate::ALL);
    let verified = world.verify(&Predicate::ALL, NOW).await.unwrap();
    let super::super::Basis::Policy { attested, .. } = verified.basis() else {
        panic!("consent")
    };
    let said: Vec<_> = attested
        .iter()
        .map(|one| (one.kind, one.predicate["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(said, [(Predicate::Slsa, "slsa"), (Predicate::Spdx, "spdx")]);
}

#[tokio::test]
async fn attestations_alone_are_no_release_even_where_cosign_suffices() {
    let world =
        World::new(|rule| rule.accept = [SignatureFormat::Cosign, SignatureFormat::Notation].into()).await;
    sign_documents(&world.store, &world.index, &key(1)).await.unwrap();
    let error = world.verify(&[], NOW).await.unwrap_err();
    assert!(matches!(error, TrustError::Refused { .. }), "{error}");
    // The rule asks for what is there, which is not enough either.
    let error = world.verify(&[Predicate::Slsa], NOW).await.unwrap_err();
    assert!(matches!(error, TrustError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn an_attestation_by_another_key_or_about_other_content_is_none() {
    let world = World::new(|rule| rule.attested = [Predicate::Spdx].into()).await;
    sign(&world.store, &world.index, &world.statement(), &key(1))
        .await
        .unwrap();
    sign_documents(&world.store, &world.index, &key(2)).await.unwrap();
    let error = world.verify(&[], NOW).await.unwrap_err();
    assert!(matches!(error, TrustError::NotAttested { .. }), "{error}");
    let elsewhere = Attestation {
        name: String::new(),
        subject: samebundle_spec::Digest::sha256(b"elsewhere"),
        kind: Predicate::Spdx,
        predicate: Value::Null,
    };
    let bytes = elsewhere.sign(&key(1)).unwrap().to_bytes().unwrap();
    push_bundle(&world.store, &world.index, bytes, Predicate::Spdx.uri(), [])
        .await
        .unwrap();
    let error = world.verify(&[], NOW).await.unwrap_err();
    assert!(matches!(error, TrustError::NotAttested { .. }), "{error}");
    sign_documents(&world.store, &world.index, &key(1)).await.unwrap();
    assert!(world.verify(&[], NOW).await.is_ok());
}

#[tokio::test]
async fn of_two_documents_of_a_kind_none_is_signed() {
    let world = World::new(|_| ()).await;
    attach(
        &world.store,
        &world.index,
        Predicate::Slsa,
        b"{\"kind\":\"evil\"}".to_vec(),
    )
    .await
    .unwrap();
    let error = sign_documents(&world.store, &world.index, &key(1))
        .await
        .unwrap_err();
    assert!(matches!(error, TrustError::Statement { .. }), "{error}");
}

fn is_notation(referrer: &Descriptor) -> bool {
    referrer.artifact_type.as_ref() == Some(&MediaType::NOTATION)
}

/// Copies what lies under cosign's tag, which is no referrer.
async fn copy_cosign_tag(from: &World, to: &World) {
    let tag = samebundle_spec::Tag::cosign(&from.index.digest);
    let found = crate::store::Resolve::resolve(&from.store, &tag).await.unwrap();
    let options = crate::copy::Options::default();
    crate::copy::copy(&from.store, &to.store, &found, &options)
        .await
        .unwrap();
    to.store.tag(&found, &tag).await.unwrap();
}

/// Who signs with cosign or notation alone hears what the rule would have to say, and not that nothing is signed.
#[tokio::test]
async fn a_signature_of_another_tool_is_never_called_unsigned() {
    let world = World::new(|_| ()).await;
    let nothing = world.with(|_| false).await.verify(&[], NOW).await.unwrap_err();
    assert!(nothing.to_string().contains("it is not signed"), "{nothing}");
    sign(&world.store, &world.index, &world.statement(), &key(1))
        .await
        .unwrap();
    let cosign = world.with(|_| false).await;
    copy_cosign_tag(&world, &cosign).await;
    for (world, form) in [
        (world.with(is_notation).await, SignatureFormat::Notation),
        (cosign, SignatureFormat::Cosign),
    ] {
        let error = world.verify(&[], NOW).await.unwrap_err();
        let advice = format!("\"accept\": [\"{}\"] to the rule for *", form.word());
        assert!(error.to_string().contains(&advice), "{error}");
    }
    // What is wrong with a statement is told all the same.
    let late = world.verify(&[], "2026-08-01T00:00:00Z").await.unwrap_err();
    assert!(late.to_string().contains("it expired at"), "{late}");
}

#[tokio::test]
async fn bare_signatures_count_only_by_the_rule_and_without_a_statement() {
    let strict = World::new(|_| ()).await;
    sign(&strict.store, &strict.index, &strict.statement(), &key(1))
        .await
        .unwrap();
    assert!(strict.with(is_notation).await.verify(&[], NOW).await.is_err());

    let open =
        World::new(|rule| rule.accept = [SignatureFormat::Notation, SignatureFormat::Cosign].into()).await;
    sign(&open.store, &open.index, &open.statement(), &key(1))
        .await
        .unwrap();
    // The statement decides as long as it is there: expired stays expired.
    let late = open.verify(&[], "2026-08-01T00:00:00Z").await;
    assert!(matches!(late, Err(TrustError::Refused { .. })), "{late:?}");
    assert!(open.verify(&[], NOW).await.unwrap().release().is_some());
    let bare = open.with(is_notation).await;
    let verified = bare.verify(&[], NOW).await.unwrap();
    assert_eq!(verified.release(), None);
    assert!(matches!(
        verified.basis(),
        super::super::Basis::Policy {
            bare: Some(SignatureFormat::Notation),
            ..
        }
    ));
    // cosign's tag.
    let tagged = open.with(|_| false).await;
    assert!(tagged.verify(&[], NOW).await.is_err());
    copy_cosign_tag(&open, &tagged).await;
    let verified = tagged.verify(&[], NOW).await.unwrap();
    assert!(matches!(
        verified.basis(),
        super::super::Basis::Policy {
            bare: Some(SignatureFormat::Cosign),
            ..
        }
    ));
}
