//! Saying that a test did not run, or how much it tried.

use std::io::Write;

/// Say that this test does not run and why, as a line of its own on the error stream, past the test harness's capture:
/// `make test` counts these lines.
#[expect(
    clippy::print_stderr,
    reason = "a skipped test must be seen; the captured form helps a single test's reader"
)]
pub fn skip(why: &str) {
    let line = format!("skipped: {why}\n");
    // The harness captures eprintln! of a test that passes; the raw stream is not captured.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
    eprintln!("{}", line.trim_end());
}

/// Say how much a test tried, as a line of its own past the test harness's capture.
pub fn tell(what: &str) {
    let line = format!("{what}\n");
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}
