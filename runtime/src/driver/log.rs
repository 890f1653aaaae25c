//! Splits the bytes that a container prints into lines.
//!
//! A carriage return begins a line anew, as on a terminal: progress bars print it before or after each of their states. The
//! last state becomes the line when the line ends. Of the states before it, the newest of each read is shown meanwhile, so
//! that a program cannot make more of them than it is read.

use std::io;

use samebundle_spec::limits;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::LogSink;

/// Collects the bytes of one stream and passes them on as lines. A line longer than the limit is split; bytes that are
/// not UTF-8 are replaced.
#[derive(Debug)]
pub(super) struct Lines {
    stderr: bool,
    begun: Vec<u8>,
    /// The state of the line before the last carriage return.
    replaced: Vec<u8>,
    /// Whether the line has had a carriage return.
    returned: bool,
}

impl Lines {
    pub(super) fn new(stderr: bool) -> Self {
        Self {
            stderr,
            begun: Vec::new(),
            replaced: Vec::new(),
            returned: false,
        }
    }

    /// Takes bytes as they come.
    pub(super) fn take(&mut self, mut bytes: &[u8], sink: &dyn LogSink) {
        while !bytes.is_empty() {
            let room = limits::LOG_LINE_BYTES - self.begun.len();
            let window = &bytes[..bytes.len().min(room)];
            let Some(end) = window.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.begun.extend_from_slice(window);
                bytes = &bytes[window.len()..];
                if self.begun.len() == limits::LOG_LINE_BYTES {
                    self.pass_on(sink);
                }
                continue;
            };
            self.begun.extend_from_slice(&window[..end]);
            if window[end] == b'\n' {
                self.pass_on(sink);
            } else {
                self.returned = true;
                if !self.begun.is_empty() {
                    std::mem::swap(&mut self.begun, &mut self.replaced);
                    self.begun.clear();
                }
            }
            bytes = &bytes[end + 1..];
        }
        if self.returned && !self.state().is_empty() {
            sink.replaced(&String::from_utf8_lossy(self.state()), self.stderr);
        }
    }

    /// Passes on the last line, which has no line end.
    pub(super) fn end(&mut self, sink: &dyn LogSink) {
        if !self.state().is_empty() {
            self.pass_on(sink);
        }
    }

    /// Returns the line as a terminal shows it now: after a carriage return the cursor is at the beginning of a line that is
    /// still there.
    fn state(&self) -> &[u8] {
        match self.begun.as_slice() {
            [] => &self.replaced,
            begun => begun,
        }
    }

    fn pass_on(&mut self, sink: &dyn LogSink) {
        sink.line(&String::from_utf8_lossy(self.state()), self.stderr);
        self.begun.clear();
        self.returned = false;
        self.replaced.clear();
    }
}

/// Passes on a whole stream.
pub(super) async fn pump(
    mut from: impl AsyncBufRead + Unpin,
    stderr: bool,
    sink: &dyn LogSink,
) -> io::Result<()> {
    let mut lines = Lines::new(stderr);
    loop {
        let bytes = from.fill_buf().await?;
        if bytes.is_empty() {
            lines.end(sink);
            return Ok(());
        }
        let count = bytes.len();
        lines.take(bytes, sink);
        from.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Kept(Mutex<Vec<String>>);

    impl LogSink for Kept {
        fn line(&self, line: &str, _stderr: bool) {
            self.0.lock().unwrap().push(line.to_owned());
        }

        fn replaced(&self, line: &str, _stderr: bool) {
            self.0.lock().unwrap().push(format!("({line})"));
        }
    }

    #[test]
    fn a_carriage_return_begins_the_line_anew() {
        let said = |reads: &[&str]| {
            let (kept, mut lines) = (Kept(Mutex::default()), Lines::new(true));
            reads.iter().for_each(|read| lines.take(read.as_bytes(), &kept));
            lines.end(&kept);
            kept.0.into_inner().unwrap()
        };
        // As tqdm prints it: the return comes first.
        assert_eq!(
            said(&["\r  0%|", "\r 50%|", "\r100%|", "\nnext\n"]),
            ["(  0%|)", "( 50%|)", "(100%|)", "100%|", "next"]
        );
        // As others do: it comes last. One read with many states is shown once.
        assert_eq!(said(&["0%\r1%\r2%\r", "3%\r\n"]), ["(2%)", "3%"]);
        assert_eq!(said(&["a\r\nb\r", "\nc"]), ["a", "(b)", "b", "c"]);
        assert_eq!(said(&["\r\r\n", "0%\r"]), ["", "(0%)", "0%"]);
        // A state that is not ended is kept when the program ends, and no number of states makes a line too long.
        let many = "\rprogress".repeat(limits::LOG_LINE_BYTES);
        assert_eq!(said(&[&many]), ["(progress)", "progress"]);
    }

    #[tokio::test]
    async fn lines_are_cut_at_ends_and_at_the_limit() {
        let kept = Kept(Mutex::new(Vec::new()));
        let long = "x".repeat(limits::LOG_LINE_BYTES + 3);
        let text = format!("one\r\n\ntwo \u{fffd}\n{long}\nlast");
        pump(text.as_bytes(), false, &kept).await.unwrap();
        let lines = kept.0.into_inner().unwrap();
        assert_eq!(lines[..3], ["one", "", "two \u{fffd}"]);
        assert_eq!(lines[3].len(), limits::LOG_LINE_BYTES);
        assert_eq!(lines[4..], ["xxx", "last"]);
    }
}
