use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::signing::{Predicate, attested, examine};

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([byte; 32]))
}

fn ring() -> KeyRing {
    KeyRing::from([("island".parse().unwrap(), key(1).public())])
}

fn receipt(outcome: Outcome, held: Vec<Descriptor>) -> Receipt {
    let summary = Summary {
        subject: Digest::sha256(b"index"),
        resource: "pkg:oci/digits@1.0.0".to_owned(),
        version: "0.1.0".to_owned(),
        verified: "2026-11-22T05:00:00Z".parse().unwrap(),
        policy: Digest::sha256(b"policy"),
        outcome,
    };
    Receipt::new(summary, held)
}

fn passed() -> Outcome {
    Outcome::Accepted(Verification::Signature {
        keys: vec!["author".to_owned()],
        scope: "*".to_owned(),
        sequence: 7,
    })
}

fn layer(text: &str) -> Descriptor {
    Descriptor::of(MediaType::OCI_LAYER, text.as_bytes())
}

fn signed(receipt: &Receipt) -> Vec<u8> {
    receipt.sign(&key(1)).unwrap().to_bytes().unwrap()
}

#[test]
fn every_outcome_round_trips_and_only_a_met_policy_passes() {
    let consent = Outcome::Accepted(Verification::Consent {
        reason: "--allow-unsigned".to_owned(),
    });
    let refused = Outcome::Refused {
        why: "unsigned".to_owned(),
    };
    for (outcome, word) in [(passed(), "PASSED"), (consent, "FAILED"), (refused, "FAILED")] {
        let made = receipt(outcome, vec![layer("b"), layer("a"), layer("b")]);
        assert_eq!(made.contents().len(), 2);
        let (signer, read) = Receipt::verify(&signed(&made), &ring()).unwrap();
        assert_eq!((signer, &read), (key(1).public().id(), &made));
        assert_eq!(
            read.held(),
            BTreeSet::from([Digest::sha256(b"a"), Digest::sha256(b"b")])
        );
        let payload = made.to_bytes(key(1).public().id()).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(value["predicateType"], SUMMARY_TYPE);
        assert_eq!(value["predicate"]["verificationResult"], word);
        assert_eq!(value["predicate"][EXTENSION]["held"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_receipt_is_no_release_and_a_release_no_receipt() {
    let document = signed(&receipt(passed(), Vec::new()));
    for refused in [
        examine(&document, &ring()).map(|_| ()),
        attested(&document, Predicate::Slsa, &ring()).map(|_| ()),
        crate::signing::foreign::examine_bundle(&document, &ring()).map(|_| ()),
    ] {
        assert!(
            matches!(&refused, Err(SignatureFault::OtherPredicate { found }) if found == SUMMARY_TYPE),
            "{refused:?}"
        );
    }
    let release = super::super::statement::tests::statement();
    let release = Bundle::sign(&release, &key(1)).unwrap().to_bytes().unwrap();
    let refused = Receipt::verify(&release, &ring());
    assert!(
        matches!(refused, Err(SignatureFault::OtherPredicate { .. })),
        "{refused:?}"
    );
}

#[test]
fn refuses_other_keys_and_altered_bytes() {
    let made = receipt(passed(), vec![layer("a")]);
    let other = made.sign(&key(2)).unwrap().to_bytes().unwrap();
    assert!(matches!(
        Receipt::verify(&other, &ring()),
        Err(SignatureFault::UnknownKey { .. })
    ));
    let document = signed(&made);
    for at in 0..document.len() {
        let mut altered = document.clone();
        altered[at] ^= 1;
        assert!(
            Receipt::verify(&altered, &ring()).is_err(),
            "byte {at} does not count"
        );
    }
}

/// Signed as it is, whatever it says.
fn verdict_on(payload: String) -> Result<(KeyId, Receipt), SignatureFault> {
    let envelope = Envelope::sign(MediaType::IN_TOTO.as_str(), payload.into_bytes(), &key(1));
    let bundle = Bundle {
        hint: key(1).public().id().hint(),
        envelope,
    };
    Receipt::verify(&bundle.to_bytes().unwrap(), &ring())
}

#[test]
fn refuses_what_breaks_the_form() {
    let made = receipt(passed(), vec![layer("a"), layer("b")]);
    let text = String::from_utf8(made.to_bytes(key(1).public().id()).unwrap()).unwrap();
    assert_eq!(verdict_on(text.clone()).unwrap().1, made);
    let site = format!("{SITE_URI}{}", key(1).public().id());
    let held = text.split_once(r#""held":["#).unwrap().1;
    let (one, two) = held.split_once("},").unwrap();
    let (one, two) = (
        format!("{one}}}"),
        two.split_once("}]").unwrap().0.to_owned() + "}",
    );
    let sorted = format!("{one},{two}");
    for (from, to) in [
        ("in-toto.io/Statement/v1", "in-toto.io/Statement/v2".to_owned()),
        (&site, format!("{SITE_URI}{}", key(2).public().id())),
        ("PASSED", "FAILED".to_owned()),
        (UNEVALUATED, "SLSA_BUILD_LEVEL_3".to_owned()),
        (POLICY_URI, "https://example.com/policy".to_owned()),
        ("pkg:oci/digits@1.0.0", "digits".to_owned()),
        ("2026-11-22T05:00:00Z", "yesterday".to_owned()),
        (r#""sha256":""#, r#""sha256":"0"#.to_owned()),
        (r#""slsaVersion""#, r#""more":1,"slsaVersion""#.to_owned()),
        (r#""held""#, r#""refusal":"no","held""#.to_owned()),
        (r#""by":"signature""#, r#""by":"consent""#.to_owned()),
        (r#""size":1}"#, r#""size":9007199254740992}"#.to_owned()),
        (r#""size":1}"#, r#""size":1,"urls":[]}"#.to_owned()),
        (&sorted, format!("{two},{one}")),
        (&sorted, format!("{one},{one}")),
    ] {
        let changed = text.replace(from, &to);
        assert_ne!(changed, text, "{from}");
        let refused = verdict_on(changed);
        assert!(
            matches!(refused, Err(SignatureFault::BadStatement { .. })),
            "{from} -> {to}: {refused:?}"
        );
    }
    assert!(matches!(
        verdict_on(text.replace("verification_summary/v1", "verification_summary/v2")),
        Err(SignatureFault::OtherPredicate { .. })
    ));
}

#[test]
fn one_that_readers_would_refuse_is_not_signed() {
    let mut made = receipt(passed(), Vec::new());
    made.summary.resource = "no uri".to_owned();
    assert!(made.sign(&key(1)).is_err());
    let many = (0..limits::GRAPH_CONTENTS).map(|number| layer(&number.to_string()));
    assert!(receipt(passed(), many.collect()).sign(&key(1)).is_err());
}

proptest! {
    #[test]
    fn any_set_of_contents_comes_back(sizes in proptest::collection::vec(0_u64..1 << 40, 0..40)) {
        let contents = sizes.iter().map(|size| Descriptor::new(MediaType::OCI_LAYER, Digest::sha256(&size.to_le_bytes()), *size));
        let made = receipt(passed(), contents.collect());
        let (_, read) = Receipt::verify(&signed(&made), &ring()).unwrap();
        prop_assert_eq!(&read, &made);
        prop_assert_eq!(read.held().len(), sizes.iter().collect::<BTreeSet<_>>().len());
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Receipt::verify(&bytes, &ring()).is_err());
    }
}
