//! Lists the packages that are installed in an image, by the files of Debian's package manager: `var/lib/dpkg/status`,
//! or the files of `status.d` in images without it. Layers are read in order; a later layer replaces or removes files
//! of an earlier one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::Arc;

use samebundle_registry::store::{Source, SourceExt};
use samebundle_spec::{Descriptor, limits};
use tokio_util::io::SyncIoBridge;

use super::error::{BuildError, ImageError};
use crate::image::Image;
use crate::image::stream::TarStream;

const FOLDER: &str = "var/lib/dpkg/";

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
}

/// The packages of an image and their distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    /// The `ID` of os-release; `debian` if the image has none.
    pub(super) distribution: String,
    pub(super) packages: BTreeSet<Package>,
}

/// The files that list packages, by path.
type Files = BTreeMap<String, String>;

/// Reads every layer of an image once and keeps only the lists.
pub(super) async fn installed(
    name: &str,
    image: &Image,
    store: &Arc<dyn Source>,
) -> Result<Installed, BuildError> {
    let unreadable = |why: String| {
        BuildError::from(ImageError::Packages {
            image: name.to_owned(),
            why,
        })
    };
    let mut files = Files::new();
    for layer in &image.layers {
        let stream = store.fetch(&layer.blob).await?;
        let (blob, bridge) = (layer.blob.clone(), SyncIoBridge::new(stream));
        let read = tokio::task::spawn_blocking(move || read_layer(&blob, bridge, files));
        files = read
            .await
            .map_err(|error| unreadable(error.to_string()))?
            .map_err(|error| unreadable(error.to_string()))?;
    }
    let packages = files
        .iter()
        .filter(|(path, _)| path.starts_with(FOLDER))
        .flat_map(|(_, text)| text.split("\n\n").filter_map(package))
        .collect();
    let release = ["etc/os-release", "usr/lib/os-release"].map(|path| files.get(path));
    let distribution = release.into_iter().flatten().find_map(|text| distribution(text));
    Ok(Installed {
        distribution: distribution.unwrap_or_else(|| "debian".to_owned()),
        packages,
    })
}

fn read_layer(blob: &Descriptor, bytes: impl Read, mut files: Files) -> io::Result<Files> {
    let stream = TarStream::new(blob, None, bytes)?;
    let allowance = stream.allowance();
    let mut archive = tar::Archive::new(stream);
    allowance.headers();
    // A layer removes files of the layers below, wherever in the layer the mark is.
    let mut new = Files::new();
    for (count, entry) in archive.entries()?.enumerate() {
        if count >= limits::LAYER_ENTRIES {
            return Err(io::Error::other("the layer has too many entries"));
        }
        allowance.content();
        let entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = path.trim_start_matches("./").trim_start_matches('/');
        files.retain(|known, _| !removes(path, known));
        if !is_list(path) {
            continue;
        }
        if !entry.header().entry_type().is_file() {
            // It is a link, or a folder in place of the file.
            files.remove(path);
            continue;
        }
        let mut text = Vec::new();
        entry
            .take(limits::PACKAGE_LIST_BYTES + 1)
            .read_to_end(&mut text)?;
        if text.len() as u64 > limits::PACKAGE_LIST_BYTES || new.len() > limits::SBOM_PACKAGES {
            return Err(io::Error::other(format!("{path} is too large")));
        }
        new.insert(path.to_owned(), String::from_utf8_lossy(&text).into_owned());
    }
    files.append(&mut new);
    Ok(files)
}

fn is_list(path: &str) -> bool {
    let one = path.strip_prefix("var/lib/dpkg/status.d/");
    let one = one.is_some_and(|file| !file.is_empty() && !file.contains('/') && !file.ends_with(".md5sums"));
    one || ["var/lib/dpkg/status", "etc/os-release", "usr/lib/os-release"].contains(&path)
}

/// Tells whether the entry `mark` of a layer removes the file `known` of the layers below.
fn removes(mark: &str, known: &str) -> bool {
    let (folder, file) = mark.rsplit_once('/').unwrap_or(("", mark));
    let Some(removed) = file.strip_prefix(".wh.") else {
        return false;
    };
    let below = |folder: &str| {
        folder.is_empty()
            || known
                .strip_prefix(folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match removed {
        ".wh..opq" => below(folder),
        name if folder.is_empty() => below(name),
        name => below(&format!("{folder}/{name}")),
    }
}

/// Reads one paragraph; none if its package is not, or not completely, installed.
fn package(paragraph: &str) -> Option<Package> {
    let field = |name: &str| {
        let mut lines = paragraph.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.trim().to_owned())
    };
    let installed = field("Status").is_none_or(|status| status.ends_with(" installed"));
    Some(Package {
        name: field("Package").filter(|_| installed)?,
        version: field("Version")?,
        architecture: field("Architecture").unwrap_or_else(|| "all".to_owned()),
    })
}

fn distribution(release: &str) -> Option<String> {
    let id = release.lines().find_map(|line| line.strip_prefix("ID="))?;
    let id = id.trim().trim_matches(['"', '\'']);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    (!id.is_empty() && id.chars().all(plain)).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use samebundle_spec::MediaType;

    use super::*;

    fn layer(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn after(layers: &[&[(&str, &str)]]) -> Vec<String> {
        let mut files = Files::new();
        for entries in layers {
            let bytes = layer(entries);
            let blob = Descriptor::of(MediaType::OCI_LAYER, &bytes);
            files = read_layer(&blob, bytes.as_slice(), files).unwrap();
        }
        files.into_keys().collect()
    }

    #[test]
    fn later_layers_replace_and_remove() {
        let status = ("var/lib/dpkg/status", "x");
        assert_eq!(after(&[&[status, ("etc/passwd", "")]]), ["var/lib/dpkg/status"]);
        for mark in [
            "var/lib/dpkg/.wh.status",
            "var/lib/.wh.dpkg",
            ".wh.var",
            "var/lib/dpkg/.wh..wh..opq",
            "var/.wh..wh..opq",
        ] {
            assert!(after(&[&[status], &[(mark, "")]]).is_empty(), "{mark}");
            // A file of the same layer stays.
            assert_eq!(after(&[&[status], &[status, (mark, "")]]).len(), 1, "{mark}");
        }
        for mark in ["var/lib/dpkg/.wh.stat", "var/lib/.wh.dpk", "usr/.wh..wh..opq"] {
            assert_eq!(after(&[&[status], &[(mark, "")]]).len(), 1, "{mark}");
        }
        let distroless = [
            ("./var/lib/dpkg/status.d/tzdata", "y"),
            ("var/lib/dpkg/status.d/tzdata.md5sums", ""),
        ];
        assert_eq!(after(&[&distroless]), ["var/lib/dpkg/status.d/tzdata"]);
    }

    #[test]
    fn only_installed_packages_count() {
        let text = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u7\n\
            Description: x\n Package: no";
        let found = package(text).unwrap();
        assert_eq!(
            (found.name.as_str(), found.version.as_str()),
            ("libc6", "2.36-9+deb12u7")
        );
        assert_eq!(found.architecture, "amd64");
        let removed = text.replace("install ok installed", "deinstall ok config-files");
        assert_eq!(package(&removed), None);
        assert_eq!(package(&text.replace("ok installed", "ok half-installed")), None);
        assert!(package("Package: tzdata\nVersion: 1").is_some());
        assert_eq!(package(""), None);
        assert_eq!(distribution("NAME=x\nID=ubuntu\n").as_deref(), Some("ubuntu"));
        assert_eq!(distribution("ID=\"debian\"").as_deref(), Some("debian"));
        assert_eq!(distribution("ID=../x"), None);
    }
}
