//! Writes `bundle.json`: the pipeline's interface and what `samebundle.yaml` adds, in the form of CNAB 1.2.
//!
//! Nothing here depends on time, paths or the order of files: the same manifest, pipeline and images give the same
//! bytes.

use std::collections::{BTreeMap, BTreeSet};

use samebundle_spec::authoring::{Constraints, Data, Kind, ProgramManifest};
use samebundle_spec::bundle::definition::ARTIFACT_FORMAT;
use samebundle_spec::bundle::parameter::nearest;
use samebundle_spec::bundle::program::{API_VERSION, CarriedData, DataPointer, KEY, PipelinePart};
use samebundle_spec::bundle::view::{Action, Credential, Destination, Image, Output, Parameter};
use samebundle_spec::bundle::{Bundle, BundleError, Notice, ProgramExtension, View};
use samebundle_spec::pipeline::{
    Input, Need, Needs, Output as PipelineOutput, OutputKind, ParameterType, Pipeline,
};
use samebundle_spec::{Classify, Descriptor, ErrorKind, canonical, json, limits};
use serde_json::{Map, Value, json};

use super::content::ContentArtifact;
use super::images::named;

/// The component that is the content artifact.
const CONTENT: &str = "content";
/// The folder for outputs in an invocation image (cnab-spec 101).
const OUTPUTS: &str = "/cnab/app/outputs/";
/// Well-known output of `io.cnab.status` (cnab-spec 804).
const STATUS: &str = "status";

/// Why the manifest and the pipeline do not fit together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MismatchError {
    /// A parameter that the pipeline does not have.
    #[error("samebundle.yaml has the parameter {name:?}, which the pipeline {pipeline} does not have{}", hint(.nearest.as_deref()))]
    Parameter {
        /// The parameter.
        name: String,
        /// The pipeline.
        pipeline: String,
        /// The nearest name that exists.
        nearest: Option<String>,
    },
    /// An image that no task uses.
    #[error("samebundle.yaml says where the image {name:?} comes from, but no task of the pipeline {pipeline} uses it{}", hint(.nearest.as_deref()))]
    Image {
        /// The image.
        name: String,
        /// The pipeline.
        pipeline: String,
        /// The nearest name that exists.
        nearest: Option<String>,
    },
    /// A default that the limits of its parameter refuse.
    #[error("the default of parameter {name:?} does not fit what samebundle.yaml asks of it: {why}")]
    Default {
        /// The parameter.
        name: String,
        /// Why not.
        why: String,
    },
    /// A kind of bundle that cannot be built yet.
    #[error("bundles of kind {kind:?} cannot be built yet; only Program can")]
    Kind {
        /// The kind.
        kind: Kind,
    },
    /// Name and version are too long for a tag.
    #[error("name and version make no tag: {why}; shorten one of them")]
    Tag {
        /// Why not.
        why: String,
    },
}

impl Classify for MismatchError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

/// The sources of `bundle.json`.
pub(super) struct Sources<'a> {
    pub(super) manifest: &'a ProgramManifest,
    pub(super) pipeline: &'a Pipeline,
    pub(super) invocation: &'a Descriptor,
    pub(super) content: &'a ContentArtifact,
    pub(super) wheelhouse: bool,
    /// Images by their names in the pipeline.
    pub(super) images: &'a BTreeMap<String, Descriptor>,
    pub(super) carried: &'a [CarriedData],
}

/// A bundle and the component of everything in it.
pub(super) struct Described {
    pub(super) bundle: Bundle,
    pub(super) components: BTreeMap<String, Descriptor>,
}

/// Refuses a `samebundle.yaml` that names parameters or images that the pipeline does not have. It is called before any
/// image is fetched.
pub(super) fn check(manifest: &ProgramManifest, pipeline: &Pipeline) -> Result<(), MismatchError> {
    let inputs = pipeline.inputs().into_iter().map(|input| input.name);
    let artifacts = pipeline.root.inputs.artifacts.keys().cloned();
    let parameters: Vec<String> = inputs
        .chain(pipeline.needs().config_maps.into_keys())
        .chain(artifacts)
        .collect();
    if let Some(name) = manifest
        .parameters
        .keys()
        .find(|name| !parameters.contains(*name))
    {
        return Err(MismatchError::Parameter {
            name: name.clone(),
            pipeline: pipeline.name.value.clone(),
            nearest: nearest(name, &parameters),
        });
    }
    let images: Vec<String> = named(pipeline, &manifest.images).into_iter().collect();
    match manifest.images.keys().find(|name| !images.contains(*name)) {
        Some(name) => Err(MismatchError::Image {
            name: name.clone(),
            pipeline: pipeline.name.value.clone(),
            nearest: nearest(name, &images),
        }),
        None => Ok(()),
    }
}

/// Composes the bundle.
pub(super) fn describe(sources: &Sources<'_>) -> Result<Described, super::BuildError> {
    let Sources {
        manifest, pipeline, ..
    } = sources;
    let (components, images, names) = name_components(sources);
    let mut view = View {
        schema_version: "v1.2.0".to_owned(),
        name: manifest.name.to_string(),
        version: manifest.version.clone(),
        description: manifest
            .description
            .clone()
            .or_else(|| pipeline.description.clone()),
        keywords: manifest.keywords.clone(),
        license: manifest.license.clone(),
        maintainers: manifest.maintainers.clone(),
        invocation_images: vec![image(
            label(manifest, "invocation"),
            sources.invocation,
            "The run tool for other CNAB runtimes",
        )],
        images,
        parameters: BTreeMap::new(),
        credentials: BTreeMap::new(),
        outputs: BTreeMap::new(),
        definitions: BTreeMap::new(),
        actions: actions(),
        custom: Map::new(),
        required_extensions: Vec::new(),
    };
    let needs = pipeline.needs();
    add_parameters(&mut view, &all_inputs(pipeline, &needs), &manifest.parameters);
    mark_artifacts(&mut view, pipeline);
    add_credentials(&mut view, &needs);
    add_outputs(&mut view, &pipeline.outputs());
    let extension = ProgramExtension {
        api_version: API_VERSION.to_owned(),
        content: CONTENT.to_owned(),
        pipeline: Some(PipelinePart {
            name: pipeline.name.value.clone(),
            digest: sources.content.pipeline.digest,
        }),
        images: names,
        wheelhouse: sources.wheelhouse,
        requires: manifest.requires.clone(),
        data: pointers(&manifest.data),
        carried: sources.carried.to_vec(),
    };
    let extension = serde_json::to_value(extension)
        .map_err(|error| BundleError::from(canonical::CanonicalError::from(error)))?;
    view.custom.insert(KEY.to_owned(), extension);
    let bundle = Bundle::compose(&view)?;
    for notice in bundle.notices() {
        if let Notice::Default { definition, why } = notice {
            let name = definition.clone();
            return Err(MismatchError::Default {
                name,
                why: why.clone(),
            }
            .into());
        }
    }
    Ok(Described { bundle, components })
}

/// The data that is not carried and stays at its address.
fn pointers(data: &[Data]) -> Vec<DataPointer> {
    let pointer = |data: &Data| match data {
        Data::Pointer(pointer) => Some(pointer.clone()),
        Data::File(_) => None,
    };
    data.iter().filter_map(pointer).collect()
}

/// Components by name, the same for `bundle.json`, and the component of each image that the pipeline names.
type Named = (
    BTreeMap<String, Descriptor>,
    BTreeMap<String, Image>,
    BTreeMap<String, String>,
);

fn name_components(sources: &Sources<'_>) -> Named {
    let mut taken = BTreeSet::from([CONTENT.to_owned()]);
    let content = &sources.content.manifest;
    let described = image(
        label(sources.manifest, CONTENT),
        content,
        "Pipeline, wheelhouse and data",
    );
    let mut components = BTreeMap::from([(CONTENT.to_owned(), content.clone())]);
    let mut images = BTreeMap::from([(CONTENT.to_owned(), described)]);
    let mut names = BTreeMap::new();
    for (text, descriptor) in sources.images {
        let name = distinct(&slug(text, '-'), &mut taken);
        components.insert(name.clone(), descriptor.bare());
        images.insert(
            name.clone(),
            image(text.clone(), descriptor, "Runs tasks of the pipeline"),
        );
        names.insert(text.clone(), name);
    }
    (components, images, names)
}

/// Makes a reference, in words of the bundle, for content that is only found by its digest.
fn label(manifest: &ProgramManifest, what: &str) -> String {
    format!(
        "{}-{what}:{}",
        slug(manifest.name.as_str(), '-'),
        manifest.version.as_tag()
    )
}

fn image(text: String, descriptor: &Descriptor, description: &str) -> Image {
    Image {
        image: text,
        image_type: Some("oci".to_owned()),
        content_digest: Some(descriptor.digest.to_string()),
        size: Some(descriptor.size),
        media_type: Some(descriptor.media_type.to_string()),
        labels: BTreeMap::new(),
        description: Some(description.to_owned()),
    }
}

/// Returns the letters and digits in lower case, with each run of other characters replaced by one `mark`.
fn slug(text: &str, mark: char) -> String {
    let mut slug = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with(mark) {
            slug.push(mark);
        }
    }
    slug.trim_end_matches(mark).to_owned()
}

/// Makes a name distinct from those that are taken, deterministically.
fn distinct(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    let wanted = if wanted.is_empty() { "x" } else { wanted };
    let numbered = (2..).map(|number| format!("{wanted}{number}"));
    let name = std::iter::once(wanted.to_owned())
        .chain(numbered)
        .find(|name| !taken.contains(name));
    let name = name.unwrap_or_default();
    taken.insert(name.clone());
    name
}

/// Returns the inputs of the pipeline: its parameters, its config maps, of which each key is a text and a whole one an object
/// of texts, and its artifacts, of which each is a path or an address.
fn all_inputs(pipeline: &Pipeline, needs: &Needs) -> Vec<Input> {
    let config_maps = needs.config_maps.iter().map(|(name, need)| Input {
        name: name.clone(),
        parameter_type: match need.key {
            Some(_) => ParameterType::String,
            None => ParameterType::Struct,
        },
        default: None,
        optional: !need.required,
        literals: Vec::new(),
        description: Some(described("config map", need)),
    });
    let artifacts = pipeline.root.inputs.artifacts.iter().map(|(name, spec)| Input {
        name: name.clone(),
        parameter_type: match spec.list {
            true => ParameterType::List,
            false => ParameterType::String,
        },
        default: None,
        optional: spec.optional,
        literals: Vec::new(),
        description: spec.description.clone(),
    });
    pipeline
        .inputs()
        .into_iter()
        .chain(config_maps)
        .chain(artifacts)
        .collect()
}

/// Marks the parameters that take the artifacts of the pipeline.
fn mark_artifacts(view: &mut View, pipeline: &Pipeline) {
    for (name, spec) in &pipeline.root.inputs.artifacts {
        if let Some(Value::Object(schema)) = view.definitions.get_mut(name) {
            schema.insert("format".to_owned(), ARTIFACT_FORMAT.into());
            schema.insert(
                "title".to_owned(),
                spec.artifact_type.schema_title.as_str().into(),
            );
            if spec.list {
                schema.insert("items".to_owned(), json!({"type": "string"}));
            }
        }
    }
}

/// Says in a sentence what a key of a secret or a config map is for.
fn described(what: &str, need: &Need) -> String {
    let part = match &need.key {
        Some(key) => format!("The key {key} of the {what} {}", need.group),
        None => format!("All keys of the {what} {}", need.group),
    };
    let tasks: Vec<&str> = need.tasks.iter().map(String::as_str).collect();
    let variables: Vec<&str> = need.variables.iter().map(String::as_str).collect();
    match variables.as_slice() {
        [] => format!("{part}, for {}", tasks.join(", ")),
        _ => format!(
            "{part}, which {} reads as {}",
            tasks.join(", "),
            variables.join(", ")
        ),
    }
}

/// Adds the secrets of the pipeline. Only a run needs them. A whole secret is an object of texts.
fn add_credentials(view: &mut View, needs: &Needs) {
    let mut variables = BTreeSet::new();
    for (name, need) in &needs.secrets {
        let slug = distinct(&slug(name, '_'), &mut variables);
        let destination = match need.key {
            Some(_) => Destination {
                env: Some(format!("SAMEBUNDLE_C_{}", slug.to_ascii_uppercase())),
                path: None,
            },
            None => Destination {
                env: None,
                path: Some(format!("/cnab/app/credentials/{slug}.json")),
            },
        };
        let credential = Credential {
            destination,
            apply_to: vec!["run".to_owned()],
            required: need.required,
            description: Some(described("secret", need)),
        };
        view.credentials.insert(name.clone(), credential);
    }
}

fn add_parameters(view: &mut View, inputs: &[Input], constraints: &BTreeMap<String, Constraints>) {
    let mut variables = BTreeSet::new();
    for input in inputs {
        let mut schema = schema_of(input.parameter_type);
        // An integer beyond 2^53 has no canonical form, and a double of that size is written like one. The engine takes the
        // default and the values that are allowed from the pipeline, so nothing is lost but what the bundle says of them.
        let is_canonical = |value: &Value| {
            let text = canonical::to_vec(value);
            text.is_ok_and(|text| json::value(&text, limits::PIPELINE_BYTES).is_ok())
        };
        if let Some(default) = input.default.as_ref().filter(|default| is_canonical(default)) {
            schema.insert("default".to_owned(), default.clone());
        }
        let literals = Value::from(input.literals.clone());
        if !input.literals.is_empty() && is_canonical(&literals) {
            schema.insert("enum".to_owned(), literals);
        }
        if let Some(constraints) = constraints.get(&input.name) {
            schema.extend(constraints.keywords().clone());
        }
        let required = !input.optional && input.default.is_none() && !schema.contains_key("default");
        let variable = distinct(&slug(&input.name, '_'), &mut variables).to_ascii_uppercase();
        // Only a run needs the value: install, upgrade and uninstall must not ask for it.
        let asking: &[&str] = if required {
            &["run", "io.cnab.dry-run"]
        } else {
            &[]
        };
        let parameter = Parameter {
            definition: input.name.clone(),
            destination: Destination {
                env: Some(format!("SAMEBUNDLE_P_{variable}")),
                path: None,
            },
            apply_to: asking.iter().map(|action| (*action).to_owned()).collect(),
            required,
            description: match &input.default {
                Some(default) if !is_canonical(default) => {
                    let said = input.description.iter().cloned();
                    Some(
                        said.chain([format!("Default: {default}")])
                            .collect::<Vec<_>>()
                            .join(" "),
                    )
                }
                _ => input.description.clone(),
            },
        };
        view.definitions.insert(input.name.clone(), Value::Object(schema));
        view.parameters.insert(input.name.clone(), parameter);
    }
}

fn add_outputs(view: &mut View, outputs: &[PipelineOutput]) {
    let mut files = BTreeSet::from([STATUS.to_owned()]);
    let mut add = |name: &str, file: &str, schema: Value, apply_to: &[&str], description: Option<String>| {
        let definition = format!("output.{name}");
        view.definitions.insert(definition.clone(), schema);
        let output = Output {
            definition,
            path: format!("{OUTPUTS}{file}"),
            apply_to: apply_to.iter().map(|action| (*action).to_owned()).collect(),
            description,
        };
        view.outputs.insert(name.to_owned(), output);
    };
    let status = json!({"type": "object", "required": ["status"]});
    let said = "What the invocation image says of the installation (cnab-spec 804)".to_owned();
    add(
        STATUS,
        STATUS,
        status,
        &["io.cnab.status", "io.cnab.status+json"],
        Some(said),
    );
    for output in outputs {
        let schema = match &output.kind {
            OutputKind::Parameter(parameter_type) => Value::Object(schema_of(*parameter_type)),
            OutputKind::Artifact { artifact_type, .. } => {
                let title = artifact_type.schema_title.as_str();
                json!({"type": "string", "contentEncoding": "base64", "title": title})
            }
        };
        let file = distinct(&slug(&output.name, '-'), &mut files);
        add(&output.name, &file, schema, &["run"], output.description.clone());
    }
}

/// Returns the JSON Schema of a parameter's type. An integer stays an integer.
fn schema_of(parameter_type: ParameterType) -> Map<String, Value> {
    let word = match parameter_type {
        ParameterType::Double => "number",
        ParameterType::Integer => "integer",
        ParameterType::String => "string",
        ParameterType::Boolean => "boolean",
        ParameterType::List => "array",
        ParameterType::Struct | ParameterType::TaskFinalStatus | ParameterType::TaskConfig => "object",
    };
    Map::from_iter([("type".to_owned(), word.into())])
}

fn actions() -> BTreeMap<String, Action> {
    let action = |title: &str, description: &str, modifies, stateless| Action {
        title: Some(title.to_owned()),
        description: Some(description.to_owned()),
        modifies,
        stateless,
    };
    [
        (
            "run",
            action("Run", "Runs the pipeline; needs samebundle", true, false),
        ),
        (
            "io.cnab.help",
            action("Help", "Says what the bundle does and how to run it", false, true),
        ),
        (
            "io.cnab.dry-run",
            action("Dry run", "Says what a run would do", false, true),
        ),
        (
            "io.cnab.status",
            action("Status", "Says how the installation is", false, false),
        ),
        (
            "io.cnab.status+json",
            action(
                "Status as JSON",
                "Says how the installation is, as JSON",
                false,
                false,
            ),
        ),
    ]
    .map(|(name, action)| (name.to_owned(), action))
    .into()
}
