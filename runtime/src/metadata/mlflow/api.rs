//! The requests to a tracking server of MLflow.

use std::collections::BTreeMap;
use std::path::Path;

use samebundle_registry::remote::web::{WebAnswer, WebBody, WebCall, WebMethod, WebService};
use samebundle_spec::record::Number;
use serde::Serialize;
use serde_json::{Value, json};

use crate::metadata::MetadataError;

/// Most parameters or tags in one request (MLflow's `MAX_PARAMS_TAGS_PER_BATCH`).
const PAIRS: usize = 100;
/// Most metrics in one request, with room for parameters and tags (MLflow's `MAX_ENTITIES_PER_BATCH` is 1000).
const METRICS: usize = 500;
/// Most bytes of parameters and tags in one request; MLflow takes 1 MB.
const BATCH_BYTES: usize = 500_000;
/// How much of a server's message is shown, characters.
const SHOWN: usize = 300;

/// A parameter or a tag.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) value: String,
}

impl Pair {
    pub(super) fn new(key: &str, value: String) -> Self {
        let key = key.to_owned();
        Self { key, value }
    }
}

/// A number that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Metric {
    pub(super) key: String,
    pub(super) value: Number,
    /// Milliseconds since 1970 in UTC.
    pub(super) timestamp: i64,
    pub(super) step: i64,
}

/// A run as the server has it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) artifact_uri: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) metrics: BTreeMap<String, Number>,
}

impl Found {
    fn read(run: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let pairs = |list: &Value| -> BTreeMap<String, String> {
            let list = list.as_array().into_iter().flatten();
            list.filter_map(|pair| Some((text(&pair["key"])?, text(&pair["value"])?)))
                .collect()
        };
        let metrics = run["data"]["metrics"].as_array().into_iter().flatten();
        Some(Self {
            id: text(&run["info"]["run_id"])?,
            artifact_uri: text(&run["info"]["artifact_uri"]).unwrap_or_default(),
            tags: pairs(&run["data"]["tags"]),
            parameters: pairs(&run["data"]["params"]),
            metrics: metrics
                .filter_map(|metric| Some((text(&metric["key"])?, Number::read(&metric["value"])?)))
                .collect(),
        })
    }

    /// The folder of the run's artifacts at the server itself; none if it keeps them elsewhere.
    pub(super) fn artifacts(&self) -> Option<&str> {
        let path = self.artifact_uri.strip_prefix("mlflow-artifacts:/")?;
        // Two slashes are followed by another server, which gets no credential of this one.
        (!path.starts_with('/')).then(|| path.trim_matches('/'))
    }
}

/// The interface of a server.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) service: WebService,
}

impl Api {
    /// Sends a request, and returns the answer with its JSON, whatever its status is.
    async fn call(
        &self,
        method: WebMethod,
        path: &str,
        query: &[(&str, &str)],
        body: WebBody,
        operation: &'static str,
    ) -> Result<(WebAnswer, Value), MetadataError> {
        let call = WebCall {
            method,
            path,
            query,
            body,
            operation,
            // A second run must not be made because an answer was lost.
            repeatable: path != "api/2.0/mlflow/runs/create",
        };
        let answer = self.service.send(&call).await?;
        let json = serde_json::from_slice(&answer.body);
        match json {
            Ok(json) => Ok((answer, json)),
            Err(_) => Err(MetadataError::Answer {
                place: self.service.place().to_owned(),
                operation,
                why: format!("status {}, and no JSON", answer.status),
            }),
        }
    }

    async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        operation: &'static str,
    ) -> Result<(WebAnswer, Value), MetadataError> {
        self.call(WebMethod::Get, path, query, WebBody::Empty, operation)
            .await
    }

    async fn post(&self, path: &str, body: &Value, operation: &'static str) -> Result<Value, MetadataError> {
        let bytes = serde_json::to_vec(body).unwrap_or_default();
        let (answer, json) = self
            .call(WebMethod::Post, path, &[], WebBody::Json(bytes.into()), operation)
            .await?;
        self.accepted(&answer, json, operation)
    }

    /// The JSON of an answer that says yes.
    fn accepted(
        &self,
        answer: &WebAnswer,
        json: Value,
        operation: &'static str,
    ) -> Result<Value, MetadataError> {
        if answer.status < 300 {
            return Ok(json);
        }
        let words = json["message"].as_str().or(json["error_code"].as_str());
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        Err(MetadataError::Refused {
            place: self.service.place().to_owned(),
            operation,
            why: match words {
                Some(words) => words.chars().take(SHOWN).map(plain).collect(),
                None => format!("status {}", answer.status),
            },
        })
    }

    fn odd(&self, operation: &'static str, why: &str) -> MetadataError {
        MetadataError::Answer {
            place: self.service.place().to_owned(),
            operation,
            why: why.to_owned(),
        }
    }

    /// The id of the experiment of this name, which is made if it is not there.
    pub(super) async fn experiment(&self, name: &str) -> Result<String, MetadataError> {
        const OPERATION: &str = "look up the experiment at";
        const MAKE: &str = "make an experiment at";
        let id = |json: &Value| json["experiment"]["experiment_id"].as_str().map(str::to_owned);
        let query = [("experiment_name", name)];
        let path = "api/2.0/mlflow/experiments/get-by-name";
        let (answer, json) = self.get(path, &query, OPERATION).await?;
        if answer.status < 300 {
            if json["experiment"]["lifecycle_stage"] == "deleted" {
                return Err(MetadataError::Refused {
                    place: self.service.place().to_owned(),
                    operation: "send the run to",
                    why: format!(
                        "its experiment {name} was deleted; restore it there, or delete it for good"
                    ),
                });
            }
            return id(&json).ok_or_else(|| self.odd(OPERATION, "it has no experiment_id"));
        }
        if json["error_code"] != "RESOURCE_DOES_NOT_EXIST" {
            return Err(match json["error_code"].is_string() {
                true => self.accepted(&answer, json, OPERATION).err(),
                false => None,
            }
            .unwrap_or_else(|| self.odd(OPERATION, "it has no error_code")));
        }
        let body = json!({"name": name, "tags": [{"key": "samebundle.bundle", "value": name}]});
        let made = self.post("api/2.0/mlflow/experiments/create", &body, MAKE).await;
        if let Err(refused) = made {
            // Another process may have made it meanwhile.
            let (_, json) = self.get(path, &query, OPERATION).await?;
            return id(&json).ok_or(refused);
        }
        let made = made?["experiment_id"].as_str().map(str::to_owned);
        made.ok_or_else(|| self.odd(MAKE, "it has no experiment_id"))
    }

    /// The first run of an experiment that a filter matches.
    pub(super) async fn find(&self, experiment: &str, filter: &str) -> Result<Option<Found>, MetadataError> {
        let body = json!({
            "experiment_ids": [experiment],
            "filter": filter,
            "max_results": 1,
            "order_by": ["attributes.start_time ASC"],
        });
        let json = self
            .post("api/2.0/mlflow/runs/search", &body, "look up the run at")
            .await?;
        Ok(json["runs"].get(0).and_then(Found::read))
    }

    /// Makes a run that goes on.
    pub(super) async fn create(
        &self,
        experiment: &str,
        name: &str,
        started: i64,
        tags: &[Pair],
    ) -> Result<Found, MetadataError> {
        const OPERATION: &str = "make the run at";
        let body =
            json!({"experiment_id": experiment, "run_name": name, "start_time": started, "tags": tags});
        let json = self.post("api/2.0/mlflow/runs/create", &body, OPERATION).await?;
        Found::read(&json["run"]).ok_or_else(|| self.odd(OPERATION, "it has no run_id"))
    }

    /// Adds parameters, metrics and tags, in as many requests as the server wants.
    pub(super) async fn log(
        &self,
        run: &str,
        mut parameters: Vec<&Pair>,
        mut metrics: Vec<&Metric>,
        mut tags: Vec<&Pair>,
    ) -> Result<(), MetadataError> {
        while !(parameters.is_empty() && metrics.is_empty() && tags.is_empty()) {
            let body = json!({
                "run_id": run,
                "params": some(&mut parameters),
                "metrics": metrics.drain(..metrics.len().min(METRICS)).collect::<Vec<_>>(),
                "tags": some(&mut tags),
            });
            self.post("api/2.0/mlflow/runs/log-batch", &body, "add to the run at")
                .await?;
        }
        Ok(())
    }

    /// Says how and when the run ended.
    pub(super) async fn end(&self, run: &str, status: &str, ended: i64) -> Result<(), MetadataError> {
        let body = json!({"run_id": run, "status": status, "end_time": ended});
        self.post("api/2.0/mlflow/runs/update", &body, "end the run at")
            .await?;
        Ok(())
    }

    /// The sizes of the files in a folder of a run, by their paths.
    pub(super) async fn artifacts(
        &self,
        run: &str,
        folder: &str,
    ) -> Result<BTreeMap<String, u64>, MetadataError> {
        const OPERATION: &str = "list the files of the run at";
        let mut there = BTreeMap::new();
        let mut page = String::new();
        loop {
            let query = [("run_id", run), ("path", folder), ("page_token", page.as_str())];
            let query: Vec<_> = query.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            let (answer, json) = self
                .get("api/2.0/mlflow/artifacts/list", &query, OPERATION)
                .await?;
            let json = self.accepted(&answer, json, OPERATION)?;
            for file in json["files"].as_array().into_iter().flatten() {
                let size = &file["file_size"];
                let size = size
                    .as_u64()
                    .or_else(|| size.as_str().and_then(|size| size.parse().ok()));
                if let (Some(path), Some(size)) = (file["path"].as_str(), size)
                    && file["is_dir"] != true
                {
                    there.insert(path.to_owned(), size);
                }
            }
            match json["next_page_token"].as_str() {
                Some(next) if !next.is_empty() && next != page => next.clone_into(&mut page),
                _ => return Ok(there),
            }
        }
    }

    /// Sends a file, which replaces one of the same name.
    pub(super) async fn upload(&self, name: &str, path: &Path, size: u64) -> Result<(), MetadataError> {
        const OPERATION: &str = "send a file of the run to";
        let call = WebCall {
            method: WebMethod::Put,
            path: &format!("api/2.0/mlflow-artifacts/artifacts/{name}"),
            query: &[],
            body: WebBody::File {
                path: path.to_owned(),
                size,
            },
            operation: OPERATION,
            repeatable: true,
        };
        let answer = self.service.send(&call).await?;
        let json = serde_json::from_slice(&answer.body).unwrap_or_default();
        self.accepted(&answer, json, OPERATION).map(drop)
    }
}

/// Takes as many pairs as one request may hold.
fn some<'a>(pairs: &mut Vec<&'a Pair>) -> Vec<&'a Pair> {
    let mut bytes = 0;
    let fits = pairs.iter().take(PAIRS).take_while(|pair| {
        bytes += pair.key.len() + pair.value.len();
        bytes <= BATCH_BYTES
    });
    let count = fits.count().max(1).min(pairs.len());
    pairs.drain(..count).collect()
}
