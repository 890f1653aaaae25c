use serde_json::json;
use zeroize::Zeroizing;

use super::*;
use crate::pipeline::ParameterType;
use crate::record::AnswerForm;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([seed; 32]))
}

fn at(minute: u32) -> Timestamp {
    format!("2026-11-28T10:{minute:02}:00Z").parse().unwrap()
}

fn question() -> TaskQuestion {
    let form = AnswerForm {
        answer_type: ParameterType::String,
        description: None,
        default: None,
        allowed: vec![json!("YES"), json!("NO")],
    };
    TaskQuestion {
        text: Some("Deploy?".to_owned()),
        answers: [("decision".to_owned(), form)].into(),
        since: at(0),
        until: Some(at(30)),
    }
}

struct Case {
    run: RunId,
    question: TaskQuestion,
}

impl Case {
    fn new() -> Self {
        Self {
            run: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            question: question(),
        }
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            bundle: Digest::sha256(b"index"),
            run: &self.run,
            task: "gate",
            attempt: 1,
            question: &self.question,
        }
    }

    fn approval(&self) -> Approval {
        Approval {
            run: self.run.clone(),
            task: "gate".to_owned(),
            attempt: 1,
            question: self.question.digest(),
            ruling: Ruling::Approved,
            answers: [("decision".to_owned(), json!("YES"))].into(),
            reason: Some("it is good".to_owned()),
            time: at(1),
            key: key(1).public().id(),
        }
    }

    fn by(&self, seed: u8, change: impl FnOnce(&mut Approval)) -> SignedApproval {
        let mut approval = self.approval();
        change(&mut approval);
        approval.sign(Digest::sha256(b"index"), &key(seed)).unwrap()
    }

    fn of(&self, decisions: &[SignedApproval], threshold: usize) -> Standing {
        standing(&self.asked(), decisions, &approvers(threshold), at(2))
    }
}

fn approvers(threshold: usize) -> Approvers {
    let named = |(name, seed): (&str, u8)| (name.parse().unwrap(), key(seed).public());
    Approvers {
        keys: [("a", 1), ("b", 2), ("c", 3)].map(named).into(),
        threshold,
    }
}

fn approved(answer: &str) -> Standing {
    Standing::Approved {
        answers: [("decision".to_owned(), json!(answer))].into(),
    }
}

#[test]
fn two_of_three_different_keys_must_agree() {
    let case = Case::new();
    let (first, second) = (case.by(1, |_| {}), case.by(2, |_| {}));
    assert_eq!(case.of(std::slice::from_ref(&first), 1), approved("YES"));
    assert_eq!(
        case.of(std::slice::from_ref(&first), 2),
        Standing::Waits { approved: 1 }
    );
    // One key counts once, and a key that may not does not count.
    let again = case.by(1, |approval| approval.time = at(2));
    let stranger = case.by(4, |_| {});
    let not_enough = [first.clone(), first.clone(), again, stranger];
    assert_eq!(case.of(&not_enough, 2), Standing::Waits { approved: 1 });
    let no = |approval: &mut Approval| *approval.answers.get_mut("decision").unwrap() = json!("NO");
    let other = case.by(2, no);
    assert_eq!(
        case.of(&[first.clone(), other.clone()], 2),
        Standing::Waits { approved: 1 }
    );
    assert_eq!(
        case.of(&[first.clone(), other, case.by(3, no)], 2),
        approved("NO")
    );
    assert_eq!(case.of(&[first, second], 2), approved("YES"));
}

#[test]
fn one_rejection_settles_it_unless_enough_approved_before() {
    let case = Case::new();
    let reject = case.by(2, |approval| {
        approval.ruling = Ruling::Rejected;
        approval.answers.clear();
    });
    let rejected = Standing::Rejected {
        reason: Some("it is good".to_owned()),
    };
    let first = case.by(1, |_| {});
    assert_eq!(case.of(&[first.clone(), reject.clone()], 2), rejected);
    assert_eq!(case.of(&[first, reject], 1), approved("YES"));
}

#[test]
fn what_was_decided_about_something_else_does_not_count() {
    let case = Case::new();
    let others: [(&str, SignedApproval); 5] = [
        (
            "another run",
            case.by(1, |one| one.run = "01ARZ3NDEKTSV4RRFFQ69G5FAW".parse().unwrap()),
        ),
        ("another task", case.by(1, |one| one.task = "other".to_owned())),
        ("another attempt", case.by(1, |one| one.attempt = 2)),
        (
            "another question",
            case.by(1, |one| one.question = Digest::sha256(b"other")),
        ),
        (
            "a run of another bundle",
            case.approval().sign(Digest::sha256(b"other"), &key(1)).unwrap(),
        ),
    ];
    for (what, decision) in others {
        assert_eq!(decision.about(&case.asked()), Err(ApprovalFault::Other { what }));
        assert_eq!(case.of(&[decision], 1), Standing::Waits { approved: 0 }, "{what}");
    }
    let late = case.by(1, |one| one.time = at(31));
    assert!(matches!(
        late.about(&case.asked()),
        Err(ApprovalFault::Late { .. })
    ));
    let unasked = case.by(1, |one| {
        drop(one.answers.insert("decision".to_owned(), json!("MAYBE")));
    });
    assert!(matches!(
        unasked.about(&case.asked()),
        Err(ApprovalFault::Answers(_))
    ));
}

#[test]
fn the_time_of_a_question_ends() {
    let case = Case::new();
    let over = |decisions: &[SignedApproval]| standing(&case.asked(), decisions, &approvers(1), at(31));
    assert_eq!(over(&[]), Standing::Over);
    // What was decided in time counts, whenever it is looked at.
    assert_eq!(over(&[case.by(1, |_| {})]), approved("YES"));
}

#[test]
fn a_changed_decision_does_not_hold() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let case = Case::new();
    let mut flipped = case.by(1, |_| {});
    let payload = &mut flipped.document["dsseEnvelope"]["payload"];
    let text = STANDARD.decode(payload.as_str().unwrap()).unwrap();
    let text = String::from_utf8(text).unwrap().replace("YES", "NO");
    *payload = json!(STANDARD.encode(text));
    assert!(matches!(
        flipped.about(&case.asked()),
        Err(ApprovalFault::Signature { .. })
    ));
    let mut other_key = case.by(1, |_| {});
    other_key.public_key = key(2).public().to_pem();
    assert!(matches!(other_key.open(), Err(ApprovalFault::Signature { .. })));
}

#[test]
fn answers_have_the_types_that_the_question_declares() {
    let mut question = question();
    let form = AnswerForm {
        answer_type: ParameterType::Integer,
        description: None,
        default: Some(json!(3)),
        allowed: Vec::new(),
    };
    question.answers.insert("replicas".to_owned(), form);
    let typed = |pairs: &[(&str, &str)]| {
        let texts = pairs
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        question
            .typed(&texts.collect())
            .map_err(|error| error.to_string())
    };
    let answers = typed(&[("decision", "YES")]).unwrap();
    assert_eq!(json!(answers), json!({"decision": "YES", "replicas": 3}));
    for (pairs, why) in [
        (
            &[][..],
            "the question asks for \"decision\": give it with --set decision=VALUE",
        ),
        (
            &[("decision", "MAYBE")],
            "the answer \"decision\" is \"MAYBE\"; it must be one of \"YES\", \"NO\"",
        ),
        (
            &[("decision", "YES"), ("replicas", "many")],
            "the answer \"replicas\": ",
        ),
        (
            &[("decision", "YES"), ("x", "1")],
            "the question has no answer \"x\"; it asks for decision, replicas",
        ),
    ] {
        let error = typed(pairs).unwrap_err();
        assert!(error.starts_with(why), "{error}");
    }
}
