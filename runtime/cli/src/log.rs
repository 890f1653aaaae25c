//! The only subscriber of `tracing`: it shows on standard error what the libraries log.
//!
//! A command shows warnings and errors as notices, and with `-v` or `SAMEBUNDLE_LOG` the levels below, through the same
//! events as everything else, so that a line never tears a progress bar, and stays JSON with `--output json`. An
//! operator reads the log of a server, so its lines have a time.

use std::fmt::Debug;
use std::sync::Arc;

use samebundle_runtime::{Event, Events};
use tracing::field::{Field, Visit};
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Names of our own crates as `tracing` has them; the logs of other crates are shown from the second `-v` on.
const OWN: [&str; 3] = ["samebundle_registry", "samebundle_runtime", "samebundle"];

/// The variable that says what is logged.
pub(crate) const VARIABLE: &str = "SAMEBUNDLE_LOG";

/// Who reads the log.
#[derive(Debug)]
pub(crate) enum Reader {
    /// The user of a command, through its events.
    User(Arc<dyn Events>),
    /// The operator of a server, from standard error.
    Operator,
}

/// What is logged: `SAMEBUNDLE_LOG` if it is set (`debug`, `samebundle_registry=trace,info`), otherwise what `-v` says.
///
/// # Errors
/// If the variable cannot be read.
pub(crate) fn filter(variable: Option<&str>, verbose: u8, operator: bool) -> Result<EnvFilter, ParseError> {
    if let Some(directives) = variable {
        return EnvFilter::builder().parse(directives);
    }
    let own = match (verbose, operator) {
        (0, false) => "warn",
        (0, true) | (1, false) => "info",
        (1, true) | (2, _) => "debug",
        _ => "trace",
    };
    let others = match verbose {
        0 | 1 => "warn",
        2 => "info",
        _ => "trace",
    };
    let own = OWN.map(|name| format!("{name}={own}")).join(",");
    // The client of Docker logs what it sends, and that holds the environments of containers.
    EnvFilter::builder().parse(format!("{others},bollard=info,{own}"))
}

/// Starts to show the log. Only the first call of a process has an effect.
pub(crate) fn show(filter: EnvFilter, reader: Reader) {
    let registry = tracing_subscriber::registry().with(filter);
    // A second subscriber is refused, and the first one stays.
    drop(match reader {
        Reader::User(events) => registry.with(Notices(events)).try_init(),
        Reader::Operator => {
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(false);
            registry.with(lines).try_init()
        }
    });
}

/// Passes log lines on as events.
struct Notices(Arc<dyn Events>);

impl<S: Subscriber> Layer<S> for Notices {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}", line.message, line.fields);
        let level = *event.metadata().level();
        self.0.emit(if level <= Level::WARN {
            Event::Notice { text }
        } else {
            Event::Log {
                level: level.as_str().to_ascii_lowercase(),
                target: event.metadata().target().to_owned(),
                text,
            }
        });
    }
}

/// A log line in words: the message, then each field as `name=value`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message.push_str(&format!("{value:?}")),
            name => self.fields.push_str(&format!(" {name}={value:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<Event>>);

    impl Events for Kept {
        fn emit(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    fn logged(filter: EnvFilter) -> Vec<Event> {
        let kept = Arc::new(Kept::default());
        let subscriber = tracing_subscriber::registry()
            .with(filter)
            .with(Notices(Arc::clone(&kept) as _));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "samebundle_registry::remote", place = "r.example/x", "a referrer is gone");
            tracing::debug!(target: "samebundle_registry::remote", count = 3, "asked again");
            tracing::debug!(target: "hyper", "a library's detail");
        });
        Arc::try_unwrap(kept).unwrap().0.into_inner().unwrap()
    }

    #[test]
    fn warnings_are_notices_and_the_rest_is_seen_when_asked_for() {
        let notice = Event::Notice {
            text: "a referrer is gone place=\"r.example/x\"".to_owned(),
        };
        assert_eq!(
            logged(filter(None, 0, false).unwrap()),
            std::slice::from_ref(&notice)
        );
        let detail = Event::Log {
            level: "debug".to_owned(),
            target: "samebundle_registry::remote".to_owned(),
            text: "asked again count=3".to_owned(),
        };
        assert_eq!(logged(filter(None, 2, false).unwrap()), [notice.clone(), detail]);
        assert_eq!(
            logged(filter(Some("hyper=debug,warn"), 0, false).unwrap()).len(),
            2
        );
        assert!(filter(Some("samebundle=loud"), 0, false).is_err());
    }
}
