//! The files that a run left, as a person opens them: what kind of file each is, and small tables read from it.
//!
//! An artifact's file has no ending: Kubeflow names it by the artifact. Its kind follows from the artifact's type, where
//! that says it, and from the first bytes. What was measured is in the record ([`samebundle_spec::record::Metrics`]).

mod table;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use samebundle_spec::record::ArtifactRecord;

pub use table::Table;

/// How much of a file is looked at to tell its kind, bytes.
const SAMPLE: u64 = 64 << 10;

/// What kind of file an artifact is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A folder.
    Folder,
    /// A page of HTML.
    Html,
    /// Markdown.
    Markdown,
    /// A picture that browsers show.
    Image {
        /// Its media type.
        media_type: &'static str,
        /// The ending of its name.
        ending: &'static str,
    },
    /// Rows of cells.
    Table {
        /// What stands between two cells.
        separator: u8,
    },
    /// One JSON document.
    Json,
    /// Other text.
    Text,
    /// A document, a sound or a film.
    Media {
        /// The ending of its name.
        ending: &'static str,
    },
    /// Any other bytes, such as a model.
    Binary,
}

impl FileKind {
    /// Tells the kind of an artifact's file. The file is not followed if it is a link.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(artifact: &ArtifactRecord, file: &Path) -> io::Result<Self> {
        let metadata = file.symlink_metadata()?;
        if metadata.is_dir() {
            return Ok(Self::Folder);
        }
        if !metadata.is_file() {
            return Ok(Self::Binary);
        }
        match artifact.artifact_type.as_str() {
            "system.HTML" => return Ok(Self::Html),
            "system.Markdown" => return Ok(Self::Markdown),
            _ => {}
        }
        let mut sample = Vec::new();
        File::open(file)?.take(SAMPLE).read_to_end(&mut sample)?;
        Ok(Self::of_bytes(&sample, metadata.len() > SAMPLE))
    }

    /// Tells the kind from the first bytes of a file; `cut` says whether there are more.
    fn of_bytes(sample: &[u8], cut: bool) -> Self {
        match known(sample) {
            Some(kind) => kind,
            None => Self::of_text(sample, cut),
        }
    }

    /// Tells the kind of a file whose first bytes are not those of a known one.
    fn of_text(sample: &[u8], cut: bool) -> Self {
        let text = match std::str::from_utf8(sample) {
            Ok(text) => text,
            // The sample may end within a character.
            Err(error) if cut && error.error_len().is_none() => {
                std::str::from_utf8(&sample[..error.valid_up_to()]).unwrap_or_default()
            }
            Err(_) => return Self::Binary,
        };
        if text
            .chars()
            .any(|c| c.is_control() && !"\n\r\t\u{c}\u{1b}".contains(c))
        {
            return Self::Binary;
        }
        if is_svg(sample) {
            return SVG;
        }
        if begins_json(text) && (cut || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()) {
            return Self::Json;
        }
        match [b',', b'\t', b';']
            .into_iter()
            .find(|separator| table::fits(text, cut, *separator))
        {
            Some(separator) => Self::Table { separator },
            None => Self::Text,
        }
    }

    /// The ending that a name needs so that a person's programs open such a file; none where they need none.
    pub fn ending(&self) -> Option<&'static str> {
        match self {
            Self::Folder | Self::Text | Self::Binary => None,
            Self::Html => Some("html"),
            Self::Markdown => Some("md"),
            Self::Image { ending, .. } | Self::Media { ending } => Some(ending),
            Self::Table { separator: b'\t' } => Some("tsv"),
            Self::Table { .. } => Some("csv"),
            Self::Json => Some("json"),
        }
    }
}

/// The kind of a file that its first bytes name.
fn known(sample: &[u8]) -> Option<FileKind> {
    let known = infer::get(sample)?;
    Some(match (known.mime_type(), known.extension()) {
        ("text/html", _) => FileKind::Html,
        (media_type @ ("image/png" | "image/jpeg" | "image/gif" | "image/webp"), ending) => {
            FileKind::Image { media_type, ending }
        }
        ("text/xml", _) if is_svg(sample) => SVG,
        (text, _) if text.starts_with("text/") => FileKind::Text,
        (media, ending)
            if media == "application/pdf" || media.starts_with("audio/") || media.starts_with("video/") =>
        {
            FileKind::Media { ending }
        }
        // Programs that wrote a model, an archive or a table of columns know it by its bytes.
        _ => FileKind::Binary,
    })
}

const SVG: FileKind = FileKind::Image {
    media_type: "image/svg+xml",
    ending: "svg",
};

fn is_svg(sample: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&sample[..sample.len().min(1024)]);
    let text = text.trim_start();
    text.starts_with("<svg") || (text.starts_with("<?xml") && text.contains("<svg"))
}

fn begins_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}
