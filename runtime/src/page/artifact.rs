//! The artifacts of a run: what is said of each, and its content where a browser can show it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use samebundle_spec::record::ArtifactRecord;
use samebundle_spec::{Digest, limits};
use serde_json::Value;

use super::{charts, sandbox, text};
use crate::results::{FileKind, Table};

/// Most bytes and lines of text that is not folded.
const SHORT: (usize, usize) = (1_000, 12);

/// What a page has of one artifact.
pub(super) enum Content {
    /// Its file, as a browser shows it.
    Shown(Markup),
    /// A line of a table is enough; with why its file is not shown, where there is a reason.
    Line(Option<String>),
}

/// Reads one artifact, whose file may have `room` bytes. `name` names it in what is read aloud.
pub(super) fn content(name: &str, artifact: &ArtifactRecord, folder: &Path, room: u64) -> Content {
    let Some(path) = &artifact.path else {
        return Content::Line(None);
    };
    let Some(file) = beneath(folder, path) else {
        return Content::Line(Some(
            "not here: it was removed, or it stayed where the run was".to_owned(),
        ));
    };
    let content = FileKind::of(artifact, &file).and_then(|kind| shown(name, artifact, &file, &kind, room));
    content.unwrap_or_else(|error| Content::Line(Some(format!("cannot be shown: {error}"))))
}

fn shown(
    name: &str,
    artifact: &ArtifactRecord,
    file: &Path,
    kind: &FileKind,
    room: u64,
) -> io::Result<Content> {
    if matches!(kind, FileKind::Folder | FileKind::Binary) {
        return Ok(Content::Line(None));
    }
    let bytes = match (read(artifact, file, room)?, kind) {
        (Read::Whole(bytes), _) => bytes,
        // The first rows are read alone.
        (Read::TooLarge, FileKind::Table { .. }) => Vec::new(),
        (Read::TooLarge, _) => return Ok(Content::Line(Some("too large for this page".to_owned()))),
        (Read::Changed, _) => {
            let why = "not shown: it was changed after the run, and has another digest now";
            return Ok(Content::Line(Some(why.to_owned())));
        }
    };
    let text = || String::from_utf8_lossy(&bytes);
    Ok(Content::Shown(match kind {
        FileKind::Html => sandbox::html_frame(name, &text()),
        FileKind::Markdown => sandbox::markdown_frame(name, &text()),
        FileKind::Image { media_type, .. } => image(name, media_type, &bytes),
        FileKind::Table { separator } => table(name, file, *separator)?,
        _ => plain(&text()),
    }))
}

/// The type, size and digest of an artifact.
pub(super) fn line(artifact: &ArtifactRecord) -> Markup {
    html! {
        (artifact.artifact_type)
        @if let Some(digest) = &artifact.digest {
            ", " (text::bytes(artifact.size)) ", " code title=(digest) { (digest.short()) }
        } @else { ", only metadata" }
    }
}

/// What the component said of an artifact, without what charts and numbers show.
pub(super) fn metadata(artifact: &ArtifactRecord) -> Markup {
    let fields: Vec<(&String, &Value)> = artifact.remarks().collect();
    html! {
        @if !fields.is_empty() {
            dl.facts.small {
                @for (name, value) in fields.iter().take(limits::PAGE_TABLE_ROWS) {
                    dt { (text::cut(name)) } dd { (text::value(value)) }
                }
            }
            (charts::more(fields.len(), limits::PAGE_TABLE_ROWS, "fields"))
        }
    }
}

/// The place of a file below a folder; none if it is not there, or if the path leads out of the folder or over a link: the
/// record of an imported run is a stranger's.
fn beneath(folder: &Path, path: &str) -> Option<PathBuf> {
    let mut place = folder.to_owned();
    for part in Path::new(path).components() {
        let Component::Normal(part) = part else {
            return None;
        };
        place.push(part);
        let metadata = place.symlink_metadata().ok()?;
        if metadata.is_symlink() {
            return None;
        }
    }
    Some(place)
}

enum Read {
    Whole(Vec<u8>),
    TooLarge,
    Changed,
}

/// Reads a file that is small enough and still is what the record says.
fn read(artifact: &ArtifactRecord, file: &Path, room: u64) -> io::Result<Read> {
    let room = room.min(limits::PAGE_FILE_BYTES);
    let mut bytes = Vec::new();
    File::open(file)?.take(room + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > room {
        return Ok(Read::TooLarge);
    }
    let same = match &artifact.digest {
        Some(recorded) => Digest::of_reader(recorded.algorithm(), bytes.as_slice())?.0 == *recorded,
        None => true,
    };
    Ok(if same { Read::Whole(bytes) } else { Read::Changed })
}

fn image(name: &str, media_type: &str, bytes: &[u8]) -> Markup {
    let source = format!("data:{media_type};base64,{}", STANDARD.encode(bytes));
    html! { figure { img src=(source) alt=(name); } }
}

/// Text as it is; more than a few lines are folded.
fn plain(content: &str) -> Markup {
    let short = content.len() <= SHORT.0 && content.lines().count() <= SHORT.1;
    html! {
        @if short { pre tabindex="0" { (text::cut(content)) } } @else {
            details { summary.small { "Its text" } pre tabindex="0" { (text::cut(content)) } }
        }
    }
}

fn table(name: &str, file: &Path, separator: u8) -> io::Result<Markup> {
    let table = Table::read(file, separator, limits::PAGE_TABLE_ROWS, limits::PAGE_TABLE_BYTES)?;
    let is_number = |cell: &String| cell.is_empty() || cell.parse::<f64>().is_ok();
    // A first row of numbers names no columns.
    let headed = !table.header.iter().all(is_number);
    let (header, first) = if headed {
        (Some(&table.header), None)
    } else {
        (None, Some(&table.header))
    };
    let rows: Vec<&Vec<String>> = first.into_iter().chain(&table.rows).collect();
    let columns = table.header.len().min(limits::PAGE_TABLE_COLUMNS);
    let numbers: Vec<bool> = (0..columns)
        .map(|column| rows.iter().all(|row| is_number(&row[column])))
        .collect();
    let class = |column: usize| if numbers[column] { "n" } else { "long" };
    Ok(html! {
        div.scroll.data tabindex="0" role="region" aria-label=(name) {
            table {
                @if let Some(header) = header {
                    thead { tr { @for (column, cell) in header[..columns].iter().enumerate() {
                        th.n[numbers[column]] scope="col" { (text::cut(cell)) }
                    } } }
                }
                tbody { @for row in &rows {
                    tr { @for (column, cell) in row[..columns].iter().enumerate() { td class=(class(column)) { (text::cut(cell)) } } }
                } }
            }
        }
        @if table.cut { p.muted.small { "The first " (rows.len()) " rows; the file has more." } }
        (charts::more(table.header.len(), columns, "columns"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(artifact_type: &str, path: &str, content: &[u8]) -> ArtifactRecord {
        ArtifactRecord {
            artifact_type: artifact_type.to_owned(),
            digest: Some(Digest::sha256(content)),
            folder: false,
            size: content.len() as u64,
            path: Some(path.to_owned()),
            uri: None,
            metadata: [("by".to_owned(), Value::from("<i>"))].into(),
        }
    }

    fn said(name: &str, artifact: &ArtifactRecord, folder: &Path) -> String {
        let content = match content(name, artifact, folder, u64::MAX) {
            Content::Shown(shown) => shown.into_string(),
            Content::Line(why) => why.unwrap_or_default(),
        };
        format!(
            "{}{}{content}",
            line(artifact).into_string(),
            metadata(artifact).into_string()
        )
    }

    #[test]
    fn each_kind_of_file_is_shown_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let cases: [(&str, &[u8], &str); 8] = [
            ("system.HTML", b"<p>page</p>", "srcdoc="),
            ("system.Markdown", b"# Title", "&lt;h1&gt;Title"),
            (
                "system.Artifact",
                b"a,b\n1,<x>\n2,y\n",
                "<td class=\"n\">1</td><td class=\"long\">&lt;x&gt;",
            ),
            (
                "system.Artifact",
                b"\x89PNG\r\n\x1a\n1234",
                "<img src=\"data:image/png;base64,",
            ),
            ("system.Artifact", b"{\"a\": \"<b>\"}", "&lt;b&gt;"),
            (
                "system.Dataset",
                b"1,2\n3,4\n",
                "<table><tbody><tr><td class=\"n\">1</td>",
            ),
            ("system.Model", b"\x80\x04\x95", "3 B"),
            (
                "system.Artifact",
                b"<svg xmlns='http://www.w3.org/2000/svg'/>",
                "data:image/svg+xml;base64,",
            ),
        ];
        for (artifact_type, content, shown) in cases {
            std::fs::write(folder.path().join("file"), content).unwrap();
            let page = said("name", &artifact(artifact_type, "file", content), folder.path());
            assert!(page.contains(shown) && page.contains("&lt;i&gt;"), "{page}");
        }
    }

    #[test]
    fn a_file_that_is_not_the_runs_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        std::fs::create_dir(&run).unwrap();
        std::fs::write(folder.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink("../secret", run.join("link")).unwrap();
        std::os::unix::fs::symlink("..", run.join("folder")).unwrap();
        let absolute = folder.path().join("secret").display().to_string();
        for path in ["../secret", "link", "folder/secret", &absolute, "nothing"] {
            let page = said("name", &artifact("system.Artifact", path, b"secret"), &run);
            assert!(
                page.contains("not here") && !page.contains("<pre"),
                "{path}: {page}"
            );
        }
        std::fs::write(run.join("own"), "other").unwrap();
        let page = said("name", &artifact("system.Artifact", "own", b"secret"), &run);
        assert!(page.contains("changed after the run"), "{page}");
        std::fs::write(run.join("own"), vec![b'a'; limits::PAGE_FILE_BYTES as usize + 1]).unwrap();
        let page = said("name", &artifact("system.HTML", "own", b"secret"), &run);
        assert!(page.contains("too large"), "{page}");
    }
}
