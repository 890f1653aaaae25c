//! Text in columns, within the width of the screen.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::screen::{Colour, Screen};

/// The longest cell that is shown whole where a line may have any length: a digest with its algorithm has 71 characters. The
/// last column has the rest of the line.
const CELL: usize = 100;
const LAST_CELL: usize = 400;

/// The fewest characters to which a column of text is shortened while another one can be left out instead.
const FEWEST: usize = 12;
/// The fewest characters to which it is shortened where nothing else helps.
const LEAST: usize = 4;

/// The space between two columns.
const BETWEEN: usize = 2;

/// A column of a table.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    name: String,
    right: bool,
    middle: bool,
    whole: bool,
    optional: bool,
    prose: bool,
    fewest: usize,
    colour: Option<fn(&str) -> Option<Colour>>,
}

impl From<&str> for Column {
    fn from(name: &str) -> Self {
        Self {
            name: name.to_uppercase(),
            right: false,
            middle: false,
            whole: false,
            optional: false,
            prose: false,
            fewest: FEWEST,
            colour: None,
        }
    }
}

impl Column {
    /// The name of a column in a table of somebody else, as it is.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..name.into()
        }
    }

    /// Numbers, with their ends below each other. They are never shortened.
    pub(crate) fn number(name: &str) -> Self {
        Self {
            right: true,
            whole: true,
            ..name.into()
        }
    }

    /// Text that is never shortened: ids, times, words that are chosen from a few.
    pub(crate) fn whole(name: &str) -> Self {
        Self {
            whole: true,
            ..name.into()
        }
    }

    /// Paths and references, whose beginnings and ends tell more than their middles.
    pub(crate) fn path(name: &str) -> Self {
        Self {
            middle: true,
            ..name.into()
        }
    }

    /// Sentences in the last column, which go on in the lines below instead of being shortened.
    pub(crate) fn prose(name: &str) -> Self {
        Self {
            prose: true,
            ..name.into()
        }
    }

    /// Its cells stand at the right.
    pub(crate) fn right(self) -> Self {
        Self { right: true, ..self }
    }

    /// The column may be left out where the screen is too narrow; the last one first.
    pub(crate) fn optional(self) -> Self {
        Self {
            optional: true,
            ..self
        }
    }

    /// The column is not shortened to fewer characters while another one can be left out instead.
    pub(crate) fn at_least(self, fewest: usize) -> Self {
        Self { fewest, ..self }
    }

    /// Its cells have the colours that `colour` gives their words.
    pub(crate) fn coloured(self, colour: fn(&str) -> Option<Colour>) -> Self {
        Self {
            colour: Some(colour),
            ..self
        }
    }

    /// The fewest characters that it needs, of those that it has.
    fn fewest(&self, natural: usize) -> usize {
        match self.whole {
            true => natural,
            false => natural.min(self.fewest.max(self.name.width())),
        }
    }
}

/// Lays rows out in columns two spaces apart, the header in capitals. On a screen that is too narrow, columns of text are
/// shortened, the longest first, and optional columns are left out.
pub(crate) fn table(
    screen: Screen,
    columns: impl IntoIterator<Item = impl Into<Column>>,
    rows: &[Vec<String>],
) -> String {
    let columns: Vec<Column> = columns.into_iter().map(Into::into).collect();
    let natural: Vec<usize> = (0..columns.len())
        .map(|at| {
            let longest = match (screen.wide, at + 1 == columns.len()) {
                (true, _) => usize::MAX,
                (false, true) => LAST_CELL,
                (false, false) => CELL,
            };
            let cells = rows.iter().filter_map(|row| row.get(at));
            let widest = cells.map(|cell| cell.width()).max().unwrap_or(0);
            widest.max(columns[at].name.width()).min(longest)
        })
        .collect();
    let widths = match screen.width {
        None => natural.into_iter().enumerate().collect(),
        Some(width) => fitted(&columns, &natural, width),
    };
    let last = widths.len().saturating_sub(1);
    let line = |cells: &dyn Fn(usize) -> String, header: bool| {
        let cells = widths.iter().enumerate().map(|(nth, (at, width))| {
            let column = &columns[*at];
            let text = shortened(&cells(*at), *width, column.middle);
            let padding = " ".repeat(width.saturating_sub(text.width()));
            let colour = match header {
                true => Some(Colour::Bold),
                false => column.colour.and_then(|colour| colour(&text)),
            };
            let shown = colour.map_or_else(|| text.clone(), |colour| screen.paint(colour, &text));
            match (column.right, nth == last) {
                (true, _) => format!("{padding}{shown}"),
                (false, true) => shown,
                (false, false) => format!("{shown}{padding}"),
            }
        });
        let cells: Vec<String> = cells.collect();
        cells.join(&" ".repeat(BETWEEN)).trim_end().to_owned()
    };
    let header = line(&|at| columns[at].name.clone(), true);
    let before: usize = widths.iter().take(last).map(|(_, width)| width + BETWEEN).sum();
    let rows = rows.iter().map(|row| {
        let cell = |at: usize| row.get(at).cloned().unwrap_or_default();
        let Some((prose, width)) = widths.last().filter(|(at, _)| columns[*at].prose) else {
            return line(&cell, false);
        };
        let mut parts = wrapped(&cell(*prose), *width).into_iter();
        let first = parts.next().unwrap_or_default();
        let begin = line(&|at| if at == *prose { first.clone() } else { cell(at) }, false);
        parts.fold(begin, |text, part| {
            format!("{text}\n{}{part}", " ".repeat(before))
        })
    });
    std::iter::once(header).chain(rows).collect::<Vec<_>>().join("\n")
}

/// Chooses the columns that fit, each by its position and with its width.
fn fitted(columns: &[Column], natural: &[usize], width: usize) -> Vec<(usize, usize)> {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let sum = |shown: &[usize], of: &dyn Fn(usize) -> usize| {
        let between = BETWEEN * shown.len().saturating_sub(1);
        shown.iter().map(|at| of(*at)).sum::<usize>() + between
    };
    let mut left = Vec::new();
    while sum(&shown, &|at| columns[at].fewest(natural[at])) > width {
        let Some(last) = shown.iter().rposition(|at| columns[*at].optional) else {
            break;
        };
        left.push(shown.remove(last));
    }
    // A narrow column may fit where a wide one before it did not.
    for at in left.into_iter().rev() {
        let place = shown.partition_point(|one| *one < at);
        shown.insert(place, at);
        if sum(&shown, &|at| columns[at].fewest(natural[at])) > width {
            shown.remove(place);
        }
    }
    let mut widths = natural.to_vec();
    let between = BETWEEN * shown.len().saturating_sub(1);
    let mut over = (shown.iter().map(|at| widths[*at]).sum::<usize>() + between).saturating_sub(width);
    let fewest = |at: usize| columns[at].fewest(natural[at]);
    let limits: [&dyn Fn(usize) -> usize; 2] = [&fewest, &|_| LEAST];
    for least in limits {
        while over > 0 {
            // The longest first, so that columns of equal importance end with equal widths.
            let longest = shown
                .iter()
                .copied()
                .filter(|at| !columns[*at].whole && widths[*at] > least(*at))
                .max_by_key(|at| widths[*at]);
            let Some(longest) = longest else { break };
            widths[longest] -= 1;
            over -= 1;
        }
    }
    shown.into_iter().map(|at| (at, widths[at])).collect()
}

/// Breaks sentences between their words into lines of a width; a longer word has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().filter(|line| !line.is_empty());
        match line {
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(word.to_owned()),
            None => lines = vec![word.to_owned()],
        }
    }
    lines
}

/// Shortens a cell to a width, with an ellipsis at its end or in its middle.
pub(crate) fn shortened(cell: &str, width: usize, middle: bool) -> String {
    if cell.width() <= width {
        return cell.to_owned();
    }
    let room = width.saturating_sub(1);
    let (front, back) = match middle {
        true => (room - room / 2, room / 2),
        false => (room, 0),
    };
    let begin: String = fitting(cell.chars(), front);
    let end: String = fitting(cell.chars().rev(), back);
    format!("{begin}…{}", end.chars().rev().collect::<String>())
}

/// The first characters that fit into a width.
fn fitting(characters: impl Iterator<Item = char>, width: usize) -> String {
    let mut left = width;
    let fits = |character: &char| {
        let needs = character.width().unwrap_or(0);
        let fits = needs <= left;
        left = left.saturating_sub(needs);
        fits
    };
    characters.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Screen = Screen {
        width: None,
        colour: false,
        wide: false,
    };

    fn of(width: usize) -> Screen {
        Screen {
            width: Some(width),
            ..ANY
        }
    }

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_line_up() {
        let rows = [row(&["digits", "1.0.0", "9 B"]), row(&["a", "数10.0", "114 B"])];
        let columns = ["name".into(), "version".into(), Column::number("size")];
        assert_eq!(
            table(ANY, columns, &rows),
            "NAME    VERSION   SIZE\ndigits  1.0.0      9 B\na       数10.0   114 B"
        );
    }

    /// A value may have megabytes, and a width for `format!` at most 65,535.
    #[test]
    fn a_long_cell_is_shortened_wherever_it_stands() {
        let long = "x".repeat(1 << 17);
        let wide = Screen { wide: true, ..ANY };
        let whole = table(wide, ["name", "value"], &[row(&[&long, &long])]);
        assert!(whole.len() > 2 * long.len(), "everything was asked for");
        for (at, longest) in [(0, CELL), (1, LAST_CELL)] {
            let mut row = row(&["a", "b"]);
            row[at].clone_from(&long);
            let text = table(ANY, ["name", "value"], &[row]);
            let line = text.lines().last().unwrap();
            assert!(line.contains(&format!("{}…", "x".repeat(longest - 1))), "{at}");
            assert!(line.chars().count() < longest + 10, "{at}");
        }
    }

    #[test]
    fn a_narrow_screen_shortens_text_and_leaves_out_what_is_optional() {
        let columns = || {
            [
                Column::whole("run"),
                "program".into(),
                Column::number("accuracy").optional(),
                Column::number("loss").optional(),
                Column::path("from"),
            ]
        };
        let rows = [row(&[
            "01M8FC",
            "a-program-with-a-long-name",
            "0.9578",
            "0.12",
            "registry.example/team/digits:1.0.0",
        ])];
        for (width, wanted) in [
            (
                120,
                "RUN     PROGRAM                     ACCURACY  LOSS  FROM\n\
                 01M8FC  a-program-with-a-long-name    0.9578  0.12  registry.example/team/digits:1.0.0",
            ),
            (
                80,
                "RUN     PROGRAM                     ACCURACY  LOSS  FROM\n\
                 01M8FC  a-program-with-a-long-name    0.9578  0.12  registry.examp…/digits:1.0.0",
            ),
            (
                40,
                "RUN     PROGRAM       LOSS  FROM\n\
                 01M8FC  a-program-w…  0.12  regist…1.0.0",
            ),
        ] {
            let text = table(of(width), columns(), &rows);
            assert!(text.lines().all(|line| line.width() <= width), "{width}\n{text}");
            assert_eq!(text, wanted, "{width}\n{text}");
        }
        let text = table(of(24), columns(), &rows);
        assert!(text.lines().all(|line| line.width() <= 24), "{text}");
    }

    #[test]
    fn sentences_go_on_below() {
        let columns = ["what".into(), Column::prose("detail")];
        let rows = [
            row(&["embedded driver", "runs containers without any engine"]),
            row(&["a", "b"]),
        ];
        assert_eq!(
            table(of(34), columns, &rows),
            "WHAT             DETAIL\n\
             embedded driver  runs containers\n                 without any\n                 engine\n\
             a                b"
        );
    }

    #[test]
    fn colours_do_not_move_the_columns() {
        let red = |word: &str| (word == "failed").then_some(Colour::Red);
        let screen = Screen { colour: true, ..ANY };
        let columns = [Column::whole("status").coloured(red), "name".into()];
        let text = table(
            screen,
            columns,
            &[row(&["failed", "a"]), row(&["succeeded", "b"])],
        );
        assert_eq!(
            text,
            "\u{1b}[1mSTATUS\u{1b}[0m     \u{1b}[1mNAME\u{1b}[0m\n\u{1b}[31mfailed\u{1b}[0m     a\nsucceeded  b"
        );
    }
}
