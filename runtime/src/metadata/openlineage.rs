//! OpenLineage events of a run and its tasks: to a receiver by HTTP, or to a file, one a line.
//!
//! The events follow from the record alone, with the ids and times that they had, so that the same run gives the same events
//! every time. A file is looked through for what it has; a receiver cannot be asked, so the ledger counts what it took.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use async_trait::async_trait;
use samebundle_registry::durable;
use samebundle_registry::remote::web::{WebBody, WebCall, WebMethod, WebService};
use samebundle_spec::record::{ArtifactRecord, OutputRecord, Run, RunStatus, TaskRecord};
use samebundle_spec::{Digest, Timestamp, limits};
use serde_json::{Map, Value, json};

use super::{Destination, Ledger, MetadataError, Sent, SentState, Sink, Subject};

/// The schema of the events.
const SCHEMA: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
/// Where the schemas of facets are.
const FACETS: &str = "https://openlineage.io/spec/facets";
/// Who says it.
const PRODUCER: &str = concat!("urn:samebundle:", env!("CARGO_PKG_VERSION"));
/// The namespace of the jobs.
const NAMESPACE: &str = "samebundle";

/// Takes the events of runs.
#[derive(Debug)]
pub struct OpenLineage {
    destination: Destination,
    service: Option<WebService>,
}

impl OpenLineage {
    /// Sends events to a service; without one, to the file that the destination names.
    pub fn new(destination: Destination, service: Option<WebService>) -> Self {
        Self { destination, service }
    }
}

#[async_trait]
impl Sink for OpenLineage {
    async fn send(&self, subject: &Subject) -> Result<Sent, MetadataError> {
        let events = events(&subject.run);
        let all = events.len();
        let (count, bytes) = match (&self.service, &self.destination) {
            (Some(service), _) => post(service, &self.destination, subject, &events).await?,
            (None, Destination::OpenLineage(super::Place::File(path))) => append(path, &events)?,
            (None, _) => (0, 0),
        };
        let state = match count {
            0 => SentState::Already,
            count if count == all => SentState::New,
            _ => SentState::Completed,
        };
        Ok(Sent {
            state,
            count: count as u64,
            bytes,
            left: Vec::new(),
        })
    }
}

/// Sends the events that the receiver has not taken, and remembers each.
async fn post(
    service: &WebService,
    destination: &Destination,
    subject: &Subject,
    events: &[Value],
) -> Result<(usize, u64), MetadataError> {
    let taken = Ledger::read(&subject.folder)?;
    let taken = taken
        .destinations
        .get(destination)
        .map_or(0, |entry| entry.events);
    let mut bytes = 0;
    for (number, event) in events.iter().enumerate().skip(taken) {
        subject.check()?;
        let body = serde_json::to_vec(event).unwrap_or_default();
        bytes += body.len() as u64;
        let call = WebCall {
            method: WebMethod::Post,
            path: "api/v1/lineage",
            query: &[],
            body: WebBody::Json(body.into()),
            operation: "send an event to",
            repeatable: true,
        };
        let answer = service.send(&call).await?;
        if answer.status >= 300 {
            let words = String::from_utf8_lossy(&answer.body);
            let words: String = words.chars().filter(|c| !c.is_control()).take(300).collect();
            return Err(MetadataError::Refused {
                place: service.place().to_owned(),
                operation: "send an event to",
                why: format!("{words} (status {})", answer.status),
            });
        }
        Ledger::note(&subject.folder, destination, |entry| entry.events = number + 1)?;
    }
    Ok((events.len().saturating_sub(taken), bytes))
}

/// Appends the events that the file does not have. Half a line at its end, of a process that was killed, is removed.
fn append(path: &Path, events: &[Value]) -> Result<(usize, u64), MetadataError> {
    let failed = |operation| MetadataError::io(operation, path);
    let mut options = OpenOptions::new();
    let file = durable::open_regular(path, options.read(true).append(true).create(true));
    let mut file = file.map_err(failed("open"))?;
    file.lock().map_err(failed("lock"))?;
    let (mut whole, mut there) = (0, BTreeSet::new());
    let mut reader = BufReader::new(&file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = limits::EVENT_LINE_BYTES;
        let read = (&mut reader).take(limit).read_until(b'\n', &mut line);
        let read = read.map_err(failed("read"))?;
        if read as u64 == limit && !line.ends_with(b"\n") {
            let long = format!("it has a line of more than {limit} bytes, so it is no file of events");
            return Err(failed("read")(Error::new(ErrorKind::InvalidData, long)));
        }
        if !line.ends_with(b"\n") {
            break;
        }
        whole += read as u64;
        there.extend(serde_json::from_slice(&line).ok().map(|event| key(&event)));
    }
    file.set_len(whole).map_err(failed("write"))?;
    let new: Vec<&Value> = events
        .iter()
        .filter(|event| !there.contains(&key(event)))
        .collect();
    let mut lines = Vec::new();
    for event in &new {
        lines.extend(serde_json::to_vec(event).unwrap_or_default());
        lines.push(b'\n');
    }
    file.seek(SeekFrom::End(0)).map_err(failed("write"))?;
    file.write_all(&lines)
        .and_then(|()| file.sync_data())
        .map_err(failed("write"))?;
    Ok((new.len(), lines.len() as u64))
}

/// What makes an event that event.
fn key(event: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&event["run"]["runId"]), text(&event["eventType"]))
}

/// The events of a run, in the order of their times; those of the run itself stand around those of its tasks.
pub(super) fn events(run: &Run) -> Vec<Value> {
    let mut all = vec![event_of_run(run, "START", run.started)];
    let mut tasks = Vec::new();
    for task in &run.tasks {
        let Some(started) = task.started else {
            continue;
        };
        let ended = task.finished.or(run.finished).unwrap_or(started);
        tasks.push((started, event_of_task(run, task, "START", started)));
        tasks.push((
            ended,
            event_of_task(run, task, end_of(task.status, task.exit_code.is_some()), ended),
        ));
    }
    tasks.sort_by_key(|(time, _)| *time);
    all.extend(tasks.into_iter().map(|(_, event)| event));
    let ended = run.finished.unwrap_or(run.started);
    all.push(event_of_run(run, end_of(run.status, true), ended));
    all
}

/// OpenLineage's word for an end.
fn end_of(status: RunStatus, did_work: bool) -> &'static str {
    match status {
        RunStatus::Succeeded => "COMPLETE",
        RunStatus::Failed => "FAIL",
        RunStatus::Skipped if did_work => "COMPLETE",
        RunStatus::Skipped
        | RunStatus::Running
        | RunStatus::Suspended
        | RunStatus::Cancelled
        | RunStatus::Interrupted => "ABORT",
    }
}

fn event(kind: &str, time: Timestamp, run: Value, job: Value, sets: (Vec<Value>, Vec<Value>)) -> Value {
    json!({
        "eventType": kind,
        "eventTime": time.to_string(),
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
        "run": run,
        "job": job,
        "inputs": sets.0,
        "outputs": sets.1,
    })
}

fn event_of_run(run: &Run, kind: &str, time: Timestamp) -> Value {
    let mut facets = Map::new();
    facets.insert("nominalTime".to_owned(), nominal(run.started, run.finished));
    facets.insert("processing_engine".to_owned(), engine());
    facets.insert(
        "samebundle_run".to_owned(),
        own(json!({
            "id": run.id,
            "action": run.action,
            "bundle": run.bundle,
            "version": run.version,
            "bundleDigest": run.bundle_digest,
            "verification": run.verification,
            "driver": run.driver,
            "parameters": run.parameters,
            "status": run.status,
            "values": values(&run.outputs),
            "scalars": run.scalars(),
        })),
    );
    if let (Some(message), "FAIL" | "ABORT") = (&run.message, kind) {
        facets.insert("errorMessage".to_owned(), error(message));
    }
    let sets = match kind {
        "START" => (Vec::new(), Vec::new()),
        _ => (Vec::new(), data_sets(&run.outputs, true)),
    };
    let job = job(&run.bundle, "DAG");
    event(
        kind,
        time,
        json!({"runId": uuid(run), "facets": facets}),
        job,
        sets,
    )
}

/// What the record of a task has and OpenLineage has no field for.
fn facet_of_task(task: &TaskRecord) -> Value {
    own(json!({
        "name": task.name,
        "status": task.status,
        "attempts": task.attempts,
        "image": task.image,
        "exitCode": task.exit_code,
        "inputs": values(&task.inputs),
        "values": values(&task.outputs),
    }))
}

fn event_of_task(run: &Run, task: &TaskRecord, kind: &str, time: Timestamp) -> Value {
    let mut facets = Map::new();
    let parent = json!({"run": {"runId": uuid(run)}, "job": {"namespace": NAMESPACE, "name": run.bundle}});
    facets.insert(
        "parent".to_owned(),
        facet(parent, "1-2-0/ParentRunFacet.json#/$defs/ParentRunFacet"),
    );
    if let Some(started) = task.started {
        facets.insert("nominalTime".to_owned(), nominal(started, task.finished));
    }
    facets.insert("samebundle_task".to_owned(), facet_of_task(task));
    if kind == "FAIL" {
        let message = run.message.clone();
        let message = message.unwrap_or_else(|| format!("task {} failed", task.name));
        facets.insert("errorMessage".to_owned(), error(&message));
    }
    let outputs = match kind {
        "START" => Vec::new(),
        _ => data_sets(&task.outputs, true),
    };
    let sets = (data_sets(&task.inputs, false), outputs);
    let job = job(&format!("{}.{}", run.bundle, task.name), "TASK");
    event(
        kind,
        time,
        json!({"runId": uuid_of_task(run, task), "facets": facets}),
        job,
        sets,
    )
}

fn job(name: &str, kind: &str) -> Value {
    let what = json!({"processingType": "BATCH", "integration": "SAMEBUNDLE", "jobType": kind});
    let what = facet(what, "2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet");
    json!({"namespace": NAMESPACE, "name": name, "facets": {"jobType": what}})
}

/// The artifacts among inputs or outputs, each named by its digest.
fn data_sets(of: &std::collections::BTreeMap<String, OutputRecord>, out: bool) -> Vec<Value> {
    let artifacts = of
        .iter()
        .flat_map(|(name, output)| output.artifacts().iter().map(move |one| (name, one)));
    let sets = artifacts.filter_map(|(name, artifact)| data_set(name, artifact, out));
    sets.collect()
}

fn data_set(name: &str, artifact: &ArtifactRecord, out: bool) -> Option<Value> {
    let digest = artifact.digest?;
    let version = json!({"datasetVersion": digest});
    let version = facet(
        version,
        "1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet",
    );
    let said = json!({"name": name, "type": artifact.artifact_type, "metadata": artifact.metadata});
    let mut set = json!({
        "namespace": digest.algorithm().name(),
        "name": digest.hex(),
        "facets": {"version": version, "samebundle_artifact": own(said)},
    });
    if out {
        let size = facet(
            json!({"size": artifact.size}),
            "1-0-2/OutputStatisticsOutputDatasetFacet.json#/$defs/OutputStatisticsOutputDatasetFacet",
        );
        set["outputFacets"] = json!({"outputStatistics": size});
    }
    Some(set)
}

/// The values among inputs or outputs.
fn values(of: &std::collections::BTreeMap<String, OutputRecord>) -> Map<String, Value> {
    let values = of.iter().filter_map(|(name, output)| match output {
        OutputRecord::Value(value) => Some((name.clone(), value.clone())),
        OutputRecord::Artifacts(_) => None,
    });
    values.collect()
}

fn nominal(started: Timestamp, finished: Option<Timestamp>) -> Value {
    let mut times = json!({"nominalStartTime": started.to_string()});
    if let Some(finished) = finished {
        times["nominalEndTime"] = json!(finished.to_string());
    }
    facet(times, "1-0-1/NominalTimeRunFacet.json#/$defs/NominalTimeRunFacet")
}

fn engine() -> Value {
    let version = env!("CARGO_PKG_VERSION");
    facet(
        json!({"name": "samebundle", "version": version, "openlineageAdapterVersion": version}),
        "1-1-1/ProcessingEngineRunFacet.json#/$defs/ProcessingEngineRunFacet",
    )
}

fn error(message: &str) -> Value {
    facet(
        json!({"message": message, "programmingLanguage": "unknown"}),
        "1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet",
    )
}

/// A facet of the specification.
fn facet(mut value: Value, schema: &str) -> Value {
    value["_producer"] = json!(PRODUCER);
    value["_schemaURL"] = json!(format!("{FACETS}/{schema}"));
    value
}

/// A facet of ours: every facet names a schema, and that of any run facet says all that a reader may rely on.
fn own(mut value: Value) -> Value {
    value["_producer"] = json!(PRODUCER);
    value["_schemaURL"] = json!("https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/BaseFacet");
    value
}

/// The id of a run as a UUID: a ULID has as many bits.
pub(super) fn uuid(run: &Run) -> String {
    let bits = ulid::Ulid::from_string(&run.id).map_or_else(
        |_| {
            let digest = Digest::sha256(run.id.as_bytes()).hex();
            u128::from_str_radix(&digest[..32], 16).unwrap_or_default()
        },
        |id| id.0,
    );
    grouped(bits)
}

/// An id of a task of a run, a UUID of version 8, which is the same every time.
fn uuid_of_task(run: &Run, task: &TaskRecord) -> String {
    let digest = Digest::sha256(format!("{}/{}", run.id, task.name).as_bytes()).hex();
    let bits = u128::from_str_radix(&digest[..32], 16).unwrap_or_default();
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x8 << 76) | (0x2 << 62);
    grouped(bits)
}

fn grouped(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
