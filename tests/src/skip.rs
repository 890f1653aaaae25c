//! Saying that a test did not run, or how much it tried.

use std::cell::RefCell;
use std::io::Write;

thread_local! {
    /// Why the test of this thread did not run, or did not try everything.
    static REASONS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Says that this test does not run, or does not try everything, and why. The test returns by itself; the harness then
/// shows it as ignored ([`crate::trial`]). Only the thread that the test began in is heard.
pub fn skip(why: &str) {
    let line = why.split_whitespace().collect::<Vec<_>>().join(" ");
    REASONS.with_borrow_mut(|reasons| {
        if !reasons.contains(&line) {
            reasons.push(line);
        }
    });
}

/// The reasons that were given in this thread since the last call.
pub(crate) fn reasons() -> Vec<String> {
    REASONS.take()
}

/// Says how much a test tried, as a line of its own on the error stream.
pub fn tell(what: &str) {
    say(&[what.to_owned()]);
}

/// Writes whole lines to the error stream at once, so that no other thread's words come between.
pub(crate) fn say(lines: &[String]) {
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
