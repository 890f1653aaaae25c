//! Reads a tar archive of plain files and folders strictly: what could be read in two ways, or could harm, is refused.
//!
//! Everything about the archive is checked, also what is skipped: names (relative, portable, unlike each other), kinds
//! (no links, devices, sparse files, extended attributes, whiteouts), numbers, extension headers (one an entry, no
//! duplicates, agreeing with the header), padding (zero), the end (two zero blocks, then only zeros). The first fault ends
//! the reading; nothing is ever left out. Memory: the names, bounded by [`limits`].

mod extension;
mod gzip;
mod header;
mod names;
pub(crate) mod stored;

use std::io::{self, Read, Seek};

use samebundle_spec::name::NameError;
use samebundle_spec::{Classify, EntryPath, ErrorKind, limits};

pub use gzip::{Input, is_gzip};
pub(crate) use header::OCTAL_SIZE;

use extension::Extension;
use header::{BLOCK, Header, Kind};
use names::Names;

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A header field breaks the rules.
    #[error("the {field} of a header is {why}")]
    Header {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An entry that is neither a file nor a folder.
    #[error(
        "an entry of type {found:?}: only plain files and folders may be in it, no links, devices or special files"
    )]
    Kind {
        /// The type flag.
        found: char,
    },
    /// A name that is not accepted.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A name that is not UTF-8.
    #[error("a name that is not UTF-8: {shown}")]
    NotText {
        /// The name, escaped.
        shown: String,
    },
    /// A name that marks a deletion in image layers.
    #[error("{name:?} is a whiteout")]
    Whiteout {
        /// The name.
        name: String,
    },
    /// A name that occurs twice, or that some file system takes for one that occurred.
    #[error("a name that is there twice, or that some system takes for {other:?}")]
    Collision {
        /// The other name's component.
        other: String,
    },
    /// An extension header breaks the rules.
    #[error("an extension header has {why}")]
    Extension {
        /// What is wrong with it.
        why: &'static str,
    },
    /// More of something than the limit.
    #[error("more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The archive does not end as it should.
    #[error("{why}")]
    End {
        /// What is wrong.
        why: &'static str,
    },
    /// The gzip stream is damaged, goes on behind its end, or is a bomb.
    #[error("the compressed stream is not accepted: {why}")]
    Compression {
        /// What is wrong.
        why: String,
    },
}

impl Refusal {
    /// Tells whether the archive may be sound, and only has features that are not read here.
    pub fn is_other_form(&self) -> bool {
        match self {
            Self::Kind { .. } => true,
            Self::Header { why, .. } => [header::OTHER_MAGIC, header::OTHER_FORMAT].contains(why),
            Self::Extension { why } => *why == extension::OTHER_RECORD,
            _ => false,
        }
    }
}

/// An error of reading an archive.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The archive breaks the rules.
    #[error("refused at byte {offset}{}: {why}", entry.as_ref().map(|name| format!(" ({name})")).unwrap_or_default())]
    Refused {
        /// Where, in the archive without compression.
        offset: u64,
        /// The entry that is concerned or came before, escaped.
        entry: Option<String>,
        /// Why.
        why: Refusal,
    },
    /// It could not be read.
    #[error("could not be read at byte {offset}")]
    Io {
        /// Where, in the archive without compression.
        offset: u64,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl Classify for TarError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. } => ErrorKind::Input,
            Self::Io { .. } => ErrorKind::Environment,
        }
    }
}

/// What may be in an archive besides the rules that always hold.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Accept what other programs also write and what changes no content: names that start with `./` and an entry for
    /// the folder `./` itself, setgid folders, extended attributes.
    pub others: bool,
    /// Most entries.
    pub entries: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            others: false,
            entries: limits::ARCHIVE_ENTRIES,
        }
    }
}

/// An entry that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, safe as a path on every system.
    pub path: EntryPath,
    /// It is a folder and has no content.
    pub is_folder: bool,
    /// The owner may execute it. No other permission is reported: a file is 0644 or 0755, whatever the archive says.
    pub executable: bool,
    /// The length of its content, bytes.
    pub size: u64,
    /// Where its content starts in the archive without compression, bytes.
    pub offset: u64,
}

/// Reads entries one after another. As a [`Read`] it gives the content of the last one.
#[derive(Debug)]
pub struct Entries<R> {
    reader: R,
    rules: Rules,
    offset: u64,
    /// Content of the current entry that was not read yet.
    left: u64,
    /// Padding behind it.
    padding: usize,
    names: Names,
    count: usize,
    current: Option<String>,
    ended: bool,
}

impl<R: Read> Entries<R> {
    /// Starts at the beginning of an archive.
    pub fn new(reader: R, rules: Rules) -> Self {
        Self {
            reader,
            rules,
            offset: 0,
            left: 0,
            padding: 0,
            names: Names::default(),
            count: 0,
            current: None,
            ended: false,
        }
    }

    /// Moves to the next entry; `None` at the end of the archive, after the end was checked.
    ///
    /// # Errors
    /// [`TarError::Refused`] at the first thing that is against the rules, or the reader's own error.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip()?;
        let mut extension: Option<Extension> = None;
        while !self.ended {
            let Some(block) = self.header_block()? else {
                return match extension {
                    None => Ok(None),
                    Some(_) => Err(self.refuse(Refusal::Extension {
                        why: "no entry behind it",
                    })),
                };
            };
            let header = Header::parse(&block, self.rules.others).map_err(|why| self.refuse(why))?;
            if matches!(header.kind, Kind::File | Kind::Folder) {
                if let Some(entry) = self.entry(header, extension.take().unwrap_or_default())? {
                    return Ok(Some(entry));
                }
                continue;
            }
            if extension.is_some() {
                return Err(self.refuse(Refusal::Extension {
                    why: "another one before it",
                }));
            }
            extension = Some(self.extension(&header)?);
        }
        Ok(None)
    }

    /// Makes an entry of a header; `None` for the archive's own folder.
    fn entry(&mut self, header: Header, extension: Extension) -> Result<Option<Entry>, TarError> {
        self.count += 1;
        if self.count > self.rules.entries {
            return Err(self.refuse(Refusal::TooMuch {
                what: "entries",
                limit: self.rules.entries as u64,
            }));
        }
        let is_folder = header.kind == Kind::Folder;
        let size = size(&header, extension.size).map_err(|why| self.refuse(why))?;
        let path = extension.path.unwrap_or(header.path);
        self.current = Some(path.escape_ascii().to_string().chars().take(100).collect());
        let Some(path) = self.path(&path, is_folder).map_err(|why| self.refuse(why))? else {
            return Ok(None);
        };
        self.names.add(&path, is_folder).map_err(|why| self.refuse(why))?;
        self.left = size;
        self.padding = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
        Ok(Some(Entry {
            path,
            is_folder,
            executable: header.executable && !is_folder,
            size,
            offset: self.offset,
        }))
    }

    fn path(&self, bytes: &[u8], is_folder: bool) -> Result<Option<EntryPath>, Refusal> {
        let text = std::str::from_utf8(bytes).map_err(|_| Refusal::NotText {
            shown: bytes.escape_ascii().to_string().chars().take(100).collect(),
        })?;
        let mut text = text;
        if is_folder {
            text = text.strip_suffix('/').unwrap_or(text);
        }
        if self.rules.others {
            if is_folder && text == "." {
                return Ok(None);
            }
            text = text.strip_prefix("./").unwrap_or(text);
        }
        let path: EntryPath = text.parse()?;
        match text.split('/').find(|component| component.starts_with(".wh.")) {
            Some(name) => Err(Refusal::Whiteout {
                name: name.to_owned(),
            }),
            None => Ok(Some(path)),
        }
    }

    fn extension(&mut self, header: &Header) -> Result<Extension, TarError> {
        if header.size > limits::TAR_EXTENSION_BYTES {
            return Err(self.refuse(Refusal::TooMuch {
                what: "bytes of an extension header",
                limit: limits::TAR_EXTENSION_BYTES,
            }));
        }
        self.left = header.size;
        self.padding = (BLOCK - (header.size % BLOCK as u64) as usize) % BLOCK;
        let mut bytes = Vec::new();
        let result = self.read_to_end(&mut bytes);
        result.map_err(|error| self.fail(error))?;
        self.skip()?;
        let parsed = match header.kind {
            Kind::Pax => extension::pax(&bytes, self.rules.others),
            _ => extension::long_name(&bytes),
        };
        parsed.map_err(|why| self.refuse(why))
    }

    /// Reads a header; `None` at the end of the archive.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        if block.iter().any(|&byte| byte != 0) {
            return Ok(Some(block));
        }
        self.fill(&mut block)?;
        if block.iter().any(|&byte| byte != 0) {
            return Err(self.refuse(Refusal::End {
                why: "one zero block with something behind it, where two end the archive",
            }));
        }
        self.ended = true;
        self.trailer().map(|()| None)
    }

    /// Behind the end there may only be zeros, in whole blocks and not many.
    fn trailer(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; BLOCK];
        let mut length = 0;
        loop {
            let got = loop {
                match self.reader.read(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other.map_err(|error| self.fail(error))?,
                }
            };
            if got == 0 {
                break;
            }
            length += got as u64;
            self.offset += got as u64;
            if buffer[..got].iter().any(|&byte| byte != 0) {
                return Err(self.refuse(Refusal::End {
                    why: "data behind the end of the archive",
                }));
            }
            if length > limits::TAR_TRAILER_BYTES {
                return Err(self.refuse(Refusal::TooMuch {
                    what: "zeros behind the end of the archive",
                    limit: limits::TAR_TRAILER_BYTES,
                }));
            }
        }
        if length % BLOCK as u64 == 0 {
            Ok(())
        } else {
            Err(self.refuse(Refusal::End {
                why: "the archive ends within a block",
            }))
        }
    }

    /// Reads what is left of the current entry, and its padding, which must be zero.
    fn skip(&mut self) -> Result<(), TarError> {
        let mut buffer = vec![0; if self.left > 0 { limits::STREAM_BUFFER } else { 0 }];
        while self.left > 0 {
            let result = self.read(&mut buffer);
            result.map_err(|error| self.fail(error))?;
        }
        let mut padding = [0; BLOCK];
        let length = std::mem::take(&mut self.padding);
        self.fill(&mut padding[..length])?;
        if padding.iter().any(|&byte| byte != 0) {
            return Err(self.refuse(Refusal::End {
                why: "data in the padding behind an entry",
            }));
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), TarError> {
        let result = self.reader.read_exact(buffer);
        result.map_err(|error| self.fail(error))?;
        self.offset += buffer.len() as u64;
        Ok(())
    }

    fn refuse(&self, why: Refusal) -> TarError {
        TarError::Refused {
            offset: self.offset,
            entry: self.current.clone(),
            why,
        }
    }

    /// Classifies a read error: one that the data caused is a refusal.
    pub(crate) fn fail(&self, source: io::Error) -> TarError {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => self.refuse(Refusal::End {
                why: "the archive is cut",
            }),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => self.refuse(Refusal::Compression {
                why: source.to_string(),
            }),
            _ => TarError::Io {
                offset: self.offset,
                source,
            },
        }
    }

    /// Returns the reader, after the end.
    pub fn into_inner(self) -> R {
        self.reader
    }
}

impl<R: Read + Seek> Entries<R> {
    /// Skips the content of the last entry without reading it. If the archive is cut there, the next step finds it.
    ///
    /// # Errors
    /// The reader's own.
    pub fn pass_over(&mut self) -> io::Result<()> {
        self.reader
            .seek_relative(i64::try_from(self.left).map_err(io::Error::other)?)?;
        self.offset += std::mem::take(&mut self.left);
        Ok(())
    }
}

impl<R: Read> Read for Entries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let got = self.reader.read(&mut buffer[..want])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= got as u64;
        self.offset += got as u64;
        Ok(got)
    }
}

/// The size that header and extension agree on. Only a size that the header cannot hold may stand in the extension alone.
fn size(header: &Header, extension: Option<u64>) -> Result<u64, Refusal> {
    match extension {
        None => Ok(header.size),
        Some(size) if size == header.size => Ok(size),
        Some(size) if header.size == 0 && size > OCTAL_SIZE && header.kind == Kind::File => Ok(size),
        Some(_) => Err(Refusal::Extension {
            why: "another size than the header",
        }),
    }
}

#[cfg(test)]
mod tests;
