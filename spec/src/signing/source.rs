//! Signatures of git over source: a tag or a commit that `gpg.format=ssh` has signed (OpenSSH, PROTOCOL.sshsig).
//!
//! Only keys of the trust store count, as for bundles. A tag says its own name, which has to be the one that was asked for: a
//! server could show an old signed tag under a new name. It says nothing of the tags before it, so nothing here protects
//! against rollback.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha512};

use super::decide::{check_period, unsigned};
use super::{BundleOrigin, Decision, KeyId, KeyRing, Level, Policy, PublicKey, Refusal, SignatureFault};
use crate::Timestamp;

/// What git signs a message for.
const NAMESPACE: &[u8] = b"git";
/// The first bytes of a signature, and of what is signed.
const MAGIC: &[u8] = b"SSHSIG";
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";

/// Source that a trusted key has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedSource {
    /// The key.
    pub key: KeyId,
    /// When it says that it was signed.
    pub issued: Timestamp,
}

/// The object whose signature is looked at.
#[derive(Clone, Copy, Debug)]
pub enum GitObject<'a> {
    /// A tag object, the name of the tag that was asked for, and the commit that it was found to name.
    Tag {
        /// Its bytes.
        object: &'a [u8],
        /// The name.
        name: &'a str,
        /// The commit.
        commit: &'a str,
    },
    /// A commit.
    Commit(&'a [u8]),
}

/// Looks for the signature of a tag or commit, and verifies it with the trusted keys. None: it is not signed.
///
/// # Errors
/// Why the signature does not count.
pub fn examine_source(object: GitObject<'_>, keys: &KeyRing) -> Result<Option<SignedSource>, SignatureFault> {
    let unreadable = |why: &str| SignatureFault::Unreadable { why: why.to_owned() };
    let (payload, signature) = match object {
        GitObject::Tag { object, .. } => of_tag(object),
        GitObject::Commit(object) => of_commit(object),
    };
    let Some(signature) = signature else {
        return Ok(None);
    };
    let signature = String::from_utf8(signature).map_err(|_| unreadable("it is no text"))?;
    if !signature.starts_with(BEGIN) {
        return Err(SignatureFault::OtherMaterial {
            what: "OpenPGP or X.509, which are not read here (git signs with an SSH key where gpg.format is ssh)",
        });
    }
    let key = verified(&signature, &payload, keys)?;
    let text = String::from_utf8_lossy(&payload);
    let line = |word: &str| {
        let head = text.split("\n\n").next().unwrap_or_default().lines();
        let mut lines = head.filter_map(move |line| line.strip_prefix(word)?.strip_prefix(' '));
        lines.next().map(str::to_owned)
    };
    let by = match object {
        GitObject::Commit(_) => line("committer"),
        GitObject::Tag { name, commit, .. } => {
            let said = (line("object"), line("type"), line("tag"));
            let is = |said: &Option<String>, text: &str| said.as_deref() == Some(text);
            if !is(&said.0, commit) || !is(&said.1, "commit") || !is(&said.2, name) {
                return Err(SignatureFault::BadStatement {
                    why: format!(
                        "it is signed as tag {:?} of {:?}",
                        said.2.unwrap_or_default(),
                        said.0.unwrap_or_default()
                    ),
                });
            }
            line("tagger")
        }
    };
    let issued = by
        .as_deref()
        .and_then(|by| by.rsplit_once("> ")?.1.split(' ').next()?.parse().ok())
        .ok_or_else(|| unreadable("it does not say when it was made"))?;
    Ok(Some(SignedSource {
        key,
        issued: Timestamp::from_unix(issued),
    }))
}

/// Decides whether source is trusted, by the same rules as a bundle. A tag or commit has one signature at most.
///
/// # Errors
/// The [`Refusal`].
pub fn decide_source(
    policy: &Policy,
    keys: &KeyRing,
    place: &BundleOrigin,
    now: Timestamp,
    examined: Result<Option<SignedSource>, SignatureFault>,
) -> Result<Decision, Refusal> {
    let Some((scope, rule)) = policy.rule_for(place, &[]) else {
        return Err(Refusal::NoRule {
            place: place.clone(),
            signed_by: BTreeSet::new(),
        });
    };
    if rule.level == Level::Skip {
        return Ok(unsigned(scope, rule, Vec::new()));
    }
    if !rule.attested.is_empty() {
        let why = "the rule wants attestations, and source has none".to_owned();
        return Err(Refusal::Signature {
            fault: SignatureFault::BadStatement { why },
            others: Vec::new(),
        });
    }
    let judged = examined.and_then(|signed| {
        let Some(signed) = signed else {
            return Ok(None);
        };
        if !rule.key_ids(keys).contains(&signed.key) {
            let (key, scope) = (signed.key, scope.clone());
            return Err(SignatureFault::KeyNotInRule { key, scope });
        }
        let warning = check_period(now, rule, Some(signed.issued), None)?;
        Ok(Some((signed.key, warning)))
    });
    let refused = match judged {
        Ok(Some((key, warning))) if rule.threshold == 1 => {
            return Ok(Decision {
                signers: [key].into(),
                ..unsigned(scope, rule, warning.into_iter().collect())
            });
        }
        Ok(Some(_)) => Refusal::TooFew {
            scope: scope.clone(),
            wanted: rule.threshold,
            found: 1,
        },
        Ok(None) => Refusal::Unsigned,
        Err(fault) => Refusal::Signature {
            fault,
            others: Vec::new(),
        },
    };
    let other =
        |fault: &SignatureFault| fault.is_integrity() || matches!(fault, SignatureFault::BadStatement { .. });
    let altered = matches!(&refused, Refusal::Signature { fault, .. } if other(fault));
    match rule.level {
        Level::Audit if !altered => Ok(unsigned(scope, rule, Vec::new())),
        _ => Err(refused),
    }
}

/// Splits a tag object into what is signed and the signature, which stands at its end.
fn of_tag(object: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut start = 0;
    let mut found = None;
    for line in object.split_inclusive(|byte| *byte == b'\n') {
        let begins = |word: &str| line.starts_with(word.as_bytes());
        if begins(BEGIN) || begins("-----BEGIN PGP ") || begins("-----BEGIN SIGNED MESSAGE-----") {
            found = Some(start);
        }
        start += line.len();
    }
    match found {
        Some(at) => (object[..at].to_vec(), Some(object[at..].to_vec())),
        None => (object.to_vec(), None),
    }
}

/// Splits a commit into what is signed and the signature, which stands in a header of its own.
fn of_commit(object: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let (mut payload, mut signature) = (Vec::new(), None::<Vec<u8>>);
    let (mut in_head, mut in_signature) = (true, false);
    for line in object.split_inclusive(|byte| *byte == b'\n') {
        let goes_on = in_signature && line.starts_with(b" ");
        let begins = line
            .strip_prefix(b"gpgsig ")
            .or_else(|| line.strip_prefix(b"gpgsig-sha256 "));
        in_signature = in_head && (goes_on || begins.is_some());
        match (in_signature, begins, &mut signature) {
            (true, _, Some(signature)) if goes_on => signature.extend(&line[1..]),
            // A second signature is dropped from what is signed, as git does it, and not looked at.
            (true, Some(begins), none @ None) => *none = Some(begins.to_vec()),
            (true, ..) => {}
            (false, ..) => payload.extend(line),
        }
        in_head = in_head && line != b"\n";
    }
    (payload, signature)
}

/// Reads a signature of OpenSSH, and returns the trusted key that made it over the message.
fn verified(armored: &str, message: &[u8], keys: &KeyRing) -> Result<KeyId, SignatureFault> {
    let unreadable = |why: &str| SignatureFault::Unreadable { why: why.to_owned() };
    let armor = || unreadable("it is no SSH signature");
    let (body, _) = armored
        .trim_start_matches(BEGIN)
        .split_once(END)
        .ok_or_else(armor)?;
    let body: String = body.split_whitespace().collect();
    let bytes = STANDARD.decode(body).map_err(|_| armor())?;
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(armor)?;
    let mut rest = rest
        .strip_prefix(&1u32.to_be_bytes())
        .ok_or_else(|| unreadable("it is of another version"))?;
    let mut next = || take(&mut rest).ok_or_else(armor);
    let (public, namespace, reserved, hash, signature) = (next()?, next()?, next()?, next()?, next()?);
    if namespace != NAMESPACE {
        return Err(unreadable("it was made for something else than git"));
    }
    let hashed = match hash {
        b"sha256" => Sha256::digest(message).to_vec(),
        b"sha512" => Sha512::digest(message).to_vec(),
        _ => return Err(unreadable("it uses another hash than SHA-256 and SHA-512")),
    };
    let mut signed = MAGIC.to_vec();
    for part in [namespace, reserved, hash, &hashed] {
        put(&mut signed, part);
    }
    let (algorithm, key) = public_key(public)?;
    let key_id = key.id();
    let trusted = keys.values().find(|one| one.id() == key_id);
    let Some(trusted) = trusted else {
        return Err(SignatureFault::UnknownKey { hint: key_id.hint() });
    };
    let mut signature = signature;
    let made = take(&mut signature)
        .filter(|word| *word == algorithm)
        .and_then(|_| take(&mut signature));
    let verifies = match (algorithm, made) {
        (b"ssh-ed25519", Some(made)) => trusted.verifies(&signed, made),
        (_, Some(made)) => ecdsa(made).is_some_and(|made| trusted.verifies_es256(&signed, &made)),
        (_, None) => return Err(armor()),
    };
    match verifies {
        true => Ok(key_id),
        false => Err(SignatureFault::BadSignature { hint: key_id.hint() }),
    }
}

/// Reads a public key of OpenSSH: the word for its algorithm, and the key.
fn public_key(mut bytes: &[u8]) -> Result<(&[u8], PublicKey), SignatureFault> {
    let word = take(&mut bytes).unwrap_or_default();
    let key = match word {
        b"ssh-ed25519" => take(&mut bytes).and_then(|key| PublicKey::from_bytes(key).ok()),
        b"ecdsa-sha2-nistp256" => take(&mut bytes)
            .filter(|curve| *curve == b"nistp256")
            .and_then(|_| PublicKey::from_point(take(&mut bytes)?).ok()),
        _ => {
            return Err(SignatureFault::OtherMaterial {
                what: "an SSH key that is neither Ed25519 nor P-256",
            });
        }
    };
    let key = key.ok_or_else(|| SignatureFault::Unreadable {
        why: "its public key is none".to_owned(),
    })?;
    Ok((word, key))
}

/// Makes the fixed form of an ECDSA signature, `r` and `s` of 32 bytes each, of the two numbers that OpenSSH writes.
fn ecdsa(mut bytes: &[u8]) -> Option<[u8; 64]> {
    let mut fixed = [0; 64];
    for half in fixed.chunks_mut(32) {
        let number = take(&mut bytes)?;
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        let start = half.len().checked_sub(number.len())?;
        half[start..].copy_from_slice(number);
    }
    Some(fixed)
}

/// Takes a text with its length before it, as SSH writes texts.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
    *bytes = rest;
    Some(text)
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend((text.len() as u32).to_be_bytes());
    bytes.extend(text);
}

#[cfg(test)]
mod tests;
