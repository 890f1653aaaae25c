//! Text in columns.

/// The longest cell that is shown whole, in characters: a digest with its algorithm has 71. The last column has the
/// rest of the line.
const CELL: usize = 100;
const LAST_CELL: usize = 400;

/// Lays rows out in columns two spaces apart, the header in capitals; the last column is not padded, and cells that are too
/// long end in an ellipsis.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|cell| cell.to_uppercase()).collect();
    let columns = header.len();
    let rows = std::iter::once(&header).chain(rows);
    let rows: Vec<Vec<String>> = rows
        .map(|row| {
            let cells = row.iter().enumerate();
            let longest = |column| if column + 1 == columns { LAST_CELL } else { CELL };
            cells
                .map(|(column, cell)| shortened(cell, longest(column)))
                .collect()
        })
        .collect();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| {
            let padding = width.saturating_sub(cell.chars().count());
            format!("{cell}{}", " ".repeat(padding))
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn shortened(cell: &str, longest: usize) -> String {
    match cell.char_indices().nth(longest) {
        None => cell.to_owned(),
        Some(_) => cell.chars().take(longest - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["digits".to_owned(), "1.0.0".to_owned()],
            vec!["a".to_owned(), "10.0.0".to_owned()],
        ];
        assert_eq!(
            table(&["name", "version"], &rows),
            "NAME    VERSION\ndigits  1.0.0\na       10.0.0"
        );
    }

    /// A value may have megabytes, and a width for `format!` at most 65,535.
    #[test]
    fn a_long_cell_is_shortened_wherever_it_stands() {
        let long = "x".repeat(1 << 17);
        for (at, longest) in [(0, CELL), (1, LAST_CELL)] {
            let mut row = vec!["a".to_owned(), "b".to_owned()];
            row[at].clone_from(&long);
            let text = table(&["name", "value"], &[row]);
            let line = text.lines().last().unwrap();
            assert!(line.contains(&format!("{}…", "x".repeat(longest - 1))), "{at}");
            assert!(line.chars().count() < longest + 10, "{at}");
        }
    }
}
