//! Tells what a file is that is not an archive of a known format, and how it can be made into one.
//!
//! It is used only when reading has failed, and changes only the message: nothing of such a file is used.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use samebundle_spec::limits;

use crate::archive::tar_entries::Input;
use crate::store::StoreError;

/// How files of other compressions begin, what they are, and how they are turned into a tar archive.
const MAGIC: [(&[u8], &str, &str); 7] = [
    (
        b"\x28\xb5\x2f\xfd",
        "compressed with zstd",
        "decompress it first: zstd -d",
    ),
    (b"\xfd7zXZ\0", "compressed with xz", "decompress it first: xz -d"),
    (b"BZh", "compressed with bzip2", "decompress it first: bzip2 -d"),
    (
        b"\x04\x22\x4d\x18",
        "compressed with lz4",
        "decompress it first: lz4 -d",
    ),
    (b"LZIP", "compressed with lzip", "decompress it first: lzip -d"),
    (
        b"PK\x03\x04",
        "a zip archive",
        "unpack it, and pack what is in it with tar",
    ),
    (
        b"7z\xbc\xaf\x27\x1c",
        "a 7-Zip archive",
        "unpack it, and pack what is in it with tar",
    ),
];

/// How an unpacked image layout is turned into a readable archive.
pub(super) const PACK: &str = "pack the folder again: tar -cf FILE.tar -C FOLDER oci-layout index.json blobs";

/// Recognises a file that was refused, if it is sound and of another format.
pub(super) fn explain(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Invalid { .. } | StoreError::OtherForm { .. } => match recognise(path) {
            Some((what, remedy)) => StoreError::OtherForm {
                path: path.to_owned(),
                what,
                remedy,
            },
            None => error,
        },
        error => error,
    }
}

fn recognise(path: &Path) -> Option<(String, String)> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(8).read_to_end(&mut start).ok()?;
    if start.is_empty() {
        return Some(("empty".to_owned(), "make it again".to_owned()));
    }
    if let Some((_, what, remedy)) = MAGIC.iter().find(|(magic, ..)| start.starts_with(magic)) {
        return Some(((*what).to_owned(), (*remedy).to_owned()));
    }
    let Some(names) = names(path) else {
        let remedy = "give a file that `export` or `copy` wrote";
        return is_text(path)?.then(|| ("text".to_owned(), remedy.to_owned()));
    };
    let has = |name: &str| names.contains(name);
    if has("oci-layout") || has("bundle.json") {
        return None;
    }
    if has("manifest.json") {
        let what = "an image in the form of docker save, without an OCI image layout";
        let remedy =
            "make an OCI archive of it: skopeo copy docker-archive:FILE.tar oci-archive:OTHER.tar:TAG";
        return Some((what.to_owned(), remedy.to_owned()));
    }
    let folder_of = |file: &str| names.iter().find_map(|name| name.strip_suffix(file));
    if let Some(folder) = folder_of("/bundle.json") {
        let what = format!("a CNAB bundle in the folder {folder:?}");
        return Some((
            what,
            format!("pack what is in it: tar -czf FILE.tgz -C {folder} ."),
        ));
    }
    let folder = folder_of("/oci-layout")?;
    let what = format!("an OCI image layout in the folder {folder:?}");
    Some((what, PACK.replace("FOLDER", folder)))
}

/// Tells whether a file is text, plain or inside gzip. The header of a tar archive, damaged or not, has zeros between its
/// fields, and text has none.
fn is_text(path: &Path) -> Option<bool> {
    let mut start = Vec::new();
    let input = Input::new(File::open(path).ok()?).ok()?;
    input.take(512).read_to_end(&mut start).ok()?;
    let text = std::str::from_utf8(&start);
    // The last character may be cut.
    let is_text = text.map_or_else(|error| error.error_len().is_none(), |_| true);
    Some(is_text && !start.contains(&0))
}

/// The names of the first entries of a tar archive, as a lenient reader sees them; none if it is not even that.
fn names(path: &Path) -> Option<BTreeSet<String>> {
    let mut archive = tar::Archive::new(Input::new(File::open(path).ok()?).ok()?);
    let mut names = BTreeSet::new();
    for entry in archive.entries().ok()?.take(limits::ARCHIVE_ENTRIES) {
        let name = String::from_utf8(entry.ok()?.path_bytes().into_owned()).ok()?;
        names.insert(name.strip_prefix("./").unwrap_or(&name).to_owned());
    }
    Some(names)
}

/// Tells whether a file is a CNAB thick bundle: its `bundle.json` is at its top.
pub(super) fn is_thick(path: &Path) -> bool {
    names(path).is_some_and(|names| names.contains("bundle.json") && !names.contains("oci-layout"))
}
