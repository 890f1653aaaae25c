//! Addresses: where something is, what of an address may be shown, and which addresses a person gave.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use samebundle_spec::Reference;
use samebundle_spec::record::SetBy;
use serde_json::Value;
use url::Url;

/// What stands for the secret parts of an address.
const HIDDEN: &str = "***";
/// Words in the names of query values that are credentials: signatures of storage services, tokens, keys.
const SECRET_WORDS: [&str; 7] = ["sig", "token", "secret", "password", "credential", "key", "auth"];
/// How many characters of a long name are kept; the last, because the kind of a file stands at its end.
const NAME_LENGTH: usize = 60;

/// The address of a file, a folder, an object or an image.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    text: String,
    place: Place,
}

/// What an address leads to.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// A file or folder of this machine.
    Local(PathBuf),
    /// A file of a web server.
    Web(Url),
    /// An object of a bucket, or all objects below a prefix.
    Object {
        /// Whose bucket.
        service: Service,
        /// The bucket.
        bucket: String,
        /// The object's name, or the prefix.
        key: String,
    },
    /// The folder `/models` of an image.
    Image(Reference),
    /// A scheme that nothing is read from here.
    Other(String),
}

/// A service of object storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Amazon S3, and what speaks like it.
    S3,
    /// A server of the same protocol, whose address is configured.
    Minio,
    /// Google Cloud Storage.
    Gcs,
}

/// A text is no address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct AddressError {
    why: &'static str,
}

impl Address {
    /// Reads an address: a URL, or the absolute path of a file or folder.
    ///
    /// # Errors
    /// What is wrong with it. The text does not repeat the address, which may hold a credential.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let wrong = |why| AddressError { why };
        let place = match text.split_once("://") {
            _ if text.is_empty() => return Err(wrong("the address is empty")),
            None if text.starts_with('/') => Place::Local(PathBuf::from(text)),
            None => {
                return Err(wrong(
                    "it is no address; give a URL such as https://… or s3://…, or the absolute path of a file or folder",
                ));
            }
            Some(("file", _)) => {
                let path = Url::parse(text).ok().and_then(|url| url.to_file_path().ok());
                Place::Local(path.ok_or_else(|| wrong("it is no address of a file; write file:///PATH"))?)
            }
            Some(("http" | "https", _)) => {
                let url = Url::parse(text).ok().filter(Url::has_host);
                Place::Web(url.ok_or_else(|| wrong("it is no address of http or https"))?)
            }
            Some(("s3", rest)) => object(Service::S3, rest)?,
            Some(("minio", rest)) => object(Service::Minio, rest)?,
            Some(("gs", rest)) => object(Service::Gcs, rest)?,
            Some(("oci", rest)) => {
                let reference = Reference::parse_docker(rest);
                Place::Image(
                    reference
                        .map_err(|_| wrong("it is no reference of an image; write oci://HOST/NAME:TAG"))?,
                )
            }
            Some((scheme, _)) => Place::Other(scheme.to_owned()),
        };
        let dots = |path: &PathBuf| path.components().any(|part| part == Component::ParentDir);
        match &place {
            Place::Local(path) if dots(path) || text.contains('\0') => {
                Err(wrong("the path of a file has no \"..\""))
            }
            _ => Ok(Self {
                text: text.to_owned(),
                place,
            }),
        }
    }

    /// The address as it was given. It may hold a credential.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it leads to.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The address without credentials.
    pub fn shown(&self) -> String {
        shown(&self.text)
    }

    /// A name for what is there: the last part of its path, as a file may be named.
    pub fn name(&self) -> String {
        let path = match &self.place {
            Place::Local(path) => path.to_string_lossy().into_owned(),
            Place::Web(url) => url.path().to_owned(),
            Place::Object { key, .. } => key.clone(),
            Place::Image(_) => "models".to_owned(),
            Place::Other(_) => String::new(),
        };
        let last = path.split('/').rfind(|part| !["", ".", ".."].contains(part));
        let sound = |c: char| !c.is_control();
        let end = last
            .unwrap_or("data")
            .chars()
            .rev()
            .filter(|c| sound(*c))
            .take(NAME_LENGTH);
        let name: String = end.collect::<Vec<_>>().into_iter().rev().collect();
        if name.is_empty() { "data".to_owned() } else { name }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Web(url) => f.write_str(&shown(url.as_str())),
            Self::Object { bucket, key, .. } => write!(f, "{bucket}/{key}"),
            Self::Image(reference) => write!(f, "{reference}"),
            Self::Other(scheme) => f.write_str(scheme),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

fn object(service: Service, rest: &str) -> Result<Place, AddressError> {
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match bucket.is_empty() || !bucket.chars().all(plain) {
        true => Err(AddressError {
            why: "it names no bucket; write s3://BUCKET/KEY",
        }),
        false => Ok(Place::Object {
            service,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        }),
    }
}

/// The path at which KFP's SDK looks for what has this address; none if it takes the address itself for a path.
pub(crate) fn path_in_container(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let rest = rest.trim_end_matches('/');
    if rest.split('/').any(|part| ["", ".", ".."].contains(&part)) {
        return None;
    }
    match scheme {
        "gs" => Some(format!("/gcs/{rest}")),
        "s3" | "minio" => Some(format!("/{scheme}/{rest}")),
        "oci" => Some(format!("/oci/{}/models", rest.replace('/', "_"))),
        _ => None,
    }
}

fn url_with_secrets(text: &str) -> Option<(Url, Vec<String>)> {
    let url = text.contains("://").then(|| Url::parse(text).ok()).flatten()?;
    let mut secrets = Vec::new();
    if let Some(password) = url.password() {
        secrets.push(format!("{}:{password}", url.username()));
        secrets.push(password.to_owned());
    } else if !url.username().is_empty() {
        secrets.push(url.username().to_owned());
    }
    for pair in url.query().into_iter().flat_map(|query| query.split('&')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if is_secret(name) && !value.is_empty() {
            secrets.push(value.to_owned());
        }
    }
    secrets.retain(|secret| !secret.is_empty());
    (!secrets.is_empty()).then_some((url, secrets))
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Returns a text without its credentials if it is an address that holds some.
pub fn shown(text: &str) -> String {
    let Some((mut url, _)) = url_with_secrets(text) else {
        return text.to_owned();
    };
    let named = !url.username().is_empty() || url.password().is_some();
    let query = url.query().map(|query| {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => format!("{name}={HIDDEN}"),
            _ => pair.to_owned(),
        });
        pairs.collect::<Vec<_>>().join("&")
    });
    url.set_query(query.as_deref());
    if named {
        // An address that cannot have a password had none.
        let _ = url.set_password(None);
        let _ = url.set_username(HIDDEN);
    }
    url.to_string()
}

/// Returns a value in which no address holds a credential.
pub fn shown_value(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::from(shown(text)),
        Value::Array(items) => items.iter().map(shown_value).collect(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| (key.clone(), shown_value(value)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// Returns the credentials in the addresses of a value.
pub fn secrets_of(value: &Value) -> Vec<Value> {
    match value {
        Value::String(text) => {
            let found = url_with_secrets(text).map(|(_, secrets)| secrets);
            found.unwrap_or_default().into_iter().map(Value::from).collect()
        }
        Value::Array(items) => items.iter().flat_map(secrets_of).collect(),
        Value::Object(fields) => fields.values().flat_map(secrets_of).collect(),
        _ => Vec::new(),
    }
}

/// The texts that the person who runs gave as parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given(BTreeSet<String>);

impl Given {
    /// Collects the texts of parameters that are not the bundle's own defaults.
    pub fn of<'a>(parameters: impl Iterator<Item = (&'a Value, SetBy)>) -> Self {
        let mut given = Self::default();
        for (value, set_by) in parameters {
            if set_by != SetBy::Default {
                given.add(value);
            }
        }
        given
    }

    /// Adds the texts of a value.
    pub(crate) fn add(&mut self, value: &Value) {
        match value {
            Value::String(text) => drop(self.0.insert(text.clone())),
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(fields) => fields.values().for_each(|item| self.add(item)),
            _ => {}
        }
    }

    /// Tells whether the person gave just this address, or a folder of this machine that it is in.
    pub(crate) fn names(&self, address: &Address) -> bool {
        if self.0.contains(address.as_str()) {
            return true;
        }
        let Place::Local(path) = address.place() else {
            return false;
        };
        self.0.iter().any(|text| match Address::parse(text) {
            Ok(Address {
                place: Place::Local(given),
                ..
            }) => given != Path::new("/") && path.starts_with(&given),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_told_apart_and_named() {
        let read = |text: &str| Address::parse(text).map(|address| (address.place().clone(), address.name()));
        let local = |path: &str, name: &str| Ok((Place::Local(PathBuf::from(path)), name.to_owned()));
        assert_eq!(read("/data/x.csv").map_err(drop), local("/data/x.csv", "x.csv"));
        assert_eq!(
            read("file:///data/a%20b").map_err(drop),
            local("/data/a b", "a b")
        );
        let (place, name) = read("gs://bucket/a/b.txt").unwrap_or_else(|_| unreachable!());
        assert!(
            matches!(place, Place::Object { service: Service::Gcs, bucket, key } if bucket == "bucket" && key == "a/b.txt")
        );
        assert_eq!(name, "b.txt");
        assert!(matches!(read("oci://host/a:v1"), Ok((Place::Image(_), name)) if name == "models"));
        assert!(matches!(read("ftp://host/x"), Ok((Place::Other(scheme), _)) if scheme == "ftp"));
        for text in [
            "",
            "x.csv",
            "./x",
            "/a/../etc/passwd",
            "file://host",
            "s3:///key",
            "http://",
            "oci://%",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        assert_eq!(Address::parse("https://host/").unwrap().name(), "data");
    }

    #[test]
    fn credentials_of_addresses_are_not_shown() {
        for (text, wanted) in [
            ("https://host/a?raw=1", "https://host/a?raw=1"),
            ("https://me:pass@host/a", "https://***@host/a"),
            (
                "https://host/a?x=1&X-Amz-Signature=abc&sig=d%2F",
                "https://host/a?x=1&X-Amz-Signature=***&sig=***",
            ),
            ("no address: me:pass@host", "no address: me:pass@host"),
        ] {
            assert_eq!(shown(text), wanted);
            assert!(
                secrets_of(&json!({"a": [text]}))
                    .iter()
                    .all(|secret| !wanted.contains(secret.as_str().unwrap()))
            );
        }
        let secrets = secrets_of(&json!("https://me:pass@host/a?token=abc"));
        assert_eq!(secrets, [json!("me:pass"), json!("pass"), json!("abc")]);
    }

    #[test]
    fn a_person_gives_an_address_and_what_is_in_a_folder() {
        let mut given = Given::default();
        given.add(&json!({"all": ["/data", "https://host/a", "/"], "file": "file:///one.csv"}));
        let names = |text: &str| given.names(&Address::parse(text).unwrap());
        for text in [
            "/data",
            "/data/x/y.csv",
            "file:///data/x",
            "https://host/a",
            "/one.csv",
        ] {
            assert!(names(text), "{text}");
        }
        for text in [
            "/database",
            "/etc/passwd",
            "https://host/a/b",
            "https://host",
            "gs://data",
        ] {
            assert!(!names(text), "{text}");
        }
    }

    #[test]
    fn paths_in_containers_are_those_of_the_sdk() {
        for (uri, path) in [
            ("gs://b/a.txt", Some("/gcs/b/a.txt")),
            ("s3://b/dir/", Some("/s3/b/dir")),
            ("minio://b/k", Some("/minio/b/k")),
            ("oci://h/o/r:v1", Some("/oci/h_o_r:v1/models")),
            ("gs://b/../../etc", None),
            ("https://h/a", None),
            ("/samebundle/outputs/a", None),
        ] {
            assert_eq!(path_in_container(uri).as_deref(), path, "{uri}");
        }
    }
}
