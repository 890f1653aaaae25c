//! Metrics of the server, in the text form of Prometheus (exposition format 0.0.4), for `GET /metrics`.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use super::storage::Collected;
use crate::StoreError;

/// Counts what happens. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    received: IntCounter,
    sent: IntCounter,
    uploads: IntGauge,
    pub(super) connections: IntGauge,
    collections: IntCounterVec,
    collected: IntCounter,
}

/// Bounds of the time of a request, seconds: from a question to a large blob over a slow link.
const SECONDS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0];

/// Methods that have a label of their own; a client can make up any other.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

impl Meter {
    pub(super) fn new() -> Result<Self, StoreError> {
        Self::registered().map_err(|error| StoreError::Invalid {
            subject: "the figures of the server".to_owned(),
            why: error.to_string(),
        })
    }

    fn registered() -> Result<Self, prometheus::Error> {
        let options = |name: &str, help: &str| Opts::new(format!("samebundle_registry_{name}"), help);
        let seconds = HistogramOpts {
            common_opts: options(
                "request_seconds",
                "Time from a request's head to the end of its answer.",
            ),
            buckets: SECONDS.to_vec(),
        };
        let meter = Self {
            registry: Registry::new(),
            requests: IntCounterVec::new(
                options("requests_total", "Requests that were answered."),
                &["route", "method", "status"],
            )?,
            seconds: HistogramVec::new(seconds, &["route"])?,
            received: IntCounter::with_opts(options("received_bytes_total", "Bytes of requests' bodies."))?,
            sent: IntCounter::with_opts(options("sent_bytes_total", "Bytes of answers' bodies."))?,
            uploads: IntGauge::with_opts(options("uploads_open", "Uploads that are open."))?,
            connections: IntGauge::with_opts(options("connections_open", "Connections that are open."))?,
            collections: IntCounterVec::new(
                options("collections_total", "Runs of garbage collection."),
                &["result"],
            )?,
            collected: IntCounter::with_opts(options(
                "collected_bytes_total",
                "Bytes of contents that were collected.",
            ))?,
        };
        let all: [Box<dyn prometheus::core::Collector>; 8] = [
            Box::new(meter.requests.clone()),
            Box::new(meter.seconds.clone()),
            Box::new(meter.received.clone()),
            Box::new(meter.sent.clone()),
            Box::new(meter.uploads.clone()),
            Box::new(meter.connections.clone()),
            Box::new(meter.collections.clone()),
            Box::new(meter.collected.clone()),
        ];
        for one in all {
            meter.registry.register(one)?;
        }
        Ok(meter)
    }

    /// Counts a request that is over.
    pub(super) fn answered(
        &self,
        route: &str,
        by: &Method,
        status: StatusCode,
        received: u64,
        sent: u64,
        took: Duration,
    ) {
        self.requests
            .with_label_values(&[route, method(by), status.as_str()])
            .inc();
        self.seconds
            .with_label_values(&[route])
            .observe(took.as_secs_f64());
        self.received.inc_by(received);
        self.sent.inc_by(sent);
    }

    /// Counts a run of garbage collection.
    pub(super) fn collected(&self, run: Result<&Collected, &StoreError>) {
        let result = if run.is_ok() { "done" } else { "failed" };
        self.collections.with_label_values(&[result]).inc();
        if let Ok(collected) = run {
            self.collected.inc_by(collected.bytes);
        }
    }

    /// All metrics as text.
    pub(super) fn text(&self, uploads: usize) -> Result<String, StoreError> {
        self.uploads.set(i64::try_from(uploads).unwrap_or(i64::MAX));
        let mut bytes = Vec::new();
        let written = TextEncoder::new().encode(&self.registry.gather(), &mut bytes);
        let text = written.map_err(|error| error.to_string());
        text.and_then(|()| String::from_utf8(bytes).map_err(|error| error.to_string()))
            .map_err(|why| StoreError::Invalid {
                subject: "the figures of the server".to_owned(),
                why,
            })
    }
}
