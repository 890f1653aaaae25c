//! What a run measured, read from its record: scalars, confusion matrices and ROC curves.
//!
//! The SDK of Kubeflow Pipelines keeps what a component logs in the metadata of an artifact; the artifact's type says in
//! which form. A number that a task returns counts as a scalar too. What is not of the form is left out: it stays in the
//! record, and no view of a run fails because of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{ArtifactRecord, OutputRecord, Run, TaskRecord};

/// A number that was measured. Two of them that are not a number (NaN) are the same, because nobody can tell them apart; in
/// JSON, which has no such number, it is a word, and so are the infinite ones.
#[derive(Clone, Copy, Debug)]
pub struct Number(pub f64);

impl Number {
    /// Reads a number of JSON, or the word that stands for one that JSON does not have.
    pub fn read(value: &Value) -> Option<Self> {
        let number = match value.as_str() {
            Some("NaN") => f64::NAN,
            Some("Infinity") => f64::INFINITY,
            Some("-Infinity") => f64::NEG_INFINITY,
            _ => value.as_f64()?,
        };
        Some(Self(number))
    }

    /// The word for what JSON has no number for.
    fn word(self) -> Option<&'static str> {
        match self.0 {
            number if number.is_nan() => Some("NaN"),
            f64::INFINITY => Some("Infinity"),
            f64::NEG_INFINITY => Some("-Infinity"),
            _ => None,
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || (self.0.is_nan() && other.0.is_nan())
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.word() {
            Some(word) => serializer.serialize_str(word),
            None => serializer.serialize_f64(self.0),
        }
    }
}

#[cfg(any(test, feature = "schema"))]
impl schemars::JsonSchema for Number {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A number that was measured; a word where JSON has none.",
            "anyOf": [{"type": "number", "format": "double"}, {"enum": ["NaN", "Infinity", "-Infinity"]}],
        })
    }
}

/// What an artifact says that was measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Metrics {
    /// Numbers by name, of a `system.Metrics`.
    Scalars(BTreeMap<String, Number>),
    /// How well classes were told apart, of a `system.ClassificationMetrics`.
    Classification(Classification),
    /// The same for each slice of the data, of a `system.SlicedClassificationMetrics`.
    Slices(Vec<(String, Classification)>),
}

/// How well classes were told apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Classification {
    /// How often each class was taken for which.
    pub confusion: Option<ConfusionMatrix>,
    /// The points of the ROC curve, in the order in which they were logged.
    pub roc: Vec<RocPoint>,
}

/// How often each class was taken for which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    /// The classes.
    pub labels: Vec<String>,
    /// A row for each actual class, with a number for each predicted one; as many of both as there are labels.
    pub rows: Vec<Vec<f64>>,
}

/// A point of a ROC curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RocPoint {
    /// The score from which on something counts as positive; none if it is infinite, as that of the first point is.
    pub threshold: Option<f64>,
    /// The part of the negatives that counts as positive, from 0 to 1.
    pub false_positive_rate: f64,
    /// The part of the positives that counts as positive, from 0 to 1.
    pub true_positive_rate: f64,
}

impl ArtifactRecord {
    /// What the artifact says that was measured; none if it says nothing of that, in the form that its type has.
    pub fn metrics(&self) -> Option<Metrics> {
        let found = match self.artifact_type.as_str() {
            "system.Metrics" => {
                let numbers = self.metadata.iter();
                let numbers = numbers.filter_map(|(name, value)| Some((name.clone(), Number::read(value)?)));
                Metrics::Scalars(numbers.collect())
            }
            "system.ClassificationMetrics" => {
                Metrics::Classification(Classification::read(|name| self.metadata.get(name)))
            }
            "system.SlicedClassificationMetrics" => {
                let slices = list(self.metadata.get("evaluationSlices")?)?.iter();
                let slices = slices.filter_map(|slice| {
                    let metrics = slice.get("sliceClassificationMetrics")?;
                    let name = slice.get("slice")?.as_str()?.to_owned();
                    Some((name, Classification::read(|name| metrics.get(name))))
                });
                Metrics::Slices(slices.collect())
            }
            _ => return None,
        };
        (!found.is_empty()).then_some(found)
    }

    /// What the program said of it besides what was measured.
    pub fn remarks(&self) -> impl Iterator<Item = (&String, &Value)> {
        let metrics = self.metrics();
        self.metadata.iter().filter(move |(name, _)| {
            let measured = match &metrics {
                Some(Metrics::Scalars(scalars)) => scalars.contains_key(*name),
                Some(Metrics::Classification(_) | Metrics::Slices(_)) => MEASURED.contains(&name.as_str()),
                None => false,
            };
            !measured && name.as_str() != DISPLAY_NAME
        })
    }
}

/// The metadata in which classifications are.
const MEASURED: [&str; 3] = ["confusionMatrix", "confidenceMetrics", "evaluationSlices"];
/// The metadata that the SDK adds of itself: the artifact's name.
const DISPLAY_NAME: &str = "display_name";

impl Metrics {
    fn is_empty(&self) -> bool {
        match self {
            Self::Scalars(scalars) => scalars.is_empty(),
            Self::Classification(one) => one.is_empty(),
            Self::Slices(slices) => slices.iter().all(|(_, one)| one.is_empty()),
        }
    }
}

impl Classification {
    fn is_empty(&self) -> bool {
        self.confusion.is_none() && self.roc.is_empty()
    }

    fn read<'a>(field: impl Fn(&str) -> Option<&'a Value>) -> Self {
        let points = field("confidenceMetrics").and_then(list);
        Self {
            confusion: field("confusionMatrix").and_then(ConfusionMatrix::read),
            roc: points.into_iter().flatten().filter_map(RocPoint::read).collect(),
        }
    }

    /// The area under the ROC curve, by trapezoids; none if there are fewer than two points.
    pub fn area_under_curve(&self) -> Option<f64> {
        let mut points = self.roc.clone();
        points.sort_by(|a, b| {
            let across = a.false_positive_rate.total_cmp(&b.false_positive_rate);
            across.then(a.true_positive_rate.total_cmp(&b.true_positive_rate))
        });
        let strips = points.windows(2).map(|pair| {
            let width = pair[1].false_positive_rate - pair[0].false_positive_rate;
            width * (pair[0].true_positive_rate + pair[1].true_positive_rate) / 2.0
        });
        (points.len() > 1).then(|| strips.sum())
    }
}

impl ConfusionMatrix {
    fn read(value: &Value) -> Option<Self> {
        let value = value.get("struct").unwrap_or(value);
        let labels = list(value.get("annotationSpecs")?)?.iter();
        let labels = labels.map(|label| Some(label.get("displayName")?.as_str()?.to_owned()));
        let labels: Vec<String> = labels.collect::<Option<_>>()?;
        let rows = list(value.get("rows")?)?.iter();
        let rows = rows.map(|row| list(row.get("row")?)?.iter().map(Value::as_f64).collect());
        let rows: Vec<Vec<f64>> = rows.collect::<Option<_>>()?;
        let square = rows.len() == labels.len() && rows.iter().all(|row| row.len() == labels.len());
        (square && !labels.is_empty()).then_some(Self { labels, rows })
    }
}

impl RocPoint {
    fn read(value: &Value) -> Option<Self> {
        Some(Self {
            threshold: value.get("confidenceThreshold").and_then(Value::as_f64),
            false_positive_rate: value.get("falsePositiveRate")?.as_f64()?,
            true_positive_rate: value.get("recall")?.as_f64()?,
        })
    }
}

/// A list as the SDK writes it, or as Kubeflow's metadata store does, with a `list` around it.
fn list(value: &Value) -> Option<&Vec<Value>> {
    value.get("list").unwrap_or(value).as_array()
}

impl Run {
    /// The tasks that did the work themselves: not those that only hold others.
    pub fn working_tasks(&self) -> impl Iterator<Item = &TaskRecord> {
        let parents = self.tasks.iter().filter_map(|task| task.name.rsplit_once('/'));
        let parents: BTreeSet<&str> = parents.map(|(parent, _)| parent).collect();
        self.tasks
            .iter()
            .filter(move |task| !parents.contains(task.name.as_str()))
    }

    /// Everything that came out, by name: what the program returns under its own name, and every output of every task as
    /// `TASK.NAME`.
    pub fn all_outputs(&self) -> BTreeMap<String, &OutputRecord> {
        let returned = self.outputs.iter().map(|(name, output)| (name.clone(), output));
        returned.chain(self.outputs_of_tasks()).collect()
    }

    /// What came out, each artifact once: one that the program returns is not named again as that of its task.
    pub fn distinct_outputs(&self) -> BTreeMap<String, &OutputRecord> {
        let mut outputs = self.all_outputs();
        let returned = |output: &OutputRecord| self.outputs.values().any(|returned| returned == output);
        outputs.retain(|name, output| {
            self.outputs.contains_key(name) || matches!(output, OutputRecord::Value(_)) || !returned(output)
        });
        outputs
    }

    fn outputs_of_tasks(&self) -> impl Iterator<Item = (String, &OutputRecord)> {
        self.working_tasks().flat_map(|task| {
            let outputs = task.outputs.iter();
            outputs.map(|(name, output)| (format!("{}.{name}", task.name), output))
        })
    }

    /// Every number that was measured: `TASK.ARTIFACT.METRIC` of metrics that were logged, `TASK.OUTPUT` of numbers that
    /// tasks return. A run without tasks, of a foreign bundle, has those of its outputs.
    pub fn scalars(&self) -> BTreeMap<String, Number> {
        let outputs: Vec<(String, &OutputRecord)> = match self.tasks.is_empty() {
            true => self.all_outputs().into_iter().collect(),
            false => self.outputs_of_tasks().collect(),
        };
        let scalars = outputs.into_iter().flat_map(|(name, output)| match output {
            OutputRecord::Value(value) => {
                let number = value.as_f64().map(|number| (name, Number(number)));
                number.into_iter().collect()
            }
            OutputRecord::Artifacts(artifacts) => {
                let numbers = artifacts.iter().filter_map(|one| match one.metrics()? {
                    Metrics::Scalars(scalars) => Some(scalars),
                    Metrics::Classification(_) | Metrics::Slices(_) => None,
                });
                let named = numbers
                    .flatten()
                    .map(|(metric, number)| (format!("{name}.{metric}"), number));
                named.collect::<Vec<_>>()
            }
        });
        scalars.collect()
    }
}

/// Gives each of several dotted names the shortest end of it that no other has: `accuracy` for `evaluate.metrics.accuracy`.
pub fn short_names<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'a str, &'a str> {
    let names: Vec<&str> = names.into_iter().collect();
    let short = |name: &&'a str| {
        let ends = name.rmatch_indices('.').map(|(at, _)| &name[at + 1..]);
        let alone = |end: &&str| names.iter().filter(|other| ends_with(other, end)).count() == 1;
        (*name, ends.into_iter().find(alone).unwrap_or(name))
    };
    names.iter().map(short).collect()
}

/// Tells whether a dotted name is, or ends in, another one.
pub fn ends_with(name: &str, end: &str) -> bool {
    name.strip_suffix(end)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests;
