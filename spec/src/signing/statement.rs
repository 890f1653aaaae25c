//! What a signature says: an in-toto Statement v1 whose predicate is a release of a bundle.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Algorithm, BundleName, Digest, MediaType, Repository, Timestamp, Version, limits};

/// The predicate type of a release, and its version.
pub const RELEASE_TYPE: &str = "https://samebundle.dev/release/v1";
/// The type of every in-toto statement of version 1.
pub(crate) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// A signed release: this index is that version of that bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// SHA-256 digest of the bundle's index. It binds the whole bundle: every reader hashes what it reads again, down to
    /// the blobs.
    pub subject: Digest,
    /// The predicate.
    pub release: Release,
}

/// The predicate: it binds the index to a name, a version and a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// The bundle's name.
    pub name: BundleName,
    /// The bundle's version.
    pub version: Version,
    /// Grows with every release of this name, so that an older one is known as such; at most 2^53-1.
    pub sequence: u64,
    /// Media type of the index.
    pub media_type: MediaType,
    /// Size of the index, in bytes.
    pub size: u64,
    /// When it was signed.
    pub issued: Timestamp,
    /// The last second in which it is valid; none means until revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The repositories that it may be served from; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<Repository>,
}

/// Why a payload is not a release statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// It says something else about its subject: provenance, a scan, a plain cosign signature.
    #[error("it is a statement of type {found:?}, not a release ({RELEASE_TYPE})")]
    OtherPredicate {
        /// The predicate type that it has, shortened.
        found: String,
    },
    /// It breaks the form.
    #[error("it is not an in-toto statement of a release: {why}")]
    Form {
        /// What is wrong.
        why: String,
    },
}

pub(crate) fn form(why: impl ToString) -> StatementError {
    StatementError::Form { why: why.to_string() }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Wire<P> {
    #[serde(rename = "_type")]
    pub(crate) kind: String,
    pub(crate) subject: Vec<WireSubject>,
    pub(crate) predicate_type: String,
    pub(crate) predicate: P,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireSubject {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    pub(crate) digest: WireDigest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireDigest {
    pub(crate) sha256: String,
}

/// A statement of any writer, read as in-toto's parsing rules want: fields that are not known here are passed over. Ours is
/// strict ([`Wire`]), because no other tool writes releases.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AnyStatement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<AnySubject>,
    pub(crate) predicate_type: String,
    #[serde(default)]
    pub(crate) predicate: Value,
}

#[derive(Deserialize)]
struct AnySubject {
    #[serde(default)]
    name: String,
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

impl AnyStatement {
    /// Reads a statement of any predicate; its type is for the caller to look at.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, StatementError> {
        let any: Self = crate::json::from_slice(bytes, limits::ATTESTATION_BYTES).map_err(form)?;
        if any.kind == STATEMENT_TYPE {
            Ok(any)
        } else {
            Err(form(format!("its _type is not {STATEMENT_TYPE}")))
        }
    }

    /// The SHA-256 digest of the one thing that the statement is about.
    pub(crate) fn only_subject(&self) -> Result<Digest, StatementError> {
        let [subject] = self.subject.as_slice() else {
            return Err(form("it must have exactly one subject"));
        };
        let Some(hex) = subject.digest.get("sha256") else {
            return Err(form("its subject has no sha256 digest"));
        };
        format!("sha256:{hex}").parse().map_err(form)
    }

    /// The name of the one thing that the statement is about; empty if it has none.
    pub(crate) fn only_name(&self) -> &str {
        self.subject.first().map_or("", |subject| &subject.name)
    }

    /// The predicate type as a message shows it.
    pub(crate) fn shown_type(&self) -> String {
        self.predicate_type.chars().take(100).collect()
    }
}

impl Statement {
    /// Writes the statement as JSON. The same statement gives the same bytes.
    ///
    /// # Errors
    /// [`StatementError::Form`] if the subject is not SHA-256 or a number cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StatementError> {
        self.check()?;
        let wire = Wire {
            kind: STATEMENT_TYPE.to_owned(),
            subject: vec![WireSubject {
                name: self.release.name.to_string(),
                digest: WireDigest {
                    sha256: self.subject.hex(),
                },
            }],
            predicate_type: RELEASE_TYPE.to_owned(),
            predicate: self.release.clone(),
        };
        serde_json::to_vec(&wire).map_err(form)
    }

    /// Reads a payload whose signature was verified before.
    ///
    /// # Errors
    /// [`StatementError::OtherPredicate`] for other kinds of statement; [`StatementError::Form`] for what breaks the form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StatementError> {
        let any = AnyStatement::from_bytes(bytes)?;
        if any.predicate_type != RELEASE_TYPE {
            let found = any.shown_type();
            return Err(StatementError::OtherPredicate { found });
        }
        let subject = any.only_subject()?;
        let wire: Wire<Release> = crate::json::from_slice(bytes, limits::ATTESTATION_BYTES).map_err(form)?;
        if wire.subject[0].name != wire.predicate.name.as_str() {
            return Err(form("the subject's name is not the name of the release"));
        }
        let statement = Self {
            subject,
            release: wire.predicate,
        };
        statement.check()?;
        Ok(statement)
    }

    fn check(&self) -> Result<(), StatementError> {
        let release = &self.release;
        if self.subject.algorithm() != Algorithm::Sha256 {
            return Err(form("the subject must be named by SHA-256"));
        }
        if release.sequence > limits::JSON_INTEGER || release.size > limits::JSON_INTEGER {
            return Err(form("sequence and size must be at most 2^53-1"));
        }
        if release.expires.is_some_and(|expires| expires < release.issued) {
            return Err(form("it expires before it was issued"));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(in crate::signing) fn statement() -> Statement {
        Statement {
            subject: Digest::sha256(b"index"),
            release: Release {
                name: "digits".parse().unwrap(),
                version: "1.0.0".parse().unwrap(),
                sequence: 7,
                media_type: MediaType::OCI_INDEX,
                size: 5,
                issued: "2026-11-22T05:00:00Z".parse().unwrap(),
                expires: Some("2027-11-22T05:00:00Z".parse().unwrap()),
                repositories: vec!["registry.example:5000/team/digits".parse().unwrap()],
            },
        }
    }

    #[test]
    fn round_trips() {
        let bytes = statement().to_bytes().unwrap();
        assert_eq!(Statement::from_bytes(&bytes).unwrap(), statement());
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.starts_with(r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"digits","#)
        );
    }

    #[test]
    fn refuses_what_is_no_release() {
        let text = String::from_utf8(statement().to_bytes().unwrap()).unwrap();
        let change = |from: &str, to: &str| {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from}");
            Statement::from_bytes(changed.as_bytes())
        };
        let other = change("samebundle.dev/release/v1", "slsa.dev/provenance/v1");
        assert!(matches!(other, Err(StatementError::OtherPredicate { .. })));
        for (from, to) in [
            ("in-toto.io/Statement/v1", "in-toto.io/Statement/v2"),
            ("\"sha256\":\"", "\"sha256\":\"0"),
            ("\"sha256\"", "\"sha512\""),
            ("\"name\":\"digits\",\"digest\"", "\"name\":\"other\",\"digest\""),
            ("\"sequence\":7", "\"sequence\":-7"),
            ("\"sequence\":7", "\"sequence\":9007199254740992"),
            ("\"sequence\":7", "\"sequence\":7,\"sequence\":8"),
            ("\"sequence\":7", "\"sequence\":7,\"extra\":1"),
            ("\"sequence\":7,", ""),
            ("2027-11-22", "2025-11-22"),
            ("2026-11-22T05:00:00Z", "yesterday"),
            ("\"subject\":[", "\"subject\":[{\"digest\":{\"sha256\":\"\"}},"),
            ("/team/digits\"", "/../digits\""),
        ] {
            assert!(
                matches!(change(from, to), Err(StatementError::Form { .. })),
                "{from} -> {to}"
            );
        }
        assert!(Statement::from_bytes(b"").is_err());
        let trailing = format!("{text}x");
        assert!(Statement::from_bytes(trailing.as_bytes()).is_err());
    }
}
