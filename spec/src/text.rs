//! Types that are a text in JSON, and texts that are shown.

use std::borrow::Cow;

/// Returns a text that may be an address, without what only its owner should know: `***` replaces a user and a password
/// before a host. The user's name before the host of an `ssh` address is no secret, and stays.
pub fn without_credentials(text: &str) -> Cow<'_, str> {
    let begin = text.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = text.split_at(begin);
    let Some(end) = end_of_credentials(rest, begin > 0) else {
        return Cow::Borrowed(text);
    };
    let is_name = !rest[..end].contains(':') && scheme.ends_with("ssh://");
    match is_name {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("{scheme}***{}", &rest[end..])),
    }
}

/// Finds the `@` behind a user and a password. A password may have a `/` in it, and then no port stands before that.
fn end_of_credentials(rest: &str, has_scheme: bool) -> Option<usize> {
    let host = rest.split('/').next().unwrap_or_default();
    if let Some(at) = host.rfind('@') {
        return Some(at);
    }
    let (_, port) = host.split_once(':')?;
    let is_port = host.ends_with(']') || port.ends_with(']') || port.bytes().all(|c| c.is_ascii_digit());
    let at = rest.rfind('@').filter(|_| has_scheme && !is_port)?;
    (!rest[at..].starts_with("@sha256:")).then_some(at)
}

/// Lets serde write a type as its [`Display`](std::fmt::Display) and read it with its [`FromStr`](std::str::FromStr).
#[macro_export]
macro_rules! serde_as_text {
    ($($name:ty),+ $(,)?) => {
        $(impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as ::serde::Deserialize>::deserialize(deserializer)?
                    .parse()
                    .map_err(::serde::de::Error::custom)
            }
        })+
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_addresses_are_not_shown() {
        for (text, shown) in [
            ("https://user:pw@h/o/r.git/x:1.0", "https://***@h/o/r.git/x:1.0"),
            ("oci://user:pw@h:5/o/r:1.0", "oci://***@h:5/o/r:1.0"),
            ("https://user:p@w@h:5/o/r", "https://***@h:5/o/r"),
            ("https://user:p/w@h/o/r", "https://***@h/o/r"),
            ("https://token@h/o/r@v1", "https://***@h/o/r@v1"),
            ("git+ssh://git:pw@h/o/r", "git+ssh://***@h/o/r"),
            ("user:pw@h/o/r:1", "***@h/o/r:1"),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
        for text in [
            "git+ssh://git@h/o/r@v1",
            "https://h/o/r@v1",
            "https://h:5000/o/r@v1",
            "https://[::1]/o/r@v1",
            "h:5000/o/r:1@sha256:0",
            "digits:1.0",
        ] {
            assert_eq!(without_credentials(text), text);
        }
    }
}
