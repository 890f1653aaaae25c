//! Keeps the values of secret parameters out of a run's log and out of what its tasks print, and so out of everything
//! that is made from them.
//!
//! A secret reaches a task as an input, and the task may print it or pass it on. It is replaced by `***` as a value, and
//! inside a text in every form that [`super::forms`] knows. Inside a text, a form that is shorter than [`SHORTEST`]
//! stays: such short texts occur everywhere.

use std::borrow::Cow;
use std::collections::BTreeMap;

use samebundle_spec::record::{OutputRecord, RunEventKind, TaskQuestion};
use serde_json::Value;

use super::forms::forms;
use crate::secret::SecretValue;

/// The text that replaces a secret.
const MASK: &str = "***";

/// The length of the shortest secret that is replaced inside texts, bytes.
const SHORTEST: usize = 4;

/// The secrets of a run.
#[derive(Default)]
pub struct Mask {
    values: Vec<Value>,
    /// The longest first: a secret may contain another.
    texts: Vec<String>,
}

impl Mask {
    /// Makes a mask that hides the values of these parameters and credentials.
    pub fn new<'a>(
        parameters: impl IntoIterator<Item = &'a Value>,
        credentials: impl IntoIterator<Item = &'a SecretValue>,
    ) -> Self {
        let mut mask = Self::default();
        for secret in parameters {
            mask.add(secret);
        }
        for secret in credentials {
            match secret {
                SecretValue::One(secret) => mask.add_bytes(secret),
                SecretValue::Keys(keys) => keys.values().for_each(|secret| mask.add_bytes(secret)),
            }
        }
        mask.texts.retain(|text| text.len() >= SHORTEST);
        mask.texts
            .sort_by(|one, other| (other.len(), one).cmp(&(one.len(), other)));
        mask.texts.dedup();
        mask
    }

    fn add_bytes(&mut self, secret: &[u8]) {
        if let Ok(text) = std::str::from_utf8(secret) {
            self.add(&Value::from(text));
            // What a file holds ends with a line end, and what a program makes of it mostly does not.
            self.texts.extend(forms(text.trim_end().as_bytes()));
        } else {
            self.texts.extend(forms(secret));
        }
    }

    fn add(&mut self, secret: &Value) {
        match secret {
            Value::Null => return,
            Value::String(text) if text.is_empty() => return,
            Value::String(text) => self.texts.extend(forms(text.as_bytes())),
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(entries) => entries.values().for_each(|entry| self.add(entry)),
            Value::Bool(_) | Value::Number(_) => self.texts.push(secret.to_string()),
        }
        self.values.push(secret.clone());
    }

    /// Returns a text without secrets.
    pub(super) fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut shown = Cow::Borrowed(text);
        for secret in &self.texts {
            if shown.contains(secret) {
                shown = Cow::Owned(shown.replace(secret, MASK));
            }
        }
        shown
    }

    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.texts.is_empty()
    }

    /// Hides the secrets of an event. The parameters of the run hold no secrets in the log.
    pub(super) fn event(&self, kind: &mut RunEventKind) {
        if self.is_empty() {
            return;
        }
        match kind {
            RunEventKind::TaskStarted(started) => self.records(&mut started.inputs),
            RunEventKind::TaskSuspended(suspended) => self.question(&mut suspended.question),
            RunEventKind::TaskFinished(finished) => {
                self.records(&mut finished.outputs);
                self.message(&mut finished.message);
            }
            RunEventKind::RunFinished(finished) => {
                self.records(&mut finished.outputs);
                self.message(&mut finished.message);
            }
            _ => {}
        }
    }

    /// A question is shown as it is kept, and signed so.
    fn question(&self, question: &mut TaskQuestion) {
        self.message(&mut question.text);
        for answer in question.answers.values_mut() {
            self.message(&mut answer.description);
        }
    }

    /// Tells whether values would be changed in the log.
    pub(super) fn hides(&self, records: &BTreeMap<String, OutputRecord>) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut shown = records.clone();
        self.records(&mut shown);
        shown != *records
    }

    fn message(&self, message: &mut Option<String>) {
        if let Some(text) = message {
            *text = self.text(text).into_owned();
        }
    }

    pub(super) fn records(&self, records: &mut BTreeMap<String, OutputRecord>) {
        for record in records.values_mut() {
            match record {
                OutputRecord::Value(value) => self.value(value),
                OutputRecord::Artifacts(artifacts) => {
                    for artifact in artifacts {
                        if let Some(uri) = &mut artifact.uri {
                            *uri = self.text(uri).into_owned();
                        }
                        let entries = std::mem::take(&mut artifact.metadata).into_iter();
                        artifact.metadata = entries.map(|(key, value)| self.entry(key, value)).collect();
                    }
                }
            }
        }
    }

    fn value(&self, value: &mut Value) {
        if self.values.contains(value) {
            *value = Value::from(MASK);
            return;
        }
        match value {
            Value::String(text) => *text = self.text(text).into_owned(),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(entries) => {
                let all = std::mem::take(entries).into_iter();
                *entries = all.map(|(key, value)| self.entry(key, value)).collect();
            }
            _ => {}
        }
    }

    /// A key is a text of the program as well.
    fn entry(&self, key: String, mut value: Value) -> (String, Value) {
        self.value(&mut value);
        let is_secret = self.values.iter().any(|secret| secret.as_str() == Some(&key));
        let key = if is_secret {
            MASK.to_owned()
        } else {
            self.text(&key).into_owned()
        };
        (key, value)
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask of {} secrets", self.values.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_hidden_wherever_it_stands() {
        let secrets = [
            json!("hunter2"),
            json!(42),
            json!("a\"b\nlonger line"),
            json!(null),
        ];
        let mask = Mask::new(&secrets, []);
        for (value, wanted) in [
            (json!("hunter2"), json!("***")),
            (json!(42), json!("***")),
            (json!(43), json!(43)),
            // Too short to be looked for inside of a text.
            (json!("42 is the answer"), json!("42 is the answer")),
            (
                json!({"h": ["Bearer hunter2", null]}),
                json!({"h": ["Bearer ***", null]}),
            ),
            (json!({"hunter2": {"a hunter2": 1}}), json!({"***": {"a ***": 1}})),
            (
                json!("{\"k\": \"a\\\"b\\nlonger line\"}"),
                json!("{\"k\": \"***\"}"),
            ),
        ] {
            let mut shown = value;
            mask.value(&mut shown);
            assert_eq!(shown, wanted);
        }
        assert_eq!(mask.text("longer line: hunter2"), "***: ***");
        assert_eq!(format!("{mask:?}"), "Mask of 3 secrets");
        let odd = [json!("pä\\x'y\"<z>\n&")];
        let mask = Mask::new(&odd, []);
        for written in [
            r#"{'PW': 'pä\\x\'y"<z>\n&'}"#,
            r#"'p\xe4\\x\'y"<z>\n&'"#,
            r#"b'p\xc3\xa4\\x\'y"<z>\n&'"#,
            "pä\\x&#x27;y&quot;&lt;z&gt;\n&amp;",
        ] {
            assert!(mask.text(written).contains("***"), "{written}");
        }
        let raw = SecretValue::One(b"p\xe4sswort-geheim\xff".to_vec());
        let mask = Mask::new(&[], [&raw]);
        assert_eq!(
            mask.text("it is p\u{fffd}sswort-geheim\u{fffd}!"),
            "it is ***\u{fffd}!"
        );
    }
}
