//! Finds a run by what a person writes, and shortens ids so that they are found.
//!
//! An id is a ULID: runs of one day begin with the same letters, and the ends of ids are random. So a short id is the end of
//! one, and a beginning is understood as well.

use std::collections::BTreeMap;

use samebundle_spec::bundle::parameter::nearest;
use samebundle_spec::record::{Run, RunId};
use samebundle_spec::{BundleName, Version};

use super::{Installations, RecordError, Runs};

/// The fewest characters of a short id.
const SHORTEST: usize = 6;

impl Runs<'_> {
    /// Finds a run by its id, the beginning or the end of it, `last` for the newest of all, or the name of an installation for
    /// its newest; `NAME:VERSION` for the newest of that version of an installation or bundle.
    ///
    /// # Errors
    /// [`RecordError::NoRun`], [`RecordError::NoRunYet`] or [`RecordError::AmbiguousRun`]; otherwise why a record cannot be
    /// read.
    pub fn find_id(&self, text: &str) -> Result<RunId, RecordError> {
        let mut ids = self.ids()?;
        let not_yet = |of: Option<&BundleName>| RecordError::NoRunYet {
            of: of.map(ToString::to_string),
        };
        if text == "last" {
            return ids.pop().ok_or_else(|| not_yet(None));
        }
        let name = Named::read(text);
        if let Some(named) = &name
            && named.version.is_none()
            && Installations::new(self.home()).find(&named.name)?.is_some()
        {
            return self.newest_of(named)?.ok_or_else(|| not_yet(Some(&named.name)));
        }
        let matching = matching(&ids, text);
        if let [id] = matching.as_slice() {
            return Ok((*id).clone());
        }
        // An installation that is gone may have left runs.
        let newest = match &name {
            Some(name) => self.newest_of(name)?,
            None => None,
        };
        match newest {
            Some(id) => Ok(id),
            None if ids.is_empty() => Err(not_yet(None)),
            None if matching.is_empty() => Err(RecordError::NoRun {
                id: text.to_owned(),
                near: near(&ids, text),
            }),
            None => Err(RecordError::AmbiguousRun {
                id: text.to_owned(),
                count: matching.len(),
            }),
        }
    }

    fn newest_of(&self, named: &Named) -> Result<Option<RunId>, RecordError> {
        for id in self.ids()?.into_iter().rev() {
            match self.get(&id) {
                Ok(run) if named.is(&run) => return Ok(Some(id)),
                Ok(_) | Err(RecordError::NoRun { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The short form of every id: the end of it, as long as is needed to find this run and no other.
    ///
    /// # Errors
    /// If the runs cannot be listed.
    pub fn short_ids(&self) -> Result<BTreeMap<RunId, String>, RecordError> {
        Ok(short(&self.ids()?))
    }
}

/// What a person names runs by: an installation, or a bundle of a version.
struct Named {
    name: BundleName,
    version: Option<Version>,
}

impl Named {
    fn read(text: &str) -> Option<Self> {
        let (name, version) = match text.split_once(':') {
            Some((name, version)) => (name, Some(Version::as_named(version).ok()?)),
            None => (text, None),
        };
        let name = BundleName::as_written(name).ok()?;
        Some(Self { name, version })
    }

    fn is(&self, run: &Run) -> bool {
        match &self.version {
            None => run.installation == self.name,
            Some(version) => {
                let named = run.installation == self.name || run.bundle == self.name.as_str();
                named && run.version == *version
            }
        }
    }
}

/// The ids that begin or end with a text, each once.
fn matching<'a>(ids: &'a [RunId], text: &str) -> Vec<&'a RunId> {
    let wanted = text.to_ascii_uppercase();
    let fits = |id: &&RunId| !wanted.is_empty() && (id.starts_with(&wanted) || id.ends_with(&wanted));
    ids.iter().filter(fits).collect()
}

/// The end of an id that is like a text which names none.
fn near(ids: &[RunId], text: &str) -> Option<String> {
    let wanted = text.to_ascii_uppercase();
    let part = |id: &RunId| {
        let from = id.len().saturating_sub(wanted.len().max(SHORTEST));
        id.get(from..).map(str::to_owned)
    };
    let ends: Vec<String> = ids.iter().filter_map(part).collect();
    nearest(&wanted, &ends)
}

/// `ids` are in order.
fn short(ids: &[RunId]) -> BTreeMap<RunId, String> {
    let turned = |id: &RunId| -> Vec<u8> { id.bytes().rev().collect() };
    let mut by_end: Vec<(Vec<u8>, &RunId)> = ids.iter().map(|id| (turned(id), id)).collect();
    by_end.sort();
    let common = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let of = |(at, (turned, id)): (usize, &(Vec<u8>, &RunId))| {
        let before = at.checked_sub(1).and_then(|before| by_end.get(before));
        let beside = before.into_iter().chain(by_end.get(at + 1));
        let shared = beside.map(|(other, _)| common(turned, other)).max().unwrap_or(0);
        let lengths = (shared + 1).max(SHORTEST)..id.len();
        let mut ends = lengths.filter_map(|length| id.get(id.len() - length..));
        // Others may begin with it.
        let alone = |end: &&str| {
            let from = ids.partition_point(|other| other.as_str() < *end);
            ids.get(from).is_none_or(|other| !other.starts_with(*end))
        };
        let end = ends.find(alone).unwrap_or(id.as_str());
        ((*id).clone(), end.to_owned())
    };
    by_end.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(texts: &[&str]) -> Vec<RunId> {
        let mut ids: Vec<RunId> = texts.iter().map(|text| text.parse().unwrap()).collect();
        ids.sort();
        ids
    }

    #[test]
    fn a_short_id_is_an_end_that_finds_one_run() {
        let ids = ids(&[
            "01M8FCR3AAAAAAAAAAAABCDEFG",
            "01M8FCR3AAAAAAAAAAAAXCDEFG",
            "01M8FCR3AAAAAAAAAAAA01M8FC",
            "01M8FCR3AAAAAAAAAAAAHJKMNP",
        ]);
        let short = short(&ids);
        let shown: Vec<&str> = short.values().map(String::as_str).collect();
        assert_eq!(shown, ["A01M8FC", "BCDEFG", "HJKMNP", "XCDEFG"]);
        for (id, short) in &short {
            assert_eq!(matching(&ids, &short.to_ascii_lowercase()), [id]);
        }
        assert_eq!(matching(&ids, "01m8f").len(), 4);
        assert_eq!(matching(&ids, "01M8FCR3AAAAAAAAAAAAH").len(), 1);
        assert!(matching(&ids, "").is_empty());
    }

    #[test]
    fn a_slip_is_answered_with_the_nearest_id() {
        let ids = ids(&["01M8FCR3AAAAAAAAAAAABCDEFG", "01M8FCR3AAAAAAAAAAAAHJKMNP"]);
        assert_eq!(near(&ids, "hjkmxp").as_deref(), Some("HJKMNP"));
        assert_eq!(near(&ids, "nothing"), None);
    }
}
