//! Credentials and challenges as text (RFC 7235, RFC 6750, distribution token specification).

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::scope::Scope;

/// The credentials of a request.
pub(super) enum Presented {
    Nothing,
    Password(String, Zeroizing<String>),
    Token(Zeroizing<String>),
    /// Another scheme, or a malformed header.
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
        // Skopeo sends this if it has no credentials.
        Some(("", "")) => Presented::Nothing,
        Some((name, password)) => Presented::Password(name.to_owned(), Zeroizing::new(password.to_owned())),
        None => Presented::Other,
    }
}

/// A password, and the scopes that are requested with it.
type TokenForm = (Option<(String, Zeroizing<String>)>, Vec<String>);

/// Reads the form of a `POST` for a token; `None` for other grants than a password's.
pub(super) fn form(bytes: &[u8]) -> Option<TokenForm> {
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

/// Text inside the quotes of a challenge, without characters that would end them.
fn quoted(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\') || *c == ' ')
        .collect()
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("names, words and quoted text are printable ASCII")
}

/// The challenge of [`Scheme::Basic`](super::Scheme::Basic), and of the token service.
pub(super) fn basic(service: &str) -> HeaderValue {
    value(&format!("Basic realm=\"{}\", charset=\"UTF-8\"", quoted(service)))
}

/// The challenge of [`Scheme::Token`](super::Scheme::Token): the token service, and the scopes to ask for.
pub(super) fn bearer(
    address: &str,
    service: &str,
    scopes: &[Scope],
    error: Option<&'static str>,
) -> HeaderValue {
    let mut text = format!(
        "Bearer realm=\"{}/token\",service=\"{}\"",
        quoted(address),
        quoted(service)
    );
    let scopes: Vec<String> = scopes.iter().map(Scope::asked).collect();
    if !scopes.is_empty() {
        text.push_str(&format!(",scope=\"{}\"", scopes.join(" ")));
    }
    if let Some(error) = error {
        text.push_str(&format!(",error=\"{error}\""));
    }
    value(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let challenge = bearer("http://a\",x=\"\r\n", "s", &[], Some("invalid_token"));
        assert_eq!(
            challenge,
            "Bearer realm=\"http://a,x=/token\",service=\"s\",error=\"invalid_token\""
        );
    }
}
