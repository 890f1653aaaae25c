//! The location of a bundle, as a user writes it: `registry/repository:tag`, `@digest`, `archive:FILE[:TAG]`,
//! `layout:DIR[:TAG]`, a name in the local store, or the address of its source in a git repository.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use samebundle_registry::archive::volumes;
use samebundle_spec::git::{GitSource, GitSourceError};
use samebundle_spec::reference::ReferenceError;
use samebundle_spec::text::without_credentials;
use samebundle_spec::{BundleName, Reference, Tag, Version};
use schemars::JsonSchema;

/// Where a bundle is read from or written to. In JSON it is the text that a user writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A registry.
    Registry(Reference),
    /// One file that holds an OCI layout or a CNAB thick bundle, and a tag in it if it has several.
    Archive(PathBuf, Option<Tag>),
    /// A folder that holds an OCI layout, and a tag in it if it has several.
    Layout(PathBuf, Option<Tag>),
    /// A bundle in the local store, newest or of one version.
    Local(LocalName),
    /// Source in a git repository, which is built here.
    Git(GitSource),
}

/// The name of a bundle in the local store: `NAME` or `NAME:VERSION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalName {
    /// The bundle's name.
    pub name: BundleName,
    /// One version; none: the one that came last.
    pub version: Option<Version>,
}

/// Why a text is no location.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// A file or folder that is not there.
    #[error("there is no {}", path.display())]
    NoFile {
        /// The path.
        path: std::path::PathBuf,
    },
    /// A plain word that names a folder, and no installation.
    #[error("nothing is installed as {name}; the folder of that name is written ./{name}")]
    IsFolder {
        /// The name.
        name: BundleName,
    },
    /// It looks like a reference, but is not valid.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// It looks like source in a git repository, but is not valid.
    #[error(transparent)]
    Git(#[from] GitSourceError),
    /// An address of plain HTTP.
    #[error(
        "{text:?}: http is not protected, and says neither registry nor git: write {rest} for a registry, or https://{rest} for \
         source in a git repository"
    )]
    Http {
        /// The text.
        text: String,
        /// The text without its scheme.
        rest: String,
    },
    /// A tag with a plus sign, as semantic versions have it.
    #[error("{text:?} has a tag with '+', which no registry takes: write '_' for '+'")]
    Plus {
        /// The text.
        text: String,
    },
    /// An address or a file with a scheme that is not supported for bundles.
    #[error(
        "{text:?} is no location: bundles do not come by {scheme}; give registry/repository:tag, archive:FILE, layout:DIR, or \
         git+https://, git+ssh:// or git+file:// for source in a git repository"
    )]
    Scheme {
        /// The text.
        text: String,
        /// The text before the colon.
        scheme: String,
    },
    /// The first part is no host name.
    #[error(
        "{text:?} names no registry: {host:?} has neither a dot nor a port; images of Docker Hub are written docker.io/{text}"
    )]
    NoHost {
        /// The text.
        text: String,
        /// Its first part.
        host: String,
    },
    /// A registry without a repository.
    #[error("{text:?} is a registry; add the repository: {text}/REPOSITORY:TAG")]
    NoRepository {
        /// The text.
        text: String,
    },
    /// A path without `archive:` or `layout:`.
    #[error("{text:?} is a path: write archive:{text} for a file, layout:{text} for a folder")]
    Path {
        /// The text.
        text: String,
    },
    /// The name of an archive in a format that is neither read nor written.
    #[error(
        "{text:?} has the ending {ending}, a form that is neither read nor written: archives end in .tgz, .tar.gz or .tar"
    )]
    Ending {
        /// The text.
        text: String,
        /// The ending.
        ending: &'static str,
    },
    /// No file or folder is named.
    #[error("{text:?} names no file or folder")]
    Empty {
        /// The text.
        text: String,
    },
    /// A digest behind a file or folder.
    #[error(
        "{text:?} names a digest, which is no part of a file or folder: leave @DIGEST out; what is in it is checked anyway"
    )]
    Digest {
        /// The text.
        text: String,
    },
    /// A colon with something behind it that is no tag.
    #[error(
        "{text:?} has a ':' in its last part, and what follows is no tag: write archive:FILE, archive:FILE:TAG, layout:FOLDER or layout:FOLDER:TAG, where FILE ends in .tgz, .tar.gz or .tar"
    )]
    Colon {
        /// The text.
        text: String,
    },
    /// A pipeline's file, of which no bundle was made.
    #[error(
        "{text:?} is a pipeline's file and no bundle: `run {text}` builds and runs it, and `build` makes a bundle of its folder"
    )]
    Pipeline {
        /// The text.
        text: String,
    },
    /// Standard output or input.
    #[error("'-' is not read or written: name a file, and a bundle can be checked and resumed")]
    Stream,
    /// It has none of the known forms.
    #[error(
        "{text:?} is no location: give registry/repository:tag, archive:FILE, layout:DIR, a file that ends in .tgz or .tar, or NAME[:VERSION] of a bundle in the local store"
    )]
    Form {
        /// The text.
        text: String,
    },
}

/// Endings of archives that other tools write.
const OTHER_ENDINGS: [&str; 13] = [
    ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".zip", ".oci", ".gpg", ".age", ".7z",
    ".sif", ".gz",
];

/// Endings of files with a pipeline.
const PIPELINES: [&str; 4] = [".py", ".ipynb", ".yaml", ".yml"];

/// Schemes that other tools write before a reference. They mean the same as no scheme; `https` only before a digest, because
/// other addresses of it are those of git repositories.
const SCHEMES: [&str; 3] = ["docker://", "oci://", "https://"];

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        if let Some(rest) = text.strip_prefix("archive:") {
            return Self::archive(text, rest);
        }
        if let Some(rest) = text.strip_prefix("layout:") {
            return Self::layout(text, rest);
        }
        if GitSource::is_meant(text) {
            return Ok(Self::Git(text.parse()?));
        }
        if let Some(rest) = text.strip_prefix("http://") {
            let [text, rest] = [text, rest].map(shown);
            return Err(LocationError::Http { text, rest });
        }
        if let Some(rest) = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)) {
            return reference(rest);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(LocationError::scheme(text, scheme));
        }
        if text == "-" {
            return Err(LocationError::Stream);
        }
        let is_path = text.starts_with(['/', '.']);
        let remote = !is_path && text.split_once('/').is_some_and(|(host, _)| is_host(host));
        let untagged = text.rsplit_once(':').map_or(text, |(file, _)| file);
        if is_archive(text) || (is_archive(untagged) && !remote) {
            return match text.split_once(':') {
                Some((scheme, rest)) if is_scheme(scheme) && is_archive(rest) => {
                    Err(LocationError::scheme(text, scheme))
                }
                _ => Self::archive(text, text),
            };
        }
        let owned = || text.to_owned();
        if PIPELINES.iter().any(|ending| text.ends_with(ending)) && !remote {
            return Err(LocationError::Pipeline { text: owned() });
        }
        if is_path {
            return Err(LocationError::Path { text: owned() });
        }
        let mut endings = OTHER_ENDINGS.into_iter();
        let ending = endings.find(|ending| text.ends_with(ending) || untagged.ends_with(ending));
        if let Some(ending) = ending.filter(|_| !remote) {
            return Err(LocationError::Ending {
                text: owned(),
                ending,
            });
        }
        if !text.contains('/') && is_host_and_port(text) {
            return Err(LocationError::NoRepository { text: owned() });
        }
        if let Ok(local) = text.parse() {
            return Ok(Self::Local(local));
        }
        if text.contains('/') {
            return reference(text);
        }
        Err(LocationError::Form { text: shown(text) })
    }
}

impl Location {
    /// Reads a location that may be a path which is not UTF-8; such a path is a file, unless `layout:` stands before it.
    ///
    /// # Errors
    /// As [`FromStr`].
    pub fn from_os(text: &OsStr) -> Result<Self, LocationError> {
        if let Some(text) = text.to_str() {
            return text.parse();
        }
        let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        let bytes = text.as_bytes();
        Ok(
            match (bytes.strip_prefix(b"layout:"), bytes.strip_prefix(b"archive:")) {
                (Some(dir), _) => Self::Layout(path(dir), None),
                (None, file) => Self::Archive(path(file.unwrap_or(bytes)), None),
            },
        )
    }

    fn archive(text: &str, rest: &str) -> Result<Self, LocationError> {
        let (file, tag) = tagged(text, rest, is_archive(rest))?;
        match file {
            "-" => Err(LocationError::Stream),
            file if tag.is_some() && !is_archive(file) => Err(LocationError::Colon {
                text: text.to_owned(),
            }),
            file => Ok(Self::Archive(file.into(), tag)),
        }
    }

    fn layout(text: &str, rest: &str) -> Result<Self, LocationError> {
        let (dir, tag) = tagged(text, rest, false)?;
        Ok(Self::Layout(dir.into(), tag))
    }

    /// Returns the same location, with a relative path resolved below `folder`.
    #[must_use]
    pub fn below(self, folder: &Path) -> Self {
        match self {
            Self::Archive(path, tag) => Self::Archive(folder.join(path), tag),
            Self::Layout(path, tag) => Self::Layout(folder.join(path), tag),
            other => other,
        }
    }
}

impl LocationError {
    fn scheme(text: &str, scheme: &str) -> Self {
        let (text, scheme) = (shown(text), scheme.to_owned());
        Self::Scheme { text, scheme }
    }
}

/// An address as an error repeats it.
fn shown(text: &str) -> String {
    without_credentials(text).into_owned()
}

/// Splits a path from the tag that may follow it. A path that is `whole` has no tag behind it.
fn tagged<'a>(text: &str, rest: &'a str, whole: bool) -> Result<(&'a str, Option<Tag>), LocationError> {
    let owned = || text.to_owned();
    let last = rest.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let digest = last.rsplit_once('@').map(|(_, digest)| digest);
    let has_digest =
        digest.is_some_and(|digest| digest.starts_with("sha256:") || digest.starts_with("sha512:"));
    let (path, tag) = match rest.rsplit_once(':').filter(|_| !whole && last.contains(':')) {
        _ if has_digest => return Err(LocationError::Digest { text: owned() }),
        None => (rest, None),
        Some((path, tag)) => match tag.parse() {
            Ok(tag) if last.matches(':').count() == 1 || is_archive(path) => (path, Some(tag)),
            _ => return Err(LocationError::Colon { text: owned() }),
        },
    };
    match path {
        "" => Err(LocationError::Empty { text: owned() }),
        path => Ok((path, tag)),
    }
}

/// Tells whether a name has the ending of an archive. `x.tgz.v001` is one volume of the archive `x.tgz`.
fn is_archive(name: &str) -> bool {
    let whole = volumes::whole_of(Path::new(name));
    let name = whole.as_ref().and_then(|whole| whole.to_str()).unwrap_or(name);
    archive_stem(name).is_some()
}

/// Tells whether a text before a colon reads as the name of a transport, as in `oci-archive:FILE`.
fn is_scheme(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain)
}

fn reference(text: &str) -> Result<Location, LocationError> {
    let host = text.split('/').next().unwrap_or_default();
    if host.contains('@')
        && let Err(error) = text.parse::<Reference>()
    {
        return Err(error.into());
    }
    if !is_host(host) {
        let (text, host) = (text.to_owned(), host.to_owned());
        return Err(LocationError::NoHost { text, host });
    }
    match text.parse() {
        Ok(reference) => Ok(Location::Registry(reference)),
        Err(_) if text.rsplit('/').next().is_some_and(|last| last.contains('+')) => {
            Err(LocationError::Plus {
                text: text.to_owned(),
            })
        }
        Err(_) if !text.contains('/') => Err(LocationError::NoRepository {
            text: text.to_owned(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Tells whether the first part of a reference is a registry, by the rule of Docker.
fn is_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':'])
}

/// Tells whether a text is an address with a port, which could also be read as a name with a version.
fn is_host_and_port(text: &str) -> bool {
    let split = text
        .rsplit_once(':')
        .filter(|(_, port)| port.parse::<u16>().is_ok());
    split.is_some_and(|(host, _)| host == "localhost" || host.parse::<std::net::IpAddr>().is_ok())
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tagged = |f: &mut fmt::Formatter<'_>, form: &str, path: &Path, tag: &Option<Tag>| {
            write!(f, "{form}:{}", path.display())?;
            tag.iter().try_for_each(|tag| write!(f, ":{tag}"))
        };
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::Archive(path, tag) => tagged(f, "archive", path, tag),
            Self::Layout(path, tag) => tagged(f, "layout", path, tag),
            Self::Local(name) => name.fmt(f),
            Self::Git(source) => source.fmt(f),
        }
    }
}

impl FromStr for LocalName {
    type Err = samebundle_spec::name::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            // An address is refused whole, without the password that may stand in it.
            _ if text.contains('@') || text.contains("://") => Ok(Self {
                name: BundleName::as_written(&without_credentials(text))?,
                version: None,
            }),
            Some((name, version)) => Ok(Self {
                name: BundleName::as_written(name)?,
                version: Some(Version::as_named(version)?),
            }),
            None => Ok(Self {
                name: BundleName::as_written(text)?,
                version: None,
            }),
        }
    }
}

impl fmt::Display for LocalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)?;
        self.version
            .iter()
            .try_for_each(|version| write!(f, ":{version}"))
    }
}

samebundle_spec::serde_as_text!(Location, LocalName);

/// Gives types that are a text in JSON their schema.
macro_rules! text_schema {
    ($($name:ident = $what:literal;)*) => {
        $(impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "description": $what})
            }
        })*
    };
}

text_schema! {
    Location =
        "registry/repository:tag, registry/repository@digest, archive:FILE[:TAG], layout:DIR[:TAG], NAME[:VERSION], or \
         git+https://HOST/REPOSITORY@REF#PATH";
    LocalName = "NAME or NAME:VERSION";
}

/// Returns the name of an archive without its ending.
pub fn archive_stem(name: &str) -> Option<&str> {
    let endings = [".tgz", ".tar.gz", ".tar"];
    endings.iter().find_map(|ending| name.strip_suffix(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_locations_apart() {
        let location = |text: &str| text.parse::<Location>().unwrap();
        assert!(matches!(
            location("localhost:5000/a/b:1.0"),
            Location::Registry(_)
        ));
        assert!(matches!(location("archive:x"), Location::Archive(_, None)));
        assert!(matches!(location("./a/b-1.0.0.tgz"), Location::Archive(_, None)));
        assert!(matches!(location("b-1.0.0.tgz.p002"), Location::Archive(_, None)));
        let tagged = Location::Archive("a:b.tgz".into(), Some("purple".parse().unwrap()));
        assert_eq!(location("archive:a:b.tgz:purple"), tagged);
        assert_eq!(
            location("archive:a:b.tgz"),
            Location::Archive("a:b.tgz".into(), None)
        );
        assert_eq!(
            location("layout:dir:1.0"),
            Location::Layout("dir".into(), Some("1.0".parse().unwrap()))
        );
        assert_eq!(location("layout:a/b"), Location::Layout("a/b".into(), None));
        let tagged = |file: &str| Location::Archive(file.into(), Some("1.0.0".parse().unwrap()));
        assert_eq!(location("x.tgz:1.0.0"), tagged("x.tgz"));
        assert_eq!(location("./a/x.tar:1.0.0"), tagged("./a/x.tar"));
        assert!(matches!(
            location("r.example/a/x.tgz:1.0.0"),
            Location::Registry(_)
        ));
        assert!(matches!(location("layout:a:b/c"), Location::Layout(_, None)));
        let odd = |bytes: &[u8]| Location::from_os(OsStr::from_bytes(bytes)).unwrap();
        assert!(matches!(odd(b"layout:\xff"), Location::Layout(..)));
        assert_eq!(odd(b"archive:\xff.tgz"), odd(b"\xff.tgz"));
        let Location::Local(local) = location("digits:1.1") else {
            panic!("local")
        };
        assert_eq!(local.version.unwrap().to_string(), "1.1.0");
        for scheme in ["docker://", "oci://"] {
            let text = format!("{scheme}127.0.0.1:7001/ref/x:1");
            assert_eq!(location(&text), location("127.0.0.1:7001/ref/x:1"), "{text}");
        }
        let digest = format!("r.example/x@sha256:{}", "0".repeat(64));
        assert_eq!(location(&format!("https://{digest}")), location(&digest));
        for text in ["https://h.example/o/r/p:1.0", "git+file:///srv/r@1.0#p"] {
            assert!(matches!(location(text), Location::Git(_)), "{text}");
        }
        assert_eq!(
            location("arXiv.1303.5778v1:1.0"),
            location("arxiv.1303.5778v1:1.0.0")
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "localhost:5000/a/b:1.0",
            "archive:x.tgz",
            "archive:x.tgz:purple",
            "layout:a/b:1.0",
            "digits",
            "digits:1.1.0",
            "git+https://h.example/o/r@1.0#p",
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_text() {
        for (text, said) in [
            ("Dígits", "is no location"),
            ("http://r.example/x:1", "https://r.example/x:1 for source"),
            ("https://u:p@h.example/o/r", "credentials do not belong"),
            ("ssh://git@h.example/r", "git+ssh://"),
            ("--x", "is no location"),
            ("ftp://x/y", "do not come by ftp"),
            ("out.tar.zst", ".tar.zst, a form"),
            ("a/b.zip", ".zip, a form"),
            ("./x", "archive:./x for a file"),
            ("127.0.0.1:7001", "add the repository"),
            ("localhost:7001", "add the repository"),
            ("docker://127.0.0.1:7001", "add the repository"),
            ("library/ubuntu:22.04", "docker.io/library/ubuntu:22.04"),
            ("r.example/a:1.2.0+build.7", "write '_' for '+'"),
            ("layout:", "no file or folder"),
            ("layout:lo@sha256:00ff", "names a digest"),
            ("layout:lo:1.0@sha256:00ff", "names a digest"),
            ("archive:x.tgz@sha256:00ff", "names a digest"),
            ("./x.tgz@sha256:00ff", "archive:./x.tgz"),
            ("layout:lo:", "is no tag"),
            ("layout:lo:a:b", "is no tag"),
            ("layout:lo:1.0+b", "is no tag"),
            ("archive:x.tgz:", "is no tag"),
            ("archive:x.tgz:a:b", "is no tag"),
            ("archive:x:1.0", "is no tag"),
            ("x.tgz:1.0+b", "is no tag"),
            ("oci-archive:x.tgz", "do not come by oci-archive"),
            ("oci-archive:a/x.tar", "do not come by oci-archive"),
            ("out.zip:1.0", ".zip, a form"),
            ("archive:", "no file or folder"),
            ("-", "'-' is not read or written"),
        ] {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
