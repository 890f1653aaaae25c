//! The graph of a crate: entities by their ids, each once, in the order in which they were added.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The contexts that name the terms.
const CONTEXTS: [&str; 2] = [
    "https://w3id.org/ro/crate/1.1/context",
    "https://w3id.org/ro/terms/workflow-run/context",
];

/// Entities by their ids.
#[derive(Debug, Default)]
pub(super) struct Graph {
    entities: Vec<Map<String, Value>>,
    places: BTreeMap<String, usize>,
}

impl Graph {
    fn entity(&mut self, id: &str) -> &mut Map<String, Value> {
        let at = *self.places.entry(id.to_owned()).or_insert_with(|| {
            let entity = Map::from_iter([("@id".to_owned(), json!(id))]);
            self.entities.push(entity);
            self.entities.len() - 1
        });
        &mut self.entities[at]
    }

    /// Adds an entity. What is known of it already stays.
    pub(super) fn add(&mut self, id: &str, properties: Value) {
        let entity = self.entity(id);
        if let Value::Object(properties) = properties {
            for (name, value) in properties {
                entity.entry(name).or_insert(value);
            }
        }
    }

    /// Says more of an entity. What is known of it is replaced.
    pub(super) fn extend(&mut self, id: &str, properties: Value) {
        let entity = self.entity(id);
        if let Value::Object(properties) = properties {
            entity.extend(properties);
        }
    }

    /// Names another entity in a property that may name several.
    pub(super) fn link(&mut self, from: &str, property: &str, to: &str) {
        let entity = self.entity(from);
        let links = entity.entry(property).or_insert_with(|| json!([]));
        if let Value::Array(links) = links
            && !links.contains(&id(to))
        {
            links.push(id(to));
        }
    }

    /// The type of an entity.
    pub(super) fn kind(&self, id: &str) -> String {
        let found = self.places.get(id).map(|at| &self.entities[*at]);
        let kind = found.and_then(|entity| entity.get("@type")?.as_str());
        kind.unwrap_or("Thing").to_owned()
    }

    /// The document.
    pub(super) fn document(self) -> Value {
        let entities: Vec<Value> = self.entities.into_iter().map(flat).collect();
        json!({"@context": CONTEXTS, "@graph": entities})
    }
}

/// Writes a list of one as that one, and leaves out a list of none, as RO-Crate recommends.
fn flat(entity: Map<String, Value>) -> Value {
    let flat = entity.into_iter().filter_map(|(name, value)| match value {
        Value::Array(mut list) => match list.len() {
            0 => None,
            1 => list.pop().map(|one| (name, one)),
            _ => Some((name, Value::Array(list))),
        },
        other => Some((name, other)),
    });
    Value::Object(flat.collect())
}

/// A link to an entity.
pub(super) fn id(id: &str) -> Value {
    json!({"@id": id})
}

/// Links to entities.
pub(super) fn ids<T: AsRef<str>>(all: impl IntoIterator<Item = T>) -> Vec<Value> {
    all.into_iter().map(|one| id(one.as_ref())).collect()
}

/// A path or a name as a part of an id: what an address may not hold is encoded.
pub(super) fn encoded(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'~' | b'/' | b':' => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}
