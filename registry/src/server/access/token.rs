//! Tokens: JSON Web Tokens (RFC 7519) signed with Ed25519 (RFC 8037), with the claims of the distribution token
//! specification.
//!
//! The key is made at the start and never written: a restart ends all tokens, and clients fetch new ones when they are
//! challenged. Only this one form is read: the header must be, byte for byte, the one that is written.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey};
use samebundle_spec::limits;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::super::random::{random, random_name};
use super::scope::Scope;
use super::user::User;
use crate::StoreError;

/// Name of this service in challenges and tokens.
pub(super) const SERVICE: &str = "samebundle registry";

const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;

/// The access that a token grants: actions by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Granted(Vec<Grant>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    r#type: String,
    name: String,
    actions: Vec<String>,
}

impl Grant {
    fn is(&self, kind: &str, name: &str) -> bool {
        self.r#type == kind && self.name == name
    }
}

impl Granted {
    pub(super) fn new(scopes: impl Iterator<Item = Scope>) -> Self {
        let mut entries: Vec<Grant> = Vec::new();
        for scope in scopes.take(limits::TOKEN_SCOPES) {
            let (kind, name, action) = scope.claim();
            match entries.iter_mut().find(|entry| entry.is(kind, name)) {
                Some(entry) if entry.actions.iter().any(|known| known == action) => {}
                Some(entry) => entry.actions.push(action.to_owned()),
                None => entries.push(Grant {
                    r#type: kind.to_owned(),
                    name: name.to_owned(),
                    actions: vec![action.to_owned()],
                }),
            }
        }
        Self(entries)
    }

    pub(super) fn covers(&self, scope: &Scope) -> bool {
        let (kind, name, action) = scope.claim();
        let mut entries = self.0.iter().filter(|entry| entry.is(kind, name));
        entries.any(|entry| entry.actions.iter().any(|known| known == action))
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    /// Empty for an anonymous user.
    sub: String,
    aud: String,
    exp: i64,
    nbf: i64,
    iat: i64,
    jti: String,
    access: Granted,
}

/// Issues tokens and knows its own.
#[derive(Debug)]
pub(super) struct Authority(SigningKey);

impl Authority {
    pub(super) fn new() -> Result<Self, StoreError> {
        let mut seed = Zeroizing::new([0; 32]);
        random(seed.as_mut())?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Issues a token that is good from `now`, seconds since 1970, for `life`.
    pub(super) fn issue(
        &self,
        user: &User,
        granted: &Granted,
        now: i64,
        life: Duration,
    ) -> Result<String, StoreError> {
        let claims = Claims {
            iss: SERVICE.to_owned(),
            sub: user.name().unwrap_or_default().to_owned(),
            aud: SERVICE.to_owned(),
            exp: now.saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX)),
            nbf: now,
            iat: now,
            jti: random_name()?,
            access: granted.clone(),
        };
        let claims = serde_json::to_vec(&claims).map_err(|error| StoreError::Invalid {
            subject: "a token".to_owned(),
            why: error.to_string(),
        })?;
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(HEADER),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = self.0.sign(signed.as_bytes());
        Ok(format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode(signature.to_bytes())
        ))
    }

    /// Reads a token of this authority that is good at `now`.
    pub(super) fn verify(&self, token: &str, now: i64) -> Option<(User, Granted)> {
        if token.len() > limits::TOKEN_BYTES {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        if head != URL_SAFE_NO_PAD.encode(HEADER) {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let signature = Signature::from_slice(&signature).ok()?;
        self.0
            .verifying_key()
            .verify_strict(signed.as_bytes(), &signature)
            .ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let good = claims.iss == SERVICE && claims.aud == SERVICE && claims.nbf <= now && now < claims.exp;
        let user = match claims.sub {
            name if name.is_empty() => User::Anonymous,
            name => User::Named(name),
        };
        good.then_some((user, claims.access))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_life_its_scopes_and_its_issuer() {
        let authority = Authority::new().unwrap();
        let user = User::Named("alice".to_owned());
        let granted = Granted::new(Scope::parse_all("repository:a:pull,push").into_iter());
        let token = authority
            .issue(&user, &granted, 1_000, Duration::from_secs(60))
            .unwrap();
        let (found, rights) = authority.verify(&token, 1_000).unwrap();
        assert_eq!((found, &rights), (user, &granted));
        for (scope, expected) in [
            ("repository:a:pull", true),
            ("repository:a:push", true),
            ("repository:a:delete", false),
            ("repository:b:pull", false),
        ] {
            assert_eq!(rights.covers(&Scope::parse_all(scope)[0]), expected, "{scope}");
        }
        assert!(authority.verify(&token, 1_059).is_some());
        assert!(authority.verify(&token, 1_060).is_none(), "expired");
        assert!(authority.verify(&token, 999).is_none(), "not yet");
        assert!(
            Authority::new().unwrap().verify(&token, 1_000).is_none(),
            "another key"
        );
        assert!(
            authority
                .verify(&"x".repeat(limits::TOKEN_BYTES + 1), 1_000)
                .is_none()
        );
    }

    #[test]
    fn no_changed_token_is_taken() {
        let authority = Authority::new().unwrap();
        let token = authority
            .issue(
                &User::Anonymous,
                &Granted::default(),
                1_000,
                Duration::from_secs(60),
            )
            .unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        let richer = URL_SAFE_NO_PAD.encode(claims.replace("\"sub\":\"\"", "\"sub\":\"root\""));
        for changed in [
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{}.{richer}.{}", parts[0], parts[2]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{}.{}.", parts[0], parts[1]),
            String::new(),
            "..".to_owned(),
        ] {
            assert!(authority.verify(&changed, 1_000).is_none(), "{changed}");
        }
        for place in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(authority.verify(&changed, 1_000).is_none(), "byte {place}");
        }
    }

    /// As CVE-2025-24976: a key that the token itself brings or points at says nothing.
    #[test]
    fn d9_a_token_that_brings_its_own_key_is_not_taken() {
        let authority = Authority::new().unwrap();
        let rights = Granted::new(Scope::parse_all("repository:a:pull,push").into_iter());
        let user = User::Named("alice".to_owned());
        let token = authority.issue(&user, &rights, 1_000, Duration::from_secs(60));
        let claims = token.unwrap().split('.').nth(1).unwrap().to_owned();
        let own = SigningKey::from_bytes(&[7; 32]);
        let x = URL_SAFE_NO_PAD.encode(own.verifying_key().as_bytes());
        let theirs = authority.0.verifying_key();
        let known = URL_SAFE_NO_PAD.encode(theirs.as_bytes());
        for header in [
            HEADER.to_owned(),
            format!(r#"{{"alg":"EdDSA","typ":"JWT","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}}}"#),
            format!(r#"{{"alg":"EdDSA","typ":"JWT","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{known}"}}}}"#),
            format!(r#"{{"alg":"EdDSA","typ":"JWT","x5c":["{x}"]}}"#),
            r#"{"alg":"EdDSA","typ":"JWT","jku":"http://127.0.0.1/keys"}"#.to_owned(),
            r#"{"alg":"EdDSA","typ":"JWT","kid":"../../etc/passwd"}"#.to_owned(),
        ] {
            let signed = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(&header));
            let signature = URL_SAFE_NO_PAD.encode(own.sign(signed.as_bytes()).to_bytes());
            let forged = format!("{signed}.{signature}");
            assert!(authority.verify(&forged, 1_000).is_none(), "{header}");
        }
    }
}
