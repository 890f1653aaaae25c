//! Small tables, read from files of separated values.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// How many records are looked at to tell whether text is a table.
const LOOKED_AT: usize = 20;

/// The first rows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The names of the columns: the cells of the first row.
    pub header: Vec<String>,
    /// The rows below, each with a cell for each column.
    pub rows: Vec<Vec<String>>,
    /// Whether the file has more rows, or more bytes, than were asked for.
    pub cut: bool,
}

impl Table {
    /// Reads the first rows of a table, of at most so many bytes. A row with too few cells is filled up, and what a row
    /// has too many is left out.
    ///
    /// # Errors
    /// If the file cannot be read, or holds no table.
    pub fn read(file: &Path, separator: u8, rows: usize, bytes: u64) -> io::Result<Self> {
        let file = File::open(file)?;
        let mut cut = file.metadata()?.len() > bytes;
        let mut records = reader(file.take(bytes), separator).into_records();
        let mut table = Vec::new();
        for record in records.by_ref() {
            if table.len() > rows {
                cut = true;
                break;
            }
            table.push(record?.iter().map(str::to_owned).collect::<Vec<_>>());
        }
        let mut table = table.into_iter();
        let header = table.next().unwrap_or_default();
        let mut rows: Vec<Vec<String>> = table.collect();
        for row in &mut rows {
            row.resize(header.len(), String::new());
        }
        Ok(Self { header, rows, cut })
    }
}

/// Tells whether text is a table: its first records have the same number of cells, more than one, and there are two
/// records at least.
pub(super) fn fits(text: &str, cut: bool, separator: u8) -> bool {
    let records = reader(text.as_bytes(), separator).into_records().take(LOOKED_AT);
    let Ok(mut records) = records.collect::<Result<Vec<_>, _>>() else {
        return false;
    };
    if cut && records.len() < LOOKED_AT {
        // The last one may be only a part.
        records.pop();
    }
    let widths = || records.iter().map(csv::StringRecord::len);
    records.len() > 1 && widths().all(|width| width > 1) && widths().max() == widths().min()
}

fn reader<R: Read>(from: R, separator: u8) -> csv::Reader<R> {
    csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .from_reader(from)
}
