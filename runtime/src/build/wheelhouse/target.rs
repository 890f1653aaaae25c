//! The Python and the C library for which packages are chosen, as the image that will install them shows them.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use samebundle_registry::store::{Source, SourceExt};
use samebundle_spec::limits;
use tokio_util::io::SyncIoBridge;

use super::WheelhouseError;
use crate::image::Image;
use crate::image::stream::TarStream;

/// The Python that is assumed if an image shows none: the SDK's own default image has it.
const FALLBACK: &str = "3.11";
/// The glibc that is assumed if an image shows none: today's common wheels ask for no newer one, and images since 2019
/// have it.
const GLIBC_MINOR: u32 = 28;
/// The newest glibc for which wheels are searched.
const GLIBC_NEWEST: u32 = 41;

/// The target for which wheels are chosen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    /// Python's version: `3.11`, or `3.11.9` if the image says so.
    pub(super) python: String,
    /// The machine: `x86_64`, `aarch64`.
    pub(super) machine: String,
    pub(super) libc: Libc,
}

/// The C library of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Libc {
    /// glibc 2.N.
    Gnu(u32),
    /// musl 1.2 or older.
    Musl,
}

impl Target {
    /// Platform tags (PEP 600, 656) of wheels that the image can use, best first.
    pub(super) fn platforms(&self) -> Vec<String> {
        let machine = &self.machine;
        match self.libc {
            Libc::Musl => [2, 1]
                .map(|minor| format!("musllinux_1_{minor}_{machine}"))
                .to_vec(),
            Libc::Gnu(minor) => {
                let mut tags: Vec<_> = (17..=minor)
                    .rev()
                    .map(|n| format!("manylinux_2_{n}_{machine}"))
                    .collect();
                tags.push(format!("manylinux2014_{machine}"));
                if machine == "x86_64" {
                    tags.extend(
                        ["manylinux_2_12", "manylinux2010", "manylinux_2_5", "manylinux1"]
                            .map(|tag| format!("{tag}_{machine}")),
                    );
                }
                tags.push(format!("linux_{machine}"));
                tags
            }
        }
    }

    /// Returns the first two numbers of Python's version.
    pub(super) fn python_minor(&self) -> String {
        self.python.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
    }
}

/// What the names of files in an image's layers show.
#[derive(Debug, Default, PartialEq, Eq)]
struct ImageEvidence {
    pythons: BTreeSet<(bool, u32)>,
    glibc: Option<u32>,
    musl: bool,
}

impl ImageEvidence {
    /// Takes one path of a layer, without a leading `/` or `./`.
    fn see(&mut self, path: &str) {
        let file = path.rsplit('/').next().unwrap_or_default();
        if let Some(minor) = file.strip_prefix("python3.").and_then(|minor| minor.parse().ok())
            && let Some(folder) = path.strip_suffix(&format!("/{file}"))
            && ["usr/bin", "usr/local/bin", "bin"].contains(&folder)
        {
            // A program in /usr/local is found first on PATH.
            self.pythons.insert((folder == "usr/local/bin", minor));
        }
        if let Some(minor) = file
            .strip_prefix("libc-2.")
            .and_then(|rest| rest.strip_suffix(".so")?.parse().ok())
        {
            self.glibc = Some(minor);
        }
        self.musl |= file.starts_with("ld-musl-");
    }

    fn libc(&self) -> Libc {
        match (self.musl, self.glibc) {
            (true, None) => Libc::Musl,
            // Since 2.34 the file's name holds no version any more.
            (_, minor) => Libc::Gnu(minor.unwrap_or(GLIBC_MINOR).min(GLIBC_NEWEST)),
        }
    }
}

/// Finds out which target an image's packages must fit. It reads the names in every layer once and keeps nothing of a
/// layer.
pub(super) async fn detect(
    name: &str,
    image: &Image,
    store: &Arc<dyn Source>,
) -> Result<Target, WheelhouseError> {
    let unreadable = |why: String| WheelhouseError::Image {
        image: name.to_owned(),
        why,
    };
    let mut found = ImageEvidence::default();
    for layer in &image.layers {
        let stream = store
            .fetch(&layer.blob)
            .await
            .map_err(|error| unreadable(error.to_string()))?;
        let blob = layer.blob.clone();
        let bridge = SyncIoBridge::new(stream);
        let listed = tokio::task::spawn_blocking(move || list(&blob, bridge, found));
        found = listed
            .await
            .map_err(|error| unreadable(error.to_string()))?
            .map_err(|error| unreadable(error.to_string()))?;
    }
    let said = image
        .config
        .config
        .env
        .iter()
        .find_map(|entry| entry.strip_prefix("PYTHON_VERSION="));
    let shown = found.pythons.last().map(|(_, minor)| format!("3.{minor}"));
    let python = said.filter(|text| is_version(text)).map(str::to_owned).or(shown);
    Ok(Target {
        python: python.unwrap_or_else(|| FALLBACK.to_owned()),
        machine: std::env::consts::ARCH.to_owned(),
        libc: found.libc(),
    })
}

fn is_version(text: &str) -> bool {
    let mut numbers = text.split('.');
    text.starts_with("3.")
        && text.len() < 12
        && numbers.all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

fn list(
    blob: &samebundle_spec::Descriptor,
    bytes: impl Read,
    mut found: ImageEvidence,
) -> std::io::Result<ImageEvidence> {
    let stream = TarStream::new(blob, None, bytes)?;
    let allowance = stream.allowance();
    let mut archive = tar::Archive::new(stream);
    allowance.headers();
    for (count, entry) in archive.entries()?.enumerate() {
        if count >= limits::LAYER_ENTRIES {
            return Err(std::io::Error::other("the layer has too many entries"));
        }
        allowance.content();
        let path = entry?.path_bytes().into_owned();
        let path = String::from_utf8_lossy(&path).into_owned();
        found.see(path.trim_start_matches("./").trim_start_matches('/'));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(paths: &[&str]) -> ImageEvidence {
        let mut found = ImageEvidence::default();
        paths.iter().for_each(|path| found.see(path));
        found
    }

    #[test]
    fn tells_python_and_libc_by_names() {
        let debian = found(&[
            "usr/bin/python3.11",
            "usr/bin/python3",
            "usr/lib/python3.11/os.py",
            "lib/x/libc.so.6",
        ]);
        assert_eq!(debian.pythons.last(), Some(&(false, 11)));
        assert_eq!(debian.libc(), Libc::Gnu(GLIBC_MINOR));
        // The official images have their own Python over Debian's.
        let official = found(&["usr/bin/python3.13", "usr/local/bin/python3.9"]);
        assert_eq!(official.pythons.last(), Some(&(true, 9)));
        assert_eq!(found(&["lib64/libc-2.17.so"]).libc(), Libc::Gnu(17));
        assert_eq!(found(&["lib/ld-musl-x86_64.so.1"]).libc(), Libc::Musl);
        assert_eq!(
            found(&["usr/share/python3.12", "usr/bin/python3.12-config"])
                .pythons
                .last(),
            None
        );
    }

    #[test]
    fn platforms_are_what_the_image_can_use() {
        let target = |libc| Target {
            python: "3.11.4".into(),
            machine: "x86_64".into(),
            libc,
        };
        let tags = target(Libc::Gnu(19)).platforms();
        assert_eq!(
            &tags[..3],
            [
                "manylinux_2_19_x86_64",
                "manylinux_2_18_x86_64",
                "manylinux_2_17_x86_64"
            ]
        );
        assert!(
            tags.contains(&"manylinux2014_x86_64".to_owned()) && !tags.iter().any(|tag| tag.contains("2_28"))
        );
        assert_eq!(target(Libc::Musl).platforms()[0], "musllinux_1_2_x86_64");
        assert_eq!(target(Libc::Musl).python_minor(), "3.11");
        assert!(is_version("3.12") && is_version("3.11.4") && !is_version("3.x") && !is_version("2.7"));
    }
}
