//! What a person names of a run to sort or to choose by: when it began, how long it took, a parameter, a metric.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use samebundle_spec::Timestamp;
use samebundle_spec::bundle::parameter::nearest;
use samebundle_spec::record::ends_with;
use serde_json::Value as Json;

use super::VerbError;
use super::summary::RunSummary;

/// The aspects that every run has.
const OF_EVERY_RUN: [&str; 7] = [
    "started", "finished", "duration", "status", "program", "version", "driver",
];

/// An aspect of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Aspect {
    /// One of [`OF_EVERY_RUN`].
    Own(&'static str),
    Parameter(String),
    /// A metric, by its whole name.
    Metric(String),
}

/// What an aspect is in one run.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Text(String),
}

impl Value {
    /// Numbers stand before texts.
    pub(super) fn compare(a: &Self, b: &Self) -> Ordering {
        match (a, b) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        }
    }

    /// Tells whether it has a place among others: what is not a number (NaN) has none.
    pub(super) fn has_order(&self) -> bool {
        !matches!(self, Self::Number(number) if number.is_nan())
    }

    fn of(json: &Json) -> Option<Self> {
        match json {
            Json::Null => None,
            Json::String(text) => Some(Self::Text(text.clone())),
            other => Some(match other.as_f64() {
                Some(number) => Self::Number(number),
                None => Self::Text(other.to_string()),
            }),
        }
    }
}

impl Aspect {
    /// Reads a name: `parameters.NAME`, `metrics.NAME`, one that every run has, or NAME of a parameter or metric.
    ///
    /// # Errors
    /// If no run has it, or several aspects have the name.
    pub(super) fn read(name: &str, runs: &[RunSummary]) -> Result<Self, VerbError> {
        if let Some(parameter) = name.strip_prefix("parameters.") {
            return match runs.iter().any(|run| run.parameters.contains_key(parameter)) {
                true => Ok(Self::Parameter(parameter.to_owned())),
                false => Err(unknown("parameter", parameter, &parameters(runs))),
            };
        }
        if let Some(metric) = name.strip_prefix("metrics.") {
            return Self::metric(metric, runs).map(Self::Metric);
        }
        if let Some(own) = OF_EVERY_RUN.into_iter().find(|own| *own == name) {
            return Ok(Self::Own(own));
        }
        let parameter = runs.iter().any(|run| run.parameters.contains_key(name));
        let metric = match ending(name, runs).is_empty() {
            true => None,
            false => Some(Self::metric(name, runs)?),
        };
        match (parameter, metric) {
            (true, None) => Ok(Self::Parameter(name.to_owned())),
            (false, Some(metric)) => Ok(Self::Metric(metric)),
            (true, Some(_)) => Err(VerbError::Usage(format!(
                "{name} is a parameter and a metric: write parameters.{name} or metrics.{name}"
            ))),
            (false, None) => {
                let own = OF_EVERY_RUN.iter().map(|own| (*own).to_owned());
                let all: BTreeSet<String> = own.chain(parameters(runs)).chain(metrics(runs)).collect();
                Err(unknown("parameter or metric", name, &all))
            }
        }
    }

    /// Finds the whole name of a metric by its end.
    ///
    /// # Errors
    /// If no run has such a metric, or several end so.
    pub(super) fn metric(name: &str, runs: &[RunSummary]) -> Result<String, VerbError> {
        let name = name.strip_prefix("metrics.").unwrap_or(name);
        let ending = ending(name, runs);
        match ending.iter().next() {
            None => Err(unknown("metric", name, &metrics(runs))),
            Some(one) if ending.len() == 1 => Ok(one.clone()),
            Some(_) if ending.contains(name) => Ok(name.to_owned()),
            Some(_) => Err(VerbError::Usage(format!(
                "{name} is the end of several metrics: write one of {}",
                listed(&ending)
            ))),
        }
    }

    /// Reads what it is compared with. None if no run can have such a value, because those that it has are numbers.
    fn value(&self, text: &str, runs: &[RunSummary]) -> Option<Value> {
        let number = text.parse().ok().map(Value::Number);
        let time = || {
            let time: SystemTime = text.parse::<Timestamp>().ok()?.into();
            Some(Value::Number(since_1970(time)))
        };
        match self {
            Self::Own("started" | "finished") => number.or_else(time),
            Self::Own("duration") => number.or_else(|| seconds(text).map(Value::Number)),
            Self::Metric(_) => number,
            Self::Own(_) => Some(number.unwrap_or_else(|| Value::Text(text.to_owned()))),
            Self::Parameter(_) => {
                let there = runs.iter().filter_map(|run| self.of(run));
                let is_number = there.map(|value| matches!(value, Value::Number(_)));
                let only_numbers = is_number.reduce(|a, b| a && b).unwrap_or_default();
                let text = (!only_numbers).then(|| Value::Text(text.to_owned()));
                number.or(text)
            }
        }
    }

    /// What it is compared with, in words.
    fn wanted(&self) -> &'static str {
        match self {
            Self::Own("started" | "finished") => "a point in time such as 2026-11-22T05:06:13Z",
            Self::Own("duration") => "a number of seconds, or a time such as 7.6s or 2m 5s,",
            _ => "a number",
        }
    }

    /// What it is in a run; none if the run has no such thing.
    pub(super) fn of(&self, run: &RunSummary) -> Option<Value> {
        let text = |text: &dyn fmt::Display| Some(Value::Text(text.to_string()));
        let time = |time: SystemTime| Some(Value::Number(since_1970(time)));
        match self {
            Self::Parameter(name) => Value::of(run.parameters.get(name)?),
            Self::Metric(name) => run.metrics.get(name).map(|number| Value::Number(number.0)),
            Self::Own("started") => time(run.started.into()),
            Self::Own("finished") => time(run.finished?.into()),
            Self::Own("duration") => Some(Value::Number(run.seconds)),
            Self::Own("status") => text(&run.status.word()),
            Self::Own("program") => text(&run.installation),
            Self::Own("version") => text(&run.version),
            Self::Own(_) => text(&run.driver),
        }
    }
}

fn since_1970(time: SystemTime) -> f64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// Reads a time as the list of runs shows one: `7.6s`, `2m 5s`, `3h 20m`, also with `ms` and `d`.
fn seconds(text: &str) -> Option<f64> {
    let mut rest = text.trim();
    let mut sum = 0.0;
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| c.is_ascii_alphabetic())?);
        let end = behind.find(|c: char| !c.is_ascii_alphabetic());
        let (unit, behind) = behind.split_at(end.unwrap_or(behind.len()));
        let unit = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        sum += number.trim().parse::<f64>().ok()? * unit;
        rest = behind.trim_start();
    }
    (!text.trim().is_empty()).then_some(sum)
}

fn parameters(runs: &[RunSummary]) -> BTreeSet<String> {
    runs.iter()
        .flat_map(|run| run.parameters.keys().cloned())
        .collect()
}

fn metrics(runs: &[RunSummary]) -> BTreeSet<String> {
    runs.iter().flat_map(|run| run.metrics.keys().cloned()).collect()
}

/// The metrics that are, or end in, a name.
fn ending(name: &str, runs: &[RunSummary]) -> BTreeSet<String> {
    let mut all = metrics(runs);
    all.retain(|metric| ends_with(metric, name));
    all
}

/// How many names a message lists.
const LISTED: usize = 8;

fn listed(names: &BTreeSet<String>) -> String {
    let shown = names.iter().take(LISTED).map(String::as_str);
    let mut shown = shown.collect::<Vec<_>>().join(", ");
    if names.len() > LISTED {
        shown.push_str(&format!(" and {} more", names.len() - LISTED));
    }
    shown
}

fn unknown(what: &str, name: &str, names: &BTreeSet<String>) -> VerbError {
    // A metric is named by its end more often than whole.
    let ends = names
        .iter()
        .filter_map(|name| Some(name.rsplit_once('.')?.1.to_owned()));
    let known: BTreeSet<String> = ends.chain(names.iter().cloned()).collect();
    let near = nearest(name, &known).map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
    let all = match names.is_empty() {
        true => "they have none".to_owned(),
        false => format!("there are {}", listed(names)),
    };
    VerbError::Usage(format!("the runs have no {what} {name}{near}; {all}"))
}

/// A condition that a run meets or not: `epochs>=100`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    aspect: Aspect,
    operator: &'static str,
    value: Value,
}

impl Condition {
    /// Reads one.
    ///
    /// # Errors
    /// If it has no operator, or names nothing that a run has.
    pub(super) fn read(text: &str, runs: &[RunSummary]) -> Result<Self, VerbError> {
        // The longer ones first, where two begin at the same place.
        let operators = ["!=", ">=", "<=", "==", "=", ">", "<"];
        let found = operators
            .into_iter()
            .filter_map(|one| Some((text.find(one)?, one)));
        let Some((at, operator)) = found.min_by_key(|(at, one)| (*at, std::cmp::Reverse(one.len()))) else {
            return Err(VerbError::Usage(format!(
                "{text:?} is no condition: write NAME=VALUE, or !=, <, <=, > or >= between them"
            )));
        };
        let (name, value) = (text[..at].trim(), text[at + operator.len()..].trim());
        let aspect = Aspect::read(name, runs)?;
        let value = aspect.value(value, runs).ok_or_else(|| {
            let wanted = aspect.wanted();
            VerbError::Usage(format!("{text:?} has {value:?} where {wanted} belongs"))
        })?;
        Ok(Self {
            aspect,
            operator,
            value,
        })
    }

    /// Tells whether a run meets it. A run without such a thing meets only `!=`.
    pub(super) fn holds(&self, run: &RunSummary) -> bool {
        let Some(value) = self.aspect.of(run) else {
            return self.operator == "!=";
        };
        let order = match (&value, &self.value) {
            (Value::Number(number), Value::Number(wanted)) => order(*number, *wanted),
            // A text that looks like a number is compared as what the run has.
            (Value::Text(text), Value::Number(wanted)) => {
                text.parse().ok().and_then(|number| order(number, *wanted))
            }
            (Value::Text(text), Value::Text(wanted)) => Some(text.cmp(wanted)),
            (Value::Number(_), Value::Text(_)) => None,
        };
        let Some(order) = order else {
            return self.operator == "!=";
        };
        match self.operator {
            "!=" => order.is_ne(),
            ">=" => order.is_ge(),
            "<=" => order.is_le(),
            ">" => order.is_gt(),
            "<" => order.is_lt(),
            _ => order.is_eq(),
        }
    }
}

/// Compares numbers as a condition does: what is not a number (NaN) is the same as itself, and neither more nor less than
/// another one.
fn order(a: f64, b: f64) -> Option<Ordering> {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Some(Ordering::Equal),
        _ => a.partial_cmp(&b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_shown() {
        for (text, wanted) in [
            ("5s", 5.0),
            ("7.6s", 7.6),
            ("2m 5s", 125.0),
            ("2m5s", 125.0),
            ("1h 1m", 3660.0),
        ] {
            assert_eq!(seconds(text), Some(wanted), "{text}");
        }
        for text in ["", "5", "5 parsecs", "s", "2m 5"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn a_value_that_no_run_can_have_is_refused() {
        let metric = Aspect::Metric("loss".to_owned());
        assert_eq!(metric.value("0.5", &[]), Some(Value::Number(0.5)));
        for text in ["", "abc", "1=2"] {
            assert_eq!(metric.value(text, &[]), None, "{text}");
            assert_eq!(Aspect::Own("duration").value(text, &[]), None, "{text}");
            assert_eq!(Aspect::Own("started").value(text, &[]), None, "{text}");
        }
        assert_eq!(
            Aspect::Own("duration").value("2m 5s", &[]),
            Some(Value::Number(125.0))
        );
        let name = Aspect::Own("program").value("abc", &[]);
        assert_eq!(name, Some(Value::Text("abc".to_owned())));
    }

    #[test]
    fn what_is_no_number_is_only_itself() {
        let (nan, infinite) = (f64::NAN, f64::INFINITY);
        assert_eq!(order(nan, nan), Some(Ordering::Equal));
        assert_eq!(order(nan, 0.0), None);
        assert_eq!(order(1.0, nan), None);
        assert_eq!(order(infinite, 1.0), Some(Ordering::Greater));
        assert_eq!(order(-0.0, 0.0), Some(Ordering::Equal));
        assert!(!Value::Number(nan).has_order() && Value::Number(infinite).has_order());
    }
}
