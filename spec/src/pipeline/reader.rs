//! Reads messages of proto3 JSON out of a document: known fields by name, unknown ones noted.

use serde_json::Value;

use super::node::{Kind, Node};
use super::position::{Located, PipelineError, PipelineFault, Position};

/// The result of reading a part.
pub(super) type Read<T> = Result<T, PipelineError>;

/// Reads the parts of one file and collects what it did not know.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) file: &'a str,
    pub(super) notes: Vec<PipelineFault>,
}

/// One message: its fields, each taken once.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) at: Position,
    what: String,
    fields: Vec<(&'a str, Position, &'a Node)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a str) -> Self {
        Self {
            file,
            notes: Vec::new(),
        }
    }

    pub(super) fn fault(&self, at: Position, problem: String, remedy: &str) -> PipelineError {
        PipelineError::Shape(Box::new(PipelineFault {
            file: self.file.to_owned(),
            at,
            task: None,
            problem,
            remedy: remedy.to_owned(),
        }))
    }

    fn wrong(&self, node: &Node, what: &str, wanted: &str) -> PipelineError {
        self.fault(
            node.at,
            format!("{what} is {}, not {wanted}", node.kind.name()),
            "compile the pipeline again",
        )
    }

    /// Opens a mapping as a message. `what` names it in errors.
    pub(super) fn message<'n>(&self, node: &'n Node, what: &str) -> Read<Message<'n>> {
        let Kind::Map(entries) = &node.kind else {
            return Err(self.wrong(node, what, "a mapping"));
        };
        Ok(Message {
            at: node.at,
            what: what.to_owned(),
            fields: entries
                .iter()
                .map(|(key, at, node)| (key.as_str(), *at, node))
                .collect(),
        })
    }

    /// Opens a mapping from names to anything; none: empty.
    pub(super) fn entries<'n>(
        &self,
        node: Option<&'n Node>,
        what: &str,
    ) -> Read<Vec<(&'n str, Position, &'n Node)>> {
        match node {
            None => Ok(Vec::new()),
            Some(node) => Ok(self.message(node, what)?.fields),
        }
    }

    /// Opens a list; none: empty.
    pub(super) fn list<'n>(&self, node: Option<&'n Node>, what: &str) -> Read<&'n [Node]> {
        match node.map(|node| (node, &node.kind)) {
            None => Ok(&[]),
            Some((_, Kind::List(items))) => Ok(items),
            Some((node, _)) => Err(self.wrong(node, what, "a list")),
        }
    }

    pub(super) fn text(&self, node: &Node, what: &str) -> Read<Located<String>> {
        match &node.kind {
            Kind::String(text) => Ok(Located::new(text.clone(), node.at)),
            _ => Err(self.wrong(node, what, "a string")),
        }
    }

    /// Reads a text that older compilers wrote as a number.
    pub(super) fn text_or_number(&self, node: &Node, what: &str) -> Read<Located<String>> {
        match &node.kind {
            Kind::Number(number) => Ok(Located::new(whole(number), node.at)),
            _ => self.text(node, what),
        }
    }

    pub(super) fn texts(&self, node: Option<&Node>, what: &str) -> Read<Vec<Located<String>>> {
        self.list(node, what)?
            .iter()
            .map(|item| self.text(item, what))
            .collect()
    }

    pub(super) fn boolean(&self, node: Option<&Node>, what: &str) -> Read<bool> {
        match node.map(|node| (node, &node.kind)) {
            None => Ok(false),
            Some((_, Kind::Bool(value))) => Ok(*value),
            Some((node, _)) => Err(self.wrong(node, what, "a boolean")),
        }
    }

    pub(super) fn number(&self, node: &Node, what: &str) -> Read<f64> {
        let found = match &node.kind {
            Kind::Number(number) => number.as_f64(),
            // proto3 JSON writes 64-bit integers as texts.
            Kind::String(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        };
        found.ok_or_else(|| self.wrong(node, what, "a number"))
    }

    /// Notes the fields of a message that were not read.
    pub(super) fn finish(&mut self, message: Message<'_>) {
        for (key, at, _) in message.fields {
            self.notes.push(PipelineFault {
                file: self.file.to_owned(),
                at,
                task: None,
                problem: format!("field {key:?} of {} is not known and has no effect", message.what),
                remedy: "remove it, or use a samebundle that knows it".to_owned(),
            });
        }
    }

    pub(super) fn required<'n>(
        &self,
        message: &Message<'n>,
        found: Option<&'n Node>,
        name: &str,
    ) -> Read<&'n Node> {
        found.ok_or_else(|| {
            self.fault(
                message.at,
                format!("{} has no {name:?}", message.what),
                "compile the pipeline again",
            )
        })
    }
}

impl<'a> Message<'a> {
    /// Takes a field by its JSON name or its proto name. Null is the same as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a Node> {
        let index = self.fields.iter().position(|(key, _, _)| same_field(key, name))?;
        let (_, _, node) = self.fields.remove(index);
        (node.kind != Kind::Null).then_some(node)
    }

    /// Takes a field as a value, null included.
    pub(super) fn take_value(&mut self, name: &str) -> Option<Value> {
        let index = self.fields.iter().position(|(key, _, _)| same_field(key, name))?;
        Some(self.fields.remove(index).2.to_value())
    }

    /// Tells whether a message has a field that is not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields
            .iter()
            .any(|(key, _, node)| same_field(key, name) && node.kind != Kind::Null)
    }

    /// Returns the name of a field that was not read.
    pub(super) fn left(&self) -> Option<&'a str> {
        self.fields.first().map(|(key, _, _)| *key)
    }
}

/// Writes a number as an integer if it is one.
fn whole(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(value) if value.fract() == 0.0 && value.abs() < 9.0e15 => format!("{value:.0}"),
        _ => number.to_string(),
    }
}

/// proto3 JSON: readers take lowerCamelCase and the name in the proto file.
fn same_field(key: &str, name: &str) -> bool {
    key == name || (key.contains('_') && camel(key) == name)
}

fn camel(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    let mut upper = false;
    for character in key.chars() {
        if character == '_' {
            upper = true;
        } else if upper {
            out.extend(character.to_uppercase());
            upper = false;
        } else {
            out.push(character);
        }
    }
    out
}
