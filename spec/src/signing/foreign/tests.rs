use zeroize::Zeroizing;

use super::*;
use crate::MediaType;
use crate::signing::{Attestation, BundleOrigin, Expected, Level, Predicate, Rule, SigningKey};

fn key(byte: u8) -> SigningKey {
    SigningKey::from_scalar(&Zeroizing::new([byte; 32])).unwrap()
}

fn ring() -> KeyRing {
    KeyRing::from([
        ("alice".parse().unwrap(), key(1).public()),
        ("bob".parse().unwrap(), key(2).public()),
    ])
}

fn subject() -> Descriptor {
    Descriptor::of(MediaType::OCI_INDEX, b"index")
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn decide(
    examined: &[Result<Bare, SignatureFault>],
    change: impl FnOnce(&mut Rule),
) -> Result<Decision, Refusal> {
    let mut rule = Rule::signed_by(vec!["alice".parse().unwrap()]);
    rule.accept = BTreeSet::from([SignatureFormat::Cosign, SignatureFormat::Notation]);
    change(&mut rule);
    let mut policy = Policy::default();
    policy.set("r.io".parse().unwrap(), rule).unwrap();
    let place = BundleOrigin::Registry("r.io/x".parse().unwrap());
    let question = Question {
        subject: &subject(),
        place: &place,
        expected: &Expected::default(),
        now: at("2026-06-01T00:00:00Z"),
    };
    suffices(&policy, &ring(), question, examined)
}

fn layer(byte: u8, of: &Descriptor) -> Result<Bare, SignatureFault> {
    let payload = cosign::payload(&of.digest).unwrap();
    examine_payload(&payload, &key(byte).sign(&payload), &ring())
}

fn jws(byte: u8, of: &Descriptor, expires: Option<&str>) -> Vec<u8> {
    let issued = at("2026-05-01T00:00:00Z");
    let signature = notation::sign(of, issued, expires.map(at), &key(byte));
    signature.unwrap().unwrap().document
}

#[test]
fn each_form_suffices_where_the_rule_accepts_it_and_nowhere_else() {
    let cosign = layer(1, &subject());
    let notation = examine_notation(&jws(1, &subject(), None), &ring());
    for (examined, form) in [
        (cosign, SignatureFormat::Cosign),
        (notation, SignatureFormat::Notation),
    ] {
        let examined = [examined];
        let decision = decide(&examined, |_| ()).unwrap();
        assert_eq!(decision.bare, Some(form));
        assert_eq!((decision.signers.len(), decision.statement), (1, None));
        let none = decide(&examined, |rule| rule.accept.clear());
        let Err(Refusal::Signature { fault, .. }) = none else {
            panic!("{none:?}")
        };
        assert!(matches!(&fault, SignatureFault::FormatNotAccepted { form: found, .. } if *found == form));
        let advice = format!("\"accept\": [\"{}\"] to the rule for r.io", form.word());
        assert!(fault.to_string().contains(&advice), "{fault}");
        let other = decide(&examined, |rule| {
            rule.accept.remove(&form);
        });
        assert!(other.is_err(), "{form:?}");
    }
}

#[test]
fn bare_signatures_must_be_by_the_keys_of_the_rule_over_this_content() {
    let other = Descriptor::of(MediaType::OCI_INDEX, b"other");
    let mut longer = subject();
    longer.size += 1;
    let notation = |byte, of: &Descriptor| examine_notation(&jws(byte, of, None), &ring());
    for examined in [
        layer(2, &subject()),
        layer(3, &subject()),
        layer(1, &other),
        notation(2, &subject()),
        notation(3, &subject()),
        notation(1, &other),
        notation(1, &longer),
    ] {
        assert!(
            decide(std::slice::from_ref(&examined), |_| ()).is_err(),
            "{examined:?}"
        );
    }
    let two = |rule: &mut Rule| {
        rule.keys.push("bob".parse().unwrap());
        rule.threshold = 2;
    };
    let twice = [layer(1, &subject()), notation(1, &subject())];
    assert!(matches!(
        decide(&twice, two),
        Err(Refusal::TooFew { found: 1, .. })
    ));
    let both = [layer(1, &subject()), notation(2, &subject())];
    assert_eq!(decide(&both, two).unwrap().signers.len(), 2);
}

#[test]
fn the_period_of_a_bare_signature_counts() {
    let past = [examine_notation(
        &jws(1, &subject(), Some("2026-05-31T00:00:00Z")),
        &ring(),
    )];
    assert!(decide(&past, |_| ()).is_err());
    let warned = decide(&past, |rule| rule.level = Level::Permissive).unwrap();
    assert!(matches!(
        warned.warnings.as_slice(),
        [SignatureFault::Expired { .. }]
    ));
    // A rule with an age takes nothing that does not say when it was made.
    assert!(decide(&[layer(1, &subject())], |rule| rule.max_age_days = Some(90)).is_err());
    let young = [examine_notation(&jws(1, &subject(), None), &ring())];
    assert!(decide(&young, |rule| rule.max_age_days = Some(90)).is_ok());
    assert!(decide(&young, |rule| rule.max_age_days = Some(7)).is_err());
}

#[test]
fn altered_notation_envelopes_are_refused() {
    let document = String::from_utf8(jws(1, &subject(), None)).unwrap();
    for field in ["\"payload\":\"", "\"protected\":\"", "\"signature\":\""] {
        // The fifth character after the first brace: inside what is signed, still base64.
        let at = document.find(field).unwrap() + field.len() + 12;
        let mut altered = document.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let examined = examine_notation(&altered, &ring());
        assert!(examined.is_err(), "{field}");
    }
    assert!(examine_notation(b"{}", &ring()).is_err());
}

/// A header that says more than is understood here, signed well.
#[test]
fn what_must_be_understood_is_understood_or_refused() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let document: serde_json::Value = serde_json::from_slice(&jws(1, &subject(), None)).unwrap();
    let text = |name: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(document[name].as_str().unwrap()).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let resigned = |protected: &str| {
        let protected = URL_SAFE_NO_PAD.encode(protected);
        let payload = document["payload"].as_str().unwrap();
        let signature = key(1)
            .sign_es256(format!("{protected}.{payload}").as_bytes())
            .unwrap();
        let mut changed = document.clone();
        changed["protected"] = protected.into();
        changed["signature"] = URL_SAFE_NO_PAD.encode(signature).into();
        examine_notation(changed.to_string().as_bytes(), &ring())
    };
    let header = text("protected");
    assert!(resigned(&header).is_ok());
    for (from, to) in [
        ("\"crit\":[", "\"crit\":[\"x\","),
        ("\"crit\":[\"io.cncf.notary.signingScheme\"]", "\"crit\":[]"),
        ("\"notary.x509\"", "\"notary.x509.signingAuthority\""),
        ("ES256", "none"),
        ("ES256", "ES384"),
        ("payload.v1+json", "payload.v2+json"),
        ("\"alg\"", "\"alg\":\"none\",\"alg\""),
    ] {
        let changed = header.replace(from, to);
        assert_ne!(changed, header, "{from}");
        assert!(resigned(&changed).is_err(), "{from} -> {to}");
    }
}

#[test]
fn only_what_cosign_calls_a_signature_is_one() {
    let sign = |predicate_type: &str| {
        let text = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}},"annotations":{{"a":"b"}}}}],"predicateType":"{predicate_type}","predicate":{{}}}}"#,
            subject().digest.hex()
        );
        let envelope =
            crate::signing::Envelope::sign("application/vnd.in-toto+json", text.into_bytes(), &key(1));
        let hint = String::new();
        crate::signing::Bundle { hint, envelope }.to_bytes().unwrap()
    };
    let bare = examine_bundle(&sign(COSIGN_TYPE), &ring()).unwrap();
    assert!(decide(&[Ok(bare)], |_| ()).is_ok());
    for other in [
        Predicate::Slsa.uri(),
        Predicate::Spdx.uri(),
        "https://cosign.sigstore.dev/attestation/vuln/v1",
    ] {
        let refused = examine_bundle(&sign(other), &ring());
        assert!(
            matches!(refused, Err(SignatureFault::OtherPredicate { .. })),
            "{refused:?}"
        );
    }
    let made = Attestation {
        name: String::new(),
        subject: subject().digest,
        kind: Predicate::Spdx,
        predicate: serde_json::json!({}),
    };
    let document = made.sign(&key(1)).unwrap().to_bytes().unwrap();
    assert!(examine_bundle(&document, &ring()).is_err());
}
