//! The tree of tasks on a terminal while a run goes on, below what the tasks print. It never has more lines than fit, and no line
//! is wider than the terminal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use samebundle_runtime::Clock;
use samebundle_spec::Timestamp;
use samebundle_spec::record::{LogLine, RunEvent, RunEventKind, RunStatus};
use terminal_size::{Height, Width, terminal_size_of};

use super::screen::{Colour, Screen, colour_of};
use super::size;
use super::table::shortened;
use super::tree::{Fold, Node, Row, Tree};
use crate::settings::SystemClock;

/// The interval at which clocks and spinners move.
const TICK: Duration = Duration::from_millis(250);
/// The lines of a terminal that are left to what the tasks print.
const LEFT: usize = 5;
/// The fewest lines that the tree has.
const FEWEST: usize = 4;
/// A terminal that does not say how large it is.
const USUAL: (usize, usize) = (80, 24);
/// The deepest indentation.
const DEEPEST: usize = 10;
/// How a running task moves.
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// How many columns and lines there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

impl Room {
    /// The room of standard error.
    fn now() -> Self {
        let (columns, lines) = terminal_size_of(std::io::stderr())
            .map(|(Width(columns), Height(lines))| (usize::from(columns), usize::from(lines)))
            .filter(|(columns, lines)| *columns > 0 && *lines > 0)
            .unwrap_or(USUAL);
        Self {
            // The last column stays free, where some terminals begin a new line.
            columns: columns.saturating_sub(1),
            lines: lines.saturating_sub(LEFT).max(FEWEST),
        }
    }
}

/// The tree of a run that goes on.
#[derive(Debug)]
pub(super) struct Live {
    screen: Screen,
    tree: Arc<Mutex<Tree>>,
    bar: Mutex<Option<ProgressBar>>,
}

impl Live {
    pub(super) fn new(screen: Screen) -> Self {
        Self {
            screen,
            tree: Arc::new(Mutex::new(Tree::live())),
            bar: Mutex::default(),
        }
    }

    /// Takes an event of the run; its end leaves the tree on the terminal.
    pub(super) fn take(&self, event: &RunEvent, bars: &MultiProgress) {
        lock(&self.tree).take(event);
        match &event.kind {
            RunEventKind::TaskStarted(_) | RunEventKind::TaskFinished(_) => self.show(bars),
            RunEventKind::RunFinished(_) => self.leave(bars),
            _ => {}
        }
    }

    /// Shows the newest state of a line that a task replaces.
    pub(super) fn replaced(&self, line: &LogLine, state: &str) {
        lock(&self.tree).replaced(&line.task, state);
    }

    fn show(&self, bars: &MultiProgress) {
        lock(&self.bar).get_or_insert_with(|| {
            let bar = bars.add(ProgressBar::new_spinner());
            let (tree, screen) = (Arc::clone(&self.tree), self.screen);
            let frame = move |_: &indicatif::ProgressState, text: &mut dyn std::fmt::Write| {
                let lines = frame(&lock(&tree), now(), Room::now(), screen);
                // The text is a buffer in memory.
                let _ = text.write_str(&lines.join("\n"));
            };
            if let Ok(style) = ProgressStyle::with_template("{tree}") {
                bar.set_style(style.with_key("tree", frame));
            }
            bar.enable_steady_tick(TICK);
            bar
        });
    }

    fn leave(&self, bars: &MultiProgress) {
        let Some(bar) = lock(&self.bar).take() else { return };
        bar.finish_and_clear();
        let lines = frame(&lock(&self.tree), now(), Room::now(), self.screen);
        drop(bars.println(lines.join("\n")));
    }
}

fn lock<T>(one: &Mutex<T>) -> MutexGuard<'_, T> {
    one.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Timestamp {
    SystemClock.now().into()
}

/// A line of a frame before it is coloured.
struct Line<'a> {
    depth: usize,
    node: &'a Node,
    running: u64,
}

impl Line<'_> {
    /// What goes first where there is no room: what ended well, then what failed, then what runs, the deepest first.
    fn rank(&self) -> (u8, usize) {
        let ended = match self.node.status {
            RunStatus::Skipped => 0,
            RunStatus::Succeeded => 1,
            RunStatus::Cancelled | RunStatus::Interrupted => 2,
            RunStatus::Failed => 3,
            RunStatus::Suspended => 4,
            RunStatus::Running => 5,
        };
        (ended, usize::MAX - self.depth)
    }
}

/// The lines of the tree at a moment.
pub(super) fn frame(tree: &Tree, now: Timestamp, room: Room, screen: Screen) -> Vec<String> {
    let rows = tree.rows(Fold::Live).into_iter();
    let mut lines: Vec<Line<'_>> = rows
        .filter_map(|row| match row {
            Row::Node(depth, node, running) => Some(Line { depth, node, running }),
            Row::More(..) => None,
        })
        .collect();
    let left_out = left_out(&mut lines, room.lines);
    let shown = lines.iter().map(|line| shown(line, now, room.columns, screen));
    let more = left_out.map(|text| screen.paint(Colour::Grey, &shortened(&text, room.columns, false)));
    shown.chain(more).collect()
}

/// Leaves lines out that have no room, and says how many.
fn left_out(lines: &mut Vec<Line<'_>>, room: usize) -> Option<String> {
    if lines.len() <= room {
        return None;
    }
    let mut ranks: Vec<((u8, usize), usize)> = lines.iter().map(Line::rank).zip(0..).collect();
    ranks.sort_unstable();
    // One line says what is left out.
    let out: Vec<usize> = ranks
        .iter()
        .take(lines.len() + 1 - room)
        .map(|(_, at)| *at)
        .collect();
    let count = |status: RunStatus| out.iter().filter(|at| lines[**at].node.status == status).count();
    let counts = [
        RunStatus::Running,
        RunStatus::Suspended,
        RunStatus::Failed,
        RunStatus::Succeeded,
        RunStatus::Skipped,
    ];
    let counts = counts.map(|status| (count(status), status.word()));
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, word)| format!("{count} {word}")).collect();
    let text = format!("… and {} more: {}", out.len(), counts.join(", "));
    let mut at = 0;
    lines.retain(|_| {
        at += 1;
        !out.contains(&(at - 1))
    });
    Some(text)
}

fn shown(line: &Line<'_>, now: Timestamp, columns: usize, screen: Screen) -> String {
    let node = line.node;
    let indent = "  ".repeat(line.depth.min(DEEPEST));
    let took = node.took(Some(now));
    let mark = match node.status {
        RunStatus::Running => spinner(now),
        RunStatus::Suspended => "?",
        RunStatus::Succeeded => "✓",
        RunStatus::Failed => "✗",
        RunStatus::Skipped | RunStatus::Cancelled | RunStatus::Interrupted => "-",
    };
    // The note is cut where there is no room for all, and the time is not.
    let took = took
        .filter(|_| node.status != RunStatus::Skipped)
        .map(size::duration);
    let took = took.map(|took| format!("  {took}")).unwrap_or_default();
    let note = match node.note(line.running) {
        note if note.is_empty() => note,
        note => format!("  {note}"),
    };
    let room = columns.saturating_sub(indent.len() + 2 + took.len());
    let text = format!(
        "{}{took}",
        shortened(&format!("{}{note}", node.name), room, false)
    );
    let text = match node.status {
        RunStatus::Skipped | RunStatus::Cancelled | RunStatus::Interrupted => {
            screen.paint(Colour::Grey, &text)
        }
        _ => text,
    };
    format!("{indent}{} {text}", screen.paint(colour_of(node.status), mark))
}

fn spinner(now: Timestamp) -> &'static str {
    let since = SystemTime::from(now).duration_since(SystemTime::UNIX_EPOCH);
    let ticks = since.unwrap_or_default().as_millis() / TICK.as_millis();
    SPINNER[usize::try_from(ticks % 10).unwrap_or_default()]
}

#[cfg(test)]
mod tests;
