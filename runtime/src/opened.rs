//! A bundle that was read from a store and checked: `bundle.json`, our extension, the parts of the content artifact.
//!
//! Every document is hashed again as it is read, so what comes out is what the index's digest names.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use samebundle_registry::StoreError;
use samebundle_registry::store::{Source, SourceExt};
use samebundle_registry::trust::Open;
use samebundle_spec::bundle::layout::{Layout, LayoutError};
use samebundle_spec::bundle::program::{CarriedData, Requirements};
use samebundle_spec::bundle::{Bundle, BundleError, Extension, ProgramExtension};
use samebundle_spec::manifest::{Document, Manifest};
use samebundle_spec::pipeline::{Pipeline, PipelineError};
use samebundle_spec::{Classify, Descriptor, Digest, ErrorKind, MediaType, limits};

/// A bundle that was read.
#[derive(Debug)]
pub struct OpenedBundle {
    /// The index.
    pub index: Descriptor,
    /// `bundle.json`, its bytes and what they say.
    pub bundle: Bundle,
    /// The parts of the index.
    pub layout: Layout,
    /// What it is.
    pub kind: Kind,
}

/// What a bundle is. Code that acts on a bundle matches this.
#[derive(Debug)]
pub enum Kind {
    /// One of our programs.
    Program(Arc<Program>),
    /// An environment, in which programs run. Its parts are not read yet.
    Environment,
    /// An add-on, which adds parts to an environment. Its parts are not read yet.
    Addon,
    /// A CNAB bundle of another tool, or one of ours without a pipeline: its invocation image does all the work.
    Foreign,
}

impl Kind {
    /// Tells whether the bundle's own action runs when it is installed, upgraded and uninstalled. For our own kinds, to
    /// install is to write the installation's document.
    pub fn runs_when_installed(&self) -> bool {
        match self {
            Self::Foreign => true,
            Self::Program(_) | Self::Environment | Self::Addon => false,
        }
    }

    /// Returns what the bundle requires of the machine that runs it, if it says so.
    pub fn requires(&self) -> Option<&Requirements> {
        match self {
            Self::Program(program) => Some(&program.extension.requires),
            Self::Environment | Self::Addon | Self::Foreign => None,
        }
    }
}

/// The parts of one of our programs.
#[derive(Debug)]
pub struct Program {
    /// What `bundle.json` says of it.
    pub extension: ProgramExtension,
    /// The pipeline, checked.
    pub pipeline: Arc<Pipeline>,
    /// The layer of the pipeline's file.
    pub pipeline_layer: Descriptor,
    /// Every image that the pipeline names, and the component that holds it.
    pub images: BTreeMap<String, Descriptor>,
    /// The wheelhouse, a tar layer, if it has one.
    pub wheelhouse: Option<Descriptor>,
    /// The data that it carries, each with its layer.
    pub data: Vec<(CarriedData, Descriptor)>,
}

/// A bundle could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Content could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The digest does not name a bundle.
    #[error("{digest} is not a bundle")]
    Layout {
        /// The digest that was opened.
        digest: Digest,
        /// Why.
        #[source]
        source: LayoutError,
    },
    /// `bundle.json` is not valid.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The pipeline is not valid.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// A part is missing or of another kind than `bundle.json` says.
    #[error("bundle {digest} is incomplete: {why}")]
    Part {
        /// The bundle.
        digest: Digest,
        /// What is missing.
        why: String,
    },
}

impl Classify for OpenError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Layout { .. } | Self::Bundle(_) | Self::Pipeline(_) | Self::Part { .. } => ErrorKind::Input,
        }
    }
}

impl OpenedBundle {
    /// Reads the bundle whose index is `index`, to look at it. A bundle that is to be installed or run is opened
    /// through its proof ([`Verified::open`](samebundle_registry::trust::Verified::open)).
    ///
    /// # Errors
    /// If it cannot be read, or is not a bundle.
    pub async fn open(source: &dyn Source, index: &Descriptor) -> Result<Self, OpenError> {
        let layout_error = |source| OpenError::Layout {
            digest: index.digest,
            source,
        };
        let Document::Index(document) = source.fetch_document(index).await? else {
            return Err(layout_error(LayoutError::NotABundle));
        };
        let layout = Layout::read(&document).map_err(layout_error)?;
        let config_manifest = manifest(source, &layout.config_manifest).await?;
        let config = Layout::config_blob(&config_manifest).map_err(layout_error)?;
        let bundle = Bundle::parse(&source.fetch_bytes(config, limits::BUNDLE_JSON_BYTES).await?)?;
        layout.check(&bundle).map_err(layout_error)?;
        let kind = match bundle.extension()? {
            Some(Extension::Program(extension)) => {
                let program = Program::open(source, index, &layout, *extension).await?;
                program.map_or(Kind::Foreign, |program| Kind::Program(Arc::new(program)))
            }
            Some(Extension::Environment) => Kind::Environment,
            Some(Extension::Addon) => Kind::Addon,
            None => Kind::Foreign,
        };
        Ok(Self {
            index: index.bare(),
            bundle,
            layout,
            kind,
        })
    }
}

#[async_trait]
impl Open for OpenedBundle {
    type Error = OpenError;

    async fn open(source: &dyn Source, index: &Descriptor) -> Result<Self, OpenError> {
        Self::open(source, index).await
    }
}

impl Program {
    async fn open(
        source: &dyn Source,
        index: &Descriptor,
        layout: &Layout,
        extension: ProgramExtension,
    ) -> Result<Option<Self>, OpenError> {
        let missing = |why: String| OpenError::Part {
            digest: index.digest,
            why,
        };
        let component = |name: &str| {
            layout
                .components
                .get(name)
                .ok_or_else(|| missing(format!("there is no component {name}")))
        };
        let Some(part) = &extension.pipeline else {
            return Ok(None);
        };
        let content = manifest(source, component(&extension.content)?).await?;
        let layer = |media_type: &MediaType| {
            content
                .layers
                .iter()
                .find(|layer| layer.media_type == *media_type)
        };
        let pipeline_layer = layer(&MediaType::PIPELINE)
            .filter(|layer| layer.digest == part.digest)
            .ok_or_else(|| missing("the content has no pipeline of that digest".to_owned()))?;
        let pipeline = source.fetch_bytes(pipeline_layer, limits::PIPELINE_BYTES).await?;
        let pipeline = Pipeline::parse("pipeline.yaml", &pipeline)?;
        // Older bundles hold it uncompressed.
        let wheelhouse = layer(&MediaType::WHEELHOUSE_ZSTD).or_else(|| layer(&MediaType::WHEELHOUSE));
        let wheelhouse = wheelhouse.cloned();
        if extension.wheelhouse && wheelhouse.is_none() {
            return Err(missing("the content has no wheelhouse".to_owned()));
        }
        let mut data = Vec::new();
        for carried in &extension.carried {
            let layers = content.layers.iter();
            let layer = layers
                .filter(|layer| layer.media_type == MediaType::DATA)
                .find(|layer| layer.digest == carried.layer);
            let why = || missing(format!("the content has no layer of the data {}", carried.name));
            data.push((carried.clone(), layer.ok_or_else(why)?.bare()));
        }
        let mut images = BTreeMap::new();
        for (image, name) in &extension.images {
            images.insert(image.clone(), component(name)?.bare());
        }
        Ok(Some(Self {
            extension,
            pipeline: Arc::new(pipeline),
            pipeline_layer: pipeline_layer.bare(),
            images,
            wheelhouse,
            data,
        }))
    }
}

async fn manifest(source: &dyn Source, descriptor: &Descriptor) -> Result<Manifest, OpenError> {
    match source.fetch_document(descriptor).await? {
        Document::Manifest(manifest) => Ok(manifest),
        _ => Err(OpenError::Part {
            digest: descriptor.digest,
            why: "it is another document than an image manifest".to_owned(),
        }),
    }
}
