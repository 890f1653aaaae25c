//! JSON Schemas of the documents that are ours (`spec/schema`), generated from the types that read them.
//!
//! The checked-in files are compared with the generator by a test; `SAMEBUNDLE_SCHEMAS=write` makes the test write them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::authoring::{
    Constraints, Data, ImageOrigin, ImageSource, OtherManifest, ProgramManifest, RunFiles, RunMetadata, Runs,
};
use crate::bundle::ProgramExtension;
use crate::bundle::quantity::Quantity;
use crate::pipeline::ParameterType;
use crate::record::{Format, Installation, Run, RunEvent, RunId};
use crate::signing::{KeyId, Scope};
use crate::{BundleName, Digest, EntryPath, MediaType, Reference, Repository, Tag, Timestamp, Version};

/// Gives a type that is a text on the wire its schema.
macro_rules! text_schema {
    ($($name:ident = $pattern:literal;)*) => {
        $(impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern})
            }
        })*
    };
}

text_schema! {
    BundleName = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$";
    Version = "^[0-9]+\\.[0-9]+\\.[0-9]+(-[0-9A-Za-z.-]+)?(\\+[0-9A-Za-z.-]+)?$";
    EntryPath = "^[^/]+(/[^/]+)*$";
    Digest = "^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$";
    MediaType = "^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$";
    Format = "^[0-9]+\\.[0-9]+$";
    RunId = "^[0-9A-Z]{26}$";
    Runs = "^(none|all|last:[0-9]+)$";
    RunMetadata = "^(all|records)$";
    RunFiles = "^(none|all|[0-9.]+[A-Za-z]*)$";
    ImageOrigin = "^.+$";
    Repository = "^[^/]+(/[^/]+)+$";
    Tag = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$";
    Reference = "^[^/]+(/[^/]+)+$";
    Timestamp = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9]{2}:[0-9]{2})$";
    Scope = "^.+$";
    KeyId = "^[0-9a-f]{64}$";
    ParameterType = "^[A-Z_]+$";
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number"], "minimum": 0,
            "pattern": "^\\+?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([numkKMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$",
        })
    }
}

impl JsonSchema for Constraints {
    fn schema_name() -> Cow<'static, str> {
        "Constraints".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "description": "JSON Schema keywords (draft-07)"})
    }
}

impl JsonSchema for ImageSource {
    fn schema_name() -> Cow<'static, str> {
        "ImageSource".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = crate::authoring::ImageEntry::json_schema(generator);
        schema.insert("minProperties".to_owned(), 1.into());
        schema.insert("maxProperties".to_owned(), 1.into());
        schema
    }
}

impl JsonSchema for Data {
    fn schema_name() -> Cow<'static, str> {
        "Data".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = crate::authoring::DataEntry::json_schema(generator);
        let ways = serde_json::json!([
            {"required": ["file"], "maxProperties": 2},
            {"required": ["uri", "digest", "size"], "maxProperties": 4},
        ]);
        schema.insert("oneOf".to_owned(), ways);
        schema
    }
}

/// Returns every schema with the name of its file.
pub fn all() -> Vec<(&'static str, Schema)> {
    fn generate<T: JsonSchema>() -> Schema {
        schemars::generate::SchemaSettings::draft07()
            .into_generator()
            .into_root_schema_for::<T>()
    }
    vec![
        ("program.schema.json", generate::<ProgramManifest>()),
        ("other.schema.json", generate::<OtherManifest>()),
        ("program-extension.schema.json", generate::<ProgramExtension>()),
        ("run.schema.json", generate::<Run>()),
        ("run-event.schema.json", generate::<RunEvent>()),
        ("installation.schema.json", generate::<Installation>()),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "a person asks this test to write through the environment"
    )]
    fn writes() -> bool {
        std::env::var_os("SAMEBUNDLE_SCHEMAS").is_some_and(|word| word == "write")
    }

    #[test]
    fn checked_in_schemas_are_what_the_types_say() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
        for (name, schema) in all() {
            let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
            let path = folder.join(name);
            if writes() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&path, &text).unwrap();
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                found == text,
                "spec/schema/{name} is not what the types say; run this test with SAMEBUNDLE_SCHEMAS=write"
            );
        }
    }

    /// The schema takes what the reader takes.
    #[test]
    fn schemas_take_what_is_read() {
        let schemas = all();
        let validator = |name: &str| {
            let (_, schema) = schemas.iter().find(|(file, _)| *file == name).unwrap();
            jsonschema::draft7::options()
                .offline()
                .build(schema.as_value())
                .unwrap()
        };
        let manifest: serde_json::Value = crate::yaml::from_slice(
            b"{apiVersion: samebundle.dev/v1, kind: Program, name: x, version: 1.0.0, program: {pipeline: p.yaml},\
              images: {a: {from: b}}, parameters: {e: {minimum: 1}}, requires: {resources: {cpu: 2, memory: 2Gi}},\
              data: [{name: train, file: train.csv}], history: {runs: 'last:5'}}",
            1 << 20,
        )
        .unwrap();
        let program = validator("program.schema.json");
        assert_eq!(
            program.validate(&manifest).map_err(|error| error.to_string()),
            Ok(())
        );
        for (pointer, value) in [
            ("/name", serde_json::json!("X")),
            ("/images/a", serde_json::json!({})),
            (
                "/data/0",
                serde_json::json!({"name": "train", "file": "x", "uri": "y"}),
            ),
            ("/data/0", serde_json::json!({"name": "train"})),
            ("/requires", serde_json::json!({"tpu": 1})),
            ("/requires/resources/memory", serde_json::json!("2GiB")),
        ] {
            let mut bad = manifest.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert!(!program.is_valid(&bad), "{pointer}");
        }
    }
}
