//! Which symbolic links of an output are kept: those that lead to a place inside of it, whether or not anything is there.
//!
//! A link is followed in the listing of the output and not on disk, name by name as the kernel does it, so that nothing
//! outside is ever looked at.

use std::collections::BTreeMap;

use samebundle_spec::limits;

/// Why a link is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkFault {
    /// It leads to a place outside.
    #[error("leads out of the output")]
    Leaves,
    /// It leads to itself.
    #[error("leads in a circle")]
    Circle,
    /// Following all links takes too many steps.
    #[error("belongs to an output with too many long links")]
    TooLong,
}

/// The links of one output: what each of them says, by its path below the output.
#[derive(Debug, Default)]
pub(super) struct Links(BTreeMap<Vec<u8>, Vec<u8>>);

impl Links {
    pub(super) fn add(&mut self, path: Vec<u8>, text: Vec<u8>) {
        self.0.insert(path, text);
    }

    /// Follows all links. The first that is not kept is returned with what it says.
    pub(super) fn check(&self) -> Result<(), (&[u8], &[u8], LinkFault)> {
        let mut steps = 0;
        for (path, text) in &self.0 {
            let checked = self.follow(path, &mut steps);
            checked.map_err(|fault| (path.as_slice(), text.as_slice(), fault))?;
        }
        Ok(())
    }

    fn follow(&self, path: &[u8], steps: &mut usize) -> Result<(), LinkFault> {
        let mut hops = 0;
        let mut at: Vec<&[u8]> = Vec::new();
        let mut rest: Vec<&[u8]> = names(path).rev().collect();
        while let Some(name) = rest.pop() {
            *steps += 1;
            if *steps > limits::OUTPUT_LINK_STEPS {
                return Err(LinkFault::TooLong);
            }
            if name == b".." {
                at.pop().ok_or(LinkFault::Leaves)?;
                continue;
            }
            at.push(name);
            let Some(text) = self.0.get(&at.join(&b'/')) else {
                continue;
            };
            at.pop();
            hops += 1;
            if hops > limits::OUTPUT_LINK_HOPS {
                return Err(LinkFault::Circle);
            }
            if text.starts_with(b"/") {
                return Err(LinkFault::Leaves);
            }
            rest.extend(names(text).rev());
        }
        Ok(())
    }
}

fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let all = path.split(|byte| *byte == b'/');
    all.filter(|name| !name.is_empty() && *name != b".")
}

/// Returns the relative form of an absolute link to a place at or below `top`, where the output is in the container;
/// none for any other link. `path` is the link's own path below the output.
pub(crate) fn relative(path: &[u8], text: &[u8], top: &[u8]) -> Option<Vec<u8>> {
    let below = text.strip_prefix(top)?;
    if !below.is_empty() && !below.starts_with(b"/") {
        return None;
    }
    let up = names(path).count().saturating_sub(1);
    let mut parts: Vec<&[u8]> = vec![b".."; up];
    parts.extend(names(below));
    match parts.is_empty() {
        true => Some(b".".to_vec()),
        false => Some(parts.join(&b'/')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(links: &[(&str, &str)]) -> Option<(String, LinkFault)> {
        let mut all = Links::default();
        for (path, text) in links {
            all.add(path.as_bytes().to_vec(), text.as_bytes().to_vec());
        }
        let checked = all.check().map_err(|(path, _, fault)| {
            let path = String::from_utf8(path.to_vec()).unwrap();
            (path, fault)
        });
        checked.err()
    }

    #[test]
    fn links_that_stay_inside_are_kept() {
        for links in [
            &[("latest", "model-v1.bin")][..],
            &[("a/b/up", "../../x"), ("a/b/top", "../.."), ("a/self", ".")],
            &[("a/b/c", "./../d//e/."), ("nothing", "not/there/../yet")],
            &[("one", "two"), ("two", "a/three"), ("a/three", "../file")],
            &[("snap", "blobs/one"), ("file", "snap/../two")],
        ] {
            assert_eq!(checked(links), None, "{links:?}");
        }
    }

    #[test]
    fn links_that_leave_or_lead_nowhere_are_not() {
        for (links, path, fault) in [
            (&[("a", "..")][..], "a", LinkFault::Leaves),
            (&[("a/b", "../../x")], "a/b", LinkFault::Leaves),
            (&[("a", "/etc/passwd")], "a", LinkFault::Leaves),
            // As text it stays inside, but `here` leads to the top.
            (&[("here", "."), ("x", "here/..")], "x", LinkFault::Leaves),
            (&[("d/here", ".."), ("x", "d/here/../y")], "x", LinkFault::Leaves),
            (&[("a", "b"), ("b", "a")], "a", LinkFault::Circle),
        ] {
            assert_eq!(checked(links), Some((path.to_owned(), fault)), "{links:?}");
        }
    }

    #[test]
    fn absolute_links_into_the_output_have_a_relative_form() {
        let form = |path: &str, text: &str| {
            let form = relative(path.as_bytes(), text.as_bytes(), b"/out/m");
            form.map(|form| String::from_utf8(form).unwrap())
        };
        assert_eq!(form("latest", "/out/m/ckpt/1").as_deref(), Some("ckpt/1"));
        assert_eq!(form("a/b/latest", "/out/m/ckpt").as_deref(), Some("../../ckpt"));
        assert_eq!(form("top", "/out/m/").as_deref(), Some("."));
        assert_eq!(form("out", "/out/m/../x").as_deref(), Some("../x"));
        assert_eq!(form("a", "/out/model"), None);
        assert_eq!(form("a", "b"), None);
    }
}
