//! What a task printed, as a page shows it.

use std::collections::BTreeMap;

use maud::{Markup, html};
use samebundle_spec::limits;
use samebundle_spec::record::LogLine;

use super::text;
use crate::record::{Noise, own_part};

/// The lines of each task, without those of the executor and without what only a terminal understands.
pub(super) fn by_task(log: &[LogLine]) -> BTreeMap<&str, Vec<String>> {
    let mut tasks: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut noise = Noise::default();
    for line in log.iter().filter(|line| !noise.takes(line)) {
        tasks
            .entry(&line.task)
            .or_default()
            .push(plain(own_part(&line.line)));
    }
    tasks
}

/// The last lines of a task.
pub(super) fn shown(lines: &[String]) -> Markup {
    let left_out = lines.len().saturating_sub(limits::PAGE_LOG_LINES);
    let last = lines[left_out..].iter().map(|line| text::cut(line));
    html! {
        @if left_out > 0 { p.muted.small { (left_out) " more lines before these" } }
        pre tabindex="0" { (last.collect::<Vec<_>>().join("\n")) }
    }
}

/// The text of a line as a terminal shows it at the end: without colours, and of what was written over, only the last.
pub(super) fn plain(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let last = line.rsplit('\r').next().unwrap_or(line);
    let mut plain = String::with_capacity(last.len());
    let mut chars = last.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // Colours and movements end with a letter or one of a few signs.
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // Titles and links end with a bell or the sequence of an end.
                Some(']') => while chars.next().is_some_and(|c| c != '\u{7}' && c != '\\') {},
                _ => {}
            },
            '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_a_terminal_shows_at_the_end() {
        let cases = [
            ("\u{1b}[1;31mred\u{1b}[0m text", "red text"),
            (" 10%|#   |\r100%|####|", "100%|####|"),
            ("windows\r", "windows"),
            (
                "\u{1b}]8;;address\u{1b}\\link\u{1b}]8;;\u{7} a\tb\u{0}\u{8}",
                "link a\tb",
            ),
            ("\u{1b}[", ""),
        ];
        for (line, shown) in cases {
            assert_eq!(plain(line), shown, "{line:?}");
        }
    }

    #[test]
    fn the_last_lines_are_shown() {
        let lines: Vec<String> = (0..limits::PAGE_LOG_LINES + 3)
            .map(|n| format!("line {n}<"))
            .collect();
        let shown = shown(&lines).into_string();
        assert!(
            shown.contains("3 more lines")
                && shown.contains(">line 3&lt;\n")
                && !shown.contains("line 2&lt;")
        );
    }
}
