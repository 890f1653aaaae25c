//! Credentials, challenges and scopes as text (RFC 7235, RFC 6750, distribution token specification).

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::super::route::Name;
use super::Right;

/// One right to one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Scope {
    pub(super) repository: String,
    pub(super) right: Right,
}

impl Scope {
    pub(in crate::server) fn new(repository: &Name, right: Right) -> Self {
        Self {
            repository: repository.as_str().to_owned(),
            right,
        }
    }

    /// Reads `repository:<name>:<action>[,<action>]`, several of them apart by spaces. What is no right to a repository is
    /// left out: a token without it is what the client then gets.
    pub(super) fn parse_all(text: &str) -> Vec<Self> {
        let one = |text: &str| -> Option<Vec<Self>> {
            let (name, actions) = text.strip_prefix("repository:")?.rsplit_once(':')?;
            let name = Name::parse(name).ok()?;
            let rights = Right::ALL.into_iter().filter(|right| {
                actions
                    .split(',')
                    .any(|action| action == "*" || action == right.word())
            });
            Some(rights.map(|right| Self::new(&name, right)).collect())
        };
        text.split(' ').filter_map(one).flatten().collect()
    }
}

/// What a request proves its user by.
pub(super) enum Presented {
    Nothing,
    Password(String, Zeroizing<String>),
    Token(Zeroizing<String>),
    /// Something else, or something broken.
    Other,
}

pub(super) fn presented(headers: &HeaderMap) -> Presented {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return match headers.contains_key(header::AUTHORIZATION) {
            true => Presented::Other,
            false => Presented::Nothing,
        };
    };
    let Some((scheme, rest)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else {
        return Presented::Other;
    };
    if scheme.eq_ignore_ascii_case("bearer") {
        return Presented::Token(Zeroizing::new(rest.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Presented::Other;
    }
    let decoded = STANDARD.decode(rest.trim()).map(Zeroizing::new).ok();
    let pair = decoded
        .as_ref()
        .and_then(|bytes| std::str::from_utf8(bytes).ok()?.split_once(':'));
    match pair {
        // So skopeo says that it has none.
        Some(("", "")) => Presented::Nothing,
        Some((name, password)) => Presented::Password(name.to_owned(), Zeroizing::new(password.to_owned())),
        None => Presented::Other,
    }
}

/// A password, and the scopes that are asked for with it.
type Asked = (Option<(String, Zeroizing<String>)>, Vec<String>);

/// Reads the form of a `POST` for a token; `None` for other grants than a password's.
pub(super) fn form(bytes: &[u8]) -> Option<Asked> {
    let field = |name: &str| {
        url::form_urlencoded::parse(bytes)
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    if field("grant_type")? != "password" {
        return None;
    }
    let password = Zeroizing::new(field("password")?);
    Some((
        Some((field("username")?, password)),
        field("scope").into_iter().collect(),
    ))
}

/// The value of `WWW-Authenticate`.
#[derive(Clone, Debug)]
pub(in crate::server) struct Challenge(String);

/// Text inside the quotes of a challenge: what would end them is left out.
fn quoted(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\') || *c == ' ')
        .collect()
}

impl Challenge {
    pub(super) fn basic(service: &str) -> Self {
        Self(format!("Basic realm=\"{}\", charset=\"UTF-8\"", quoted(service)))
    }

    pub(super) fn bearer(
        address: &str,
        service: &str,
        scopes: &[Scope],
        error: Option<&'static str>,
    ) -> Self {
        let mut text = format!(
            "Bearer realm=\"{}/token\",service=\"{}\"",
            quoted(address),
            quoted(service)
        );
        let scopes: Vec<String> = scopes
            .iter()
            .map(|scope| {
                // Who pushes also asks what is there.
                let actions = match scope.right {
                    Right::Push => "pull,push",
                    other => other.word(),
                };
                format!("repository:{}:{actions}", scope.repository)
            })
            .collect();
        if !scopes.is_empty() {
            text.push_str(&format!(",scope=\"{}\"", scopes.join(" ")));
        }
        if let Some(error) = error {
            text.push_str(&format!(",error=\"{error}\""));
        }
        Self(text)
    }

    pub(in crate::server) fn value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_and_what_is_none_is_left_out() {
        let scopes = |text: &str| {
            Scope::parse_all(text)
                .into_iter()
                .map(|scope| format!("{} {}", scope.repository, scope.right.word()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            scopes("repository:a/b:push,pull repository:c:*"),
            ["a/b pull", "a/b push", "c pull", "c push", "c delete"]
        );
        for text in [
            "",
            "registry:catalog:*",
            "repository:A:pull",
            "repository:../x:pull",
            "repository:a:fly",
            "x",
        ] {
            assert_eq!(scopes(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn credentials_are_read_or_are_other() {
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            presented(&headers)
        };
        assert!(matches!(with(&[]), Presented::Nothing));
        assert!(matches!(with(&["Basic Og=="]), Presented::Nothing));
        assert!(
            matches!(with(&["basic YTpiOmM="]), Presented::Password(name, password) if name == "a" && *password == "b:c")
        );
        assert!(matches!(with(&["Bearer x"]), Presented::Token(token) if *token == "x"));
        for values in [
            &["Basic !"][..],
            &["Basic YQ=="],
            &["Digest x"],
            &["Basic"],
            &["Bearer x", "Bearer y"],
        ] {
            assert!(matches!(with(values), Presented::Other), "{values:?}");
        }
    }

    #[test]
    fn a_challenge_stays_inside_its_quotes() {
        let challenge = Challenge::bearer("http://a\",x=\"\r\n", "s", &[], Some("invalid_token"));
        assert_eq!(
            challenge.value().unwrap(),
            "Bearer realm=\"http://a,x=/token\",service=\"s\",error=\"invalid_token\""
        );
    }
}
