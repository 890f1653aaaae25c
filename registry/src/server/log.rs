//! The access log: one JSON object a line for each request, when its answer has ended.
//!
//! ```json
//! {"time":"2026-11-22T05:06:13.120448Z","method":"GET","path":"/v2/team/digits/tags/list","status":200,"bytes":42,"received":0,
//!  "seconds":0.001,"user":"alice","peer":"127.0.0.1:40112","complete":true,"reason":null}
//! ```
//!
//! No header, query, token or password is in it: `path` is without its query, `user` is who logged in, or null. `reason` is
//! why the request was not done, or why its answer broke; it may name files of this machine, which no answer does.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use samebundle_spec::Timestamp;
use serde::{Serialize, Serializer};

/// The writer of the lines. Cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Box<dyn Write + Send>>>);

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

/// The line of one request.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    pub(super) time: Timestamp,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) status: u16,
    /// Bytes of the answer's body.
    #[serde(rename = "bytes")]
    pub(super) sent: u64,
    pub(super) received: u64,
    #[serde(rename = "seconds", serialize_with = "microseconds")]
    pub(super) took: Duration,
    pub(super) user: Option<&'a str>,
    pub(super) peer: Option<SocketAddr>,
    /// Whether the answer was sent to its end.
    pub(super) complete: bool,
    pub(super) reason: Option<&'a str>,
}

/// As seconds, to the microsecond.
fn microseconds<S: Serializer>(took: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((took.as_secs_f64() * 1e6).round() / 1e6)
}

impl Log {
    /// Makes a log from a writer; each line is written with one call.
    pub fn new(to: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(to))))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// The system's answer.
    pub(super) fn write(&self, line: &Line<'_>) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.0.lock().write_all(text.as_bytes())
    }
}
