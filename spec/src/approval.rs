//! What a person decides about a task that waits, signed with the person's key, and what comes of all such decisions
//! (`spec/320-approvals.md`).
//!
//! The same envelope as a release, another predicate type, so that it never counts as one. It names the bundle, the run, the
//! task and the question by its digest, so that it counts once and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pipeline::{ValueError, conform, from_text};
use crate::record::{Run, RunId, SignedApproval, TaskQuestion, TaskRecord};
use crate::signing::statement::{AnyStatement, STATEMENT_TYPE, Wire, WireDigest, WireSubject, form};
use crate::signing::{
    Approvers, Bundle, Envelope, KeyId, KeyRing, PublicKey, SigningKey, StatementError, decide,
};
use crate::{Digest, MediaType, Timestamp, limits};

/// The predicate type of a decision.
pub const APPROVAL_TYPE: &str = "https://samebundle.dev/approval/v1";

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Ruling {
    /// The task goes on, with the answers.
    Approved,
    /// The task fails.
    Rejected,
}

impl Ruling {
    /// The word used in documents and on the terminal.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }
}

/// The decision of one person about one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// The run.
    pub run: RunId,
    /// Name of the task in it.
    pub task: String,
    /// The attempt of the task.
    pub attempt: u32,
    /// Digest of the question.
    pub question: Digest,
    /// What was decided.
    pub ruling: Ruling,
    /// The answers; none of a rejection.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<String, Value>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    pub time: Timestamp,
    /// Whose key signed it.
    pub key: KeyId,
}

/// A question of a run, as its record has it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The index of the bundle that runs.
    pub bundle: Digest,
    /// The run.
    pub run: &'a RunId,
    /// Name of the task.
    pub task: &'a str,
    /// Its attempt.
    pub attempt: u32,
    /// What it asks.
    pub question: &'a TaskQuestion,
}

impl<'a> Asked<'a> {
    /// The question of a task; none if it asks nothing.
    pub fn of(run: &'a Run, task: &'a TaskRecord) -> Option<Self> {
        Some(Self {
            bundle: run.bundle_digest,
            run: &run.id,
            task: &task.name,
            attempt: task.attempts,
            question: task.question.as_ref()?,
        })
    }
}

/// What came of the decisions until now.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// More have to approve.
    Waits {
        /// The approvals that agree, the most.
        approved: usize,
    },
    /// Enough approved.
    Approved {
        /// The answers.
        answers: BTreeMap<String, Value>,
    },
    /// One rejected it.
    Rejected {
        /// Why.
        reason: Option<String>,
    },
    /// Its time was over before enough approved.
    Over,
}

/// Why a decision does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalFault {
    /// Its key or its document cannot be read, or the signature is not that of the key.
    #[error("the signature does not hold: {why}")]
    Signature {
        /// Why.
        why: String,
    },
    /// It is about something else.
    #[error("it decides about {what}")]
    Other {
        /// What.
        what: &'static str,
    },
    /// Signed after the time of the question.
    #[error("it was signed at {time}, when the time of the question was over")]
    Late {
        /// When.
        time: Timestamp,
    },
    /// The answers are not those that the question asks for.
    #[error(transparent)]
    Answers(#[from] AnswerError),
}

/// Why answers do not fit a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not asked for.
    #[error("the question has no answer {name:?}; it asks for {asked}")]
    Unknown {
        /// The answer.
        name: String,
        /// What is asked for.
        asked: String,
    },
    /// Missing.
    #[error("the question asks for {name:?}: give it with --set {name}=VALUE")]
    Missing {
        /// The answer.
        name: String,
    },
    /// Of another type.
    #[error("the answer {name:?}: {source}")]
    Value {
        /// The answer.
        name: String,
        /// What was wanted.
        source: ValueError,
    },
    /// None of those that there are.
    #[error("the answer {name:?} is {value}; it must be one of {allowed}")]
    NotAllowed {
        /// The answer.
        name: String,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
}

impl TaskQuestion {
    /// Gives texts the types that the question asks for; what is left out has its default.
    ///
    /// # Errors
    /// [`AnswerError`] for the first that does not fit.
    pub fn typed(&self, texts: &BTreeMap<String, String>) -> Result<BTreeMap<String, Value>, AnswerError> {
        let mut answers = BTreeMap::new();
        for (name, text) in texts {
            let Some(form) = self.answers.get(name) else {
                return Err(self.unknown(name));
            };
            let typed = from_text(text, form.answer_type);
            let source = |source| AnswerError::Value {
                name: name.clone(),
                source,
            };
            answers.insert(name.clone(), typed.map_err(source)?);
        }
        for (name, form) in &self.answers {
            if let (false, Some(default)) = (answers.contains_key(name), &form.default) {
                answers.insert(name.clone(), default.clone());
            }
        }
        self.check(&answers)?;
        Ok(answers)
    }

    /// Checks that answers are those that the question asks for.
    ///
    /// # Errors
    /// [`AnswerError`] for the first that does not fit.
    pub fn check(&self, answers: &BTreeMap<String, Value>) -> Result<(), AnswerError> {
        if let Some(name) = answers.keys().find(|name| !self.answers.contains_key(*name)) {
            return Err(self.unknown(name));
        }
        for (name, form) in &self.answers {
            let value = answers.get(name);
            let value = value.ok_or_else(|| AnswerError::Missing { name: name.clone() })?;
            let typed = conform(value, form.answer_type).map_err(|source| AnswerError::Value {
                name: name.clone(),
                source,
            })?;
            if !form.allowed.is_empty() && !form.allowed.contains(&typed) {
                let allowed: Vec<String> = form.allowed.iter().map(Value::to_string).collect();
                return Err(AnswerError::NotAllowed {
                    name: name.clone(),
                    value: value.to_string(),
                    allowed: allowed.join(", "),
                });
            }
        }
        Ok(())
    }

    fn unknown(&self, name: &str) -> AnswerError {
        let asked: Vec<&str> = self.answers.keys().map(String::as_str).collect();
        AnswerError::Unknown {
            name: name.to_owned(),
            asked: match asked.as_slice() {
                [] => "none".to_owned(),
                asked => asked.join(", "),
            },
        }
    }
}

impl Approval {
    /// Signs a decision about a run of a bundle. The key of `self` is that of the signer.
    ///
    /// # Errors
    /// [`StatementError::Form`] if an answer cannot be written, such as an integer beyond 2^53-1.
    pub fn sign(mut self, bundle: Digest, key: &SigningKey) -> Result<SignedApproval, StatementError> {
        let public = key.public();
        self.key = public.id();
        let wire = Wire {
            kind: STATEMENT_TYPE.to_owned(),
            subject: vec![WireSubject {
                name: String::new(),
                digest: WireDigest { sha256: bundle.hex() },
            }],
            predicate_type: APPROVAL_TYPE.to_owned(),
            predicate: &self,
        };
        let payload = serde_json::to_vec(&wire).map_err(form)?;
        read(&payload)?;
        let signed = Bundle {
            hint: public.id().hint(),
            envelope: Envelope::sign(MediaType::IN_TOTO.as_str(), payload, key),
        };
        let document = signed.to_bytes().map_err(form)?;
        Ok(SignedApproval {
            document: serde_json::from_slice(&document).map_err(form)?,
            public_key: public.to_pem(),
        })
    }
}

/// Reads a payload whose signature was verified, and the bundle that it is about.
fn read(payload: &[u8]) -> Result<(Digest, Approval), StatementError> {
    let any = AnyStatement::from_bytes(payload)?;
    if any.predicate_type != APPROVAL_TYPE {
        let found = any.shown_type();
        return Err(StatementError::OtherPredicate { found });
    }
    let subject = any.only_subject()?;
    let wire: Wire<Approval> = crate::json::from_slice(payload, limits::ATTESTATION_BYTES).map_err(form)?;
    Ok((subject, wire.predicate))
}

impl SignedApproval {
    /// Verifies it with the key that it carries, whoever that belongs to, and returns that key, the bundle and the decision.
    ///
    /// # Errors
    /// [`ApprovalFault::Signature`].
    pub fn open(&self) -> Result<(PublicKey, Digest, Approval), ApprovalFault> {
        let bad = |why: String| ApprovalFault::Signature { why };
        let key = PublicKey::from_pem(&self.public_key).map_err(|error| bad(error.to_string()))?;
        let name = "key".parse().map_err(|_| bad(String::new()))?;
        let document = serde_json::to_vec(&self.document).map_err(|error| bad(error.to_string()))?;
        let opened = decide::open(&document, &KeyRing::from([(name, key)]));
        let (id, payload) = opened.map_err(|fault| bad(fault.to_string()))?;
        let (bundle, approval) = read(&payload).map_err(|error| bad(error.to_string()))?;
        match approval.key == id {
            true => Ok((key, bundle, approval)),
            false => Err(bad("it names another key than the one that signed it".to_owned())),
        }
    }

    /// The same for one question: that of this task, in this attempt, of this run of this bundle.
    ///
    /// # Errors
    /// Why it does not count. Whether its key may decide is another matter.
    pub fn about(&self, asked: &Asked<'_>) -> Result<Approval, ApprovalFault> {
        let (_, bundle, approval) = self.open()?;
        let same = [
            (bundle == asked.bundle, "a run of another bundle"),
            (approval.run == *asked.run, "another run"),
            (approval.task == asked.task, "another task"),
            (approval.attempt == asked.attempt, "another attempt"),
            (approval.question == asked.question.digest(), "another question"),
        ];
        if let Some((_, what)) = same.into_iter().find(|(same, _)| !same) {
            return Err(ApprovalFault::Other { what });
        }
        if asked.question.is_over(approval.time) {
            return Err(ApprovalFault::Late { time: approval.time });
        }
        if approval.ruling == Ruling::Approved {
            asked.question.check(&approval.answers)?;
        }
        Ok(approval)
    }
}

/// Tells what came of decisions. The first that settles the question counts, and each key once.
pub fn standing(
    asked: &Asked<'_>,
    decisions: &[SignedApproval],
    approvers: &Approvers,
    now: Timestamp,
) -> Standing {
    let mut agreed: BTreeMap<String, BTreeSet<KeyId>> = BTreeMap::new();
    let mut most = 0;
    let counting = decisions.iter().filter_map(|one| one.about(asked).ok());
    for approval in counting.filter(|one| approvers.may(one.key)) {
        if approval.ruling == Ruling::Rejected {
            return Standing::Rejected {
                reason: approval.reason,
            };
        }
        let answers = serde_json::to_string(&approval.answers).unwrap_or_default();
        let keys = agreed.entry(answers).or_default();
        keys.insert(approval.key);
        most = most.max(keys.len());
        if keys.len() >= approvers.threshold.max(1) {
            let answers = approval.answers;
            return Standing::Approved { answers };
        }
    }
    match asked.question.is_over(now) {
        true => Standing::Over,
        false => Standing::Waits { approved: most },
    }
}

#[cfg(test)]
mod tests;
