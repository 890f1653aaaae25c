//! Chooses one bundle among all that an archive or a layout holds.

use std::collections::BTreeSet;

use samebundle_spec::{Classify, Descriptor, ErrorKind, Tag};

use super::index::REF_NAME;

/// No bundle, or more than one, could be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// There is no bundle.
    #[error("there is no bundle in it")]
    Nothing,
    /// There are several bundles.
    #[error("it holds several bundles; name one of them by its tag: {}", names.join(", "))]
    Several {
        /// Their tags.
        names: Vec<String>,
    },
    /// There is no bundle with that tag.
    #[error("there is no tag {tag} in it; it has {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") })]
    NoSuchTag {
        /// The tag.
        tag: Tag,
        /// The tags that exist.
        names: Vec<String>,
    },
}

impl Classify for SelectError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Nothing => ErrorKind::Input,
            Self::Several { .. } => ErrorKind::Usage,
            Self::NoSuchTag { .. } => ErrorKind::NotFound,
        }
    }
}

/// Returns the descriptor of a tag among the entries of an `index.json`, or, without a tag, the one bundle that it has:
/// an index that is tagged, and not with a tag that belongs to a signature; without any index, a tagged manifest, or
/// one that is listed alone. The tag that it has there comes with it; of several tags of one digest the first one.
///
/// Some tools write a full reference where the tag belongs; then its end counts as the tag.
///
/// # Errors
/// [`SelectError`] if nothing or more than one digest could be meant.
pub fn select(entries: &[Descriptor], tag: Option<&Tag>) -> Result<(Descriptor, Option<Tag>), SelectError> {
    let is_beside = |entry: &Descriptor| name(entry).is_some_and(|name| name.starts_with("sha256-"));
    if let Some(tag) = tag {
        let named = entries.iter().filter(|entry| tag_of(entry).as_ref() == Some(tag));
        return match once(named).as_slice() {
            [one] => Ok((one.bare(), Some(tag.clone()))),
            [] => Err(SelectError::NoSuchTag {
                tag: tag.clone(),
                names: names(&once(entries.iter().filter(|entry| !is_beside(entry)))),
            }),
            several => Err(SelectError::Several {
                names: names(several),
            }),
        };
    }
    let indexes = entries
        .iter()
        .filter(|entry| entry.media_type.is_index() && !is_beside(entry));
    let mut bundles: Vec<&Descriptor> = indexes.collect();
    if bundles.is_empty() {
        // An image by itself, which can be copied like a bundle; signatures have no tag of their own.
        let named = entries
            .iter()
            .filter(|entry| name(entry).is_some() && !is_beside(entry));
        bundles = named.collect();
    }
    if let ([], [alone]) = (bundles.as_slice(), entries)
        && !is_beside(alone)
    {
        bundles = vec![alone];
    }
    if once(bundles.iter().copied()).len() > 1 && bundles.iter().any(|entry| name(entry).is_some()) {
        bundles.retain(|entry| name(entry).is_some());
    }
    match once(bundles.iter().copied()).as_slice() {
        // The same digest may be listed without a tag as well.
        [one] => Ok((one.bare(), bundles.iter().find_map(|entry| tag_of(entry)))),
        [] => Err(SelectError::Nothing),
        _ => Err(SelectError::Several {
            names: names(&bundles),
        }),
    }
}

fn name(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(REF_NAME).map(String::as_str)
}

/// The tag in the name of an entry, which may be a full reference.
fn tag_of(entry: &Descriptor) -> Option<Tag> {
    let name = name(entry)?;
    let end = name.rsplit_once(':').map_or(name, |(_, end)| end);
    name.parse().or_else(|_| end.parse()).ok()
}

/// The first entry of each digest.
fn once<'a>(entries: impl Iterator<Item = &'a Descriptor>) -> Vec<&'a Descriptor> {
    let mut seen = BTreeSet::new();
    entries.filter(|entry| seen.insert(entry.digest)).collect()
}

/// What to name each of these by.
fn names(entries: &[&Descriptor]) -> Vec<String> {
    let shown = |entry: &&Descriptor| tag_of(entry).map_or(entry.digest.to_string(), |tag| tag.to_string());
    entries.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use samebundle_spec::MediaType;

    use super::*;

    fn entry(content: &str, name: Option<&str>) -> Descriptor {
        let entry = Descriptor::of(MediaType::OCI_INDEX, content.as_bytes());
        match name {
            Some(name) => entry.with_annotation(REF_NAME, name),
            None => entry,
        }
    }

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    #[test]
    fn two_tags_of_one_digest_are_one_bundle() {
        let entries = [
            entry("a", None),
            entry("a", Some("purple")),
            entry("a", Some("red")),
        ];
        let (found, named) = select(&entries, None).unwrap();
        assert_eq!((found, named), (entries[0].bare(), Some(tag("purple"))));
        let (found, named) = select(&entries, Some(&tag("red"))).unwrap();
        assert_eq!((found, named), (entries[0].bare(), Some(tag("red"))));
    }

    #[test]
    fn of_two_bundles_one_is_named() {
        let entries = [
            entry("a", Some("purple")),
            entry("b", Some("registry.example/team/app:red")),
            entry("s", Some(&format!("sha256-{}", "0".repeat(64)))),
        ];
        let names = vec!["purple".to_owned(), "red".to_owned()];
        assert_eq!(
            select(&entries, None),
            Err(SelectError::Several { names: names.clone() })
        );
        assert_eq!(select(&entries, Some(&tag("red"))).unwrap().0, entries[1].bare());
        let missing = SelectError::NoSuchTag {
            tag: tag("blue"),
            names,
        };
        assert_eq!(select(&entries, Some(&tag("blue"))), Err(missing));
        let again = [entry("a", Some("red")), entry("b", Some("x/y:red"))];
        assert!(matches!(
            select(&again, Some(&tag("red"))),
            Err(SelectError::Several { .. })
        ));
    }

    #[test]
    fn what_is_alone_needs_no_tag() {
        let alone = [Descriptor::of(MediaType::OCI_MANIFEST, b"m")];
        assert_eq!(select(&alone, None).unwrap(), (alone[0].bare(), None));
        assert_eq!(select(&[], None), Err(SelectError::Nothing));
        let tagged = [entry("a", None), entry("b", Some("1"))];
        assert_eq!(select(&tagged, None).unwrap().0, tagged[1].bare());
    }
}
