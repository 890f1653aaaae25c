//! Where a bundle is, as the user writes it: `registry/repo:tag`, `@digest`, `archive:FILE`, `layout:DIR[:TAG]`, or a local name.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use samebundle_registry::store::archive::volumes;
use samebundle_spec::reference::ReferenceError;
use samebundle_spec::{BundleName, Descriptor, Reference, Tag, Version};

/// A place that a bundle is read from or written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A registry.
    Registry(Reference),
    /// One file that holds an OCI layout or a CNAB thick bundle.
    Archive(PathBuf),
    /// A folder that holds an OCI layout, and a tag in it if it has several.
    Layout(PathBuf, Option<Tag>),
    /// A bundle in the local store, newest or of one version.
    Local(LocalName),
    /// What an installation has pinned in the local store; never written by a user.
    Stored(Descriptor),
}

/// The name of a bundle in the local store: `NAME` or `NAME:VERSION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalName {
    /// The bundle's name.
    pub(crate) name: BundleName,
    /// One version; none: the one that came last.
    pub(crate) version: Option<Version>,
}

/// Why a text is not a place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// It looks like a reference and is none.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// It looks like nothing that is known.
    #[error(
        "{text:?} is no place: give registry/repository:tag, archive:FILE, layout:DIR, a file that ends in .tgz or .tar, or NAME[:VERSION] of a bundle in the local store"
    )]
    Form {
        /// The text.
        text: String,
    },
}

impl FromStr for LocalName {
    type Err = samebundle_spec::name::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((name, version)) => Ok(Self {
                name: name.parse()?,
                version: Some(lenient_version(version)?),
            }),
            None => Ok(Self {
                name: text.parse()?,
                version: None,
            }),
        }
    }
}

/// Reads a version as people write it: `1.1` is `1.1.0`.
fn lenient_version(text: &str) -> Result<Version, samebundle_spec::name::NameError> {
    let short = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    match (short, text.matches('.').count()) {
        (true, 0) => format!("{text}.0.0").parse(),
        (true, 1) => format!("{text}.0").parse(),
        _ => text.parse(),
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if let Some(path) = text.strip_prefix("archive:") {
            return Ok(Self::Archive(path.into()));
        }
        if let Some(rest) = text.strip_prefix("layout:") {
            return Ok(
                match rest
                    .rsplit_once(':')
                    .and_then(|(dir, tag)| Some((dir, tag.parse().ok()?)))
                {
                    Some((dir, tag)) => Self::Layout(dir.into(), Some(tag)),
                    None => Self::Layout(rest.into(), None),
                },
            );
        }
        // `x.tgz.v001` is one volume of the archive `x.tgz`.
        let whole = volumes::whole_of(Path::new(text));
        let name = whole.as_ref().and_then(|whole| whole.to_str()).unwrap_or(text);
        if archive_stem(name).is_some() {
            return Ok(Self::Archive(text.into()));
        }
        if let Ok(local) = text.parse() {
            return Ok(Self::Local(local));
        }
        if text.contains('/') {
            return Ok(Self::Registry(text.parse()?));
        }
        Err(PlaceError::Form {
            text: text.to_owned(),
        })
    }
}

/// The name of an archive without the ending that says it is one.
pub(crate) fn archive_stem(name: &str) -> Option<&str> {
    let endings = [".tgz", ".tar.gz", ".tar"];
    endings.iter().find_map(|ending| name.strip_suffix(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_places_apart() {
        let place = |text: &str| text.parse::<Place>().unwrap();
        assert!(matches!(place("localhost:5000/a/b:1.0"), Place::Registry(_)));
        assert!(matches!(place("archive:x"), Place::Archive(_)));
        assert!(matches!(place("./a/b-1.0.0.tgz"), Place::Archive(_)));
        assert!(matches!(place("b-1.0.0.tgz.p002"), Place::Archive(_)));
        assert_eq!(
            place("layout:dir:1.0"),
            Place::Layout("dir".into(), Some("1.0".parse().unwrap()))
        );
        assert_eq!(place("layout:a/b"), Place::Layout("a/b".into(), None));
        let Place::Local(local) = place("digits:1.1") else {
            panic!("local")
        };
        assert_eq!(local.version.unwrap().to_string(), "1.1.0");
        assert!("Digits".parse::<Place>().is_err());
        assert!("--x".parse::<Place>().is_err());
        assert!("ftp://x/y".parse::<Place>().is_err());
    }
}
