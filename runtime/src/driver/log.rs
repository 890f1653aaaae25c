//! Splits the bytes that a container prints into lines.

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
}

impl Lines {
    pub(super) fn new(stderr: bool) -> Self {
        Self {
            stderr,
            begun: Vec::new(),
        }
    }

    /// Takes bytes as they come.
    pub(super) fn take(&mut self, mut bytes: &[u8], sink: &dyn LogSink) {
        while !bytes.is_empty() {
            let room = limits::LOG_LINE_BYTES - self.begun.len();
            let window = &bytes[..bytes.len().min(room)];
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                self.begun.extend_from_slice(&window[..end]);
                self.pass_on(sink);
                bytes = &bytes[end + 1..];
            } else {
                self.begun.extend_from_slice(window);
                bytes = &bytes[window.len()..];
                if self.begun.len() == limits::LOG_LINE_BYTES {
                    self.pass_on(sink);
                }
            }
        }
    }

    /// Passes on the last line, which has no line end.
    pub(super) fn end(&mut self, sink: &dyn LogSink) {
        if !self.begun.is_empty() {
            self.pass_on(sink);
        }
    }

    fn pass_on(&mut self, sink: &dyn LogSink) {
        let line = self.begun.strip_suffix(b"\r").unwrap_or(&self.begun);
        sink.line(&String::from_utf8_lossy(line), self.stderr);
        self.begun.clear();
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
