use async_trait::async_trait;
use samebundle_registry::StoreError;
use samebundle_registry::chunk::Codec;
use samebundle_registry::layout::Layout;
use samebundle_registry::store::{Origin, SourceExt, Tags};
use samebundle_spec::bundle::layout::Layout as BundleLayout;
use samebundle_spec::bundle::{Bundle, Extension};
use samebundle_spec::{Classify, Document, ErrorKind, Reference};
use tokio_util::sync::CancellationToken;

use super::tarball::{Entry, Tarball};
use super::*;
use crate::Home;
use crate::context::testing::Still;
use crate::opened::Kind;

const MANIFEST_TEXT: &str = r#"
apiVersion: samebundle.dev/v1
kind: Program
name: greet
version: 1.0.0
description: Says hello
program: {pipeline: pipeline.yaml}
images:
  base:1: {from: "layout:images/base"}
parameters:
  epochs: {minimum: 1}
requires:
  resources: {cpu: 1, memory: 64Mi}
"#;

const PIPELINE: &str = r#"
pipelineInfo: {name: greet}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
components:
  comp-say:
    executorLabel: exec-say
    inputDefinitions: {parameters: {epochs: {parameterType: NUMBER_INTEGER}}}
    outputDefinitions: {parameters: {Output: {parameterType: STRING}}}
deploymentSpec:
  executors:
    exec-say: {container: {image: "base:1", command: [sh, -c, "echo hello"]}}
root:
  dag:
    outputs: {parameters: {Output: {valueFromParameter: {producerSubtask: say, outputParameterKey: Output}}}}
    tasks:
      say:
        cachingOptions: {enableCache: true}
        componentRef: {name: comp-say}
        inputs: {parameters: {epochs: {componentInputParameter: epochs}}}
        taskInfo: {name: say}
  inputDefinitions: {parameters: {epochs: {parameterType: NUMBER_INTEGER, defaultValue: 10, isOptional: true}}}
  outputDefinitions: {parameters: {Output: {parameterType: STRING}}}
"#;

#[derive(Debug)]
struct NoRegistry;

#[async_trait]
impl Registries for NoRegistry {
    async fn open(&self, reference: &Reference) -> Result<(Arc<dyn Origin>, Descriptor), StoreError> {
        Err(StoreError::NotFound {
            subject: reference.to_string(),
            place: "no registry".to_owned(),
        })
    }
}

/// A home and a folder of sources, both new.
struct Sandbox {
    folder: tempfile::TempDir,
    context: Context,
    store: Arc<dyn Store>,
    tools: BuildTools,
}

impl Sandbox {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        let store: Arc<dyn Store> = Arc::new(Layout::create(&home.store()).await.unwrap());
        let context = Context {
            clock: Arc::new(Still),
            home,
            cancel: CancellationToken::new(),
            events: Arc::new(crate::event::Silent),
            offline: true,
        };
        let sandbox = Self {
            folder,
            context,
            store,
            tools: BuildTools::default(),
        };
        sandbox.write(MANIFEST, MANIFEST_TEXT);
        sandbox.write("pipeline.yaml", PIPELINE);
        sandbox.base_image().await;
        sandbox
    }

    fn sources(&self) -> PathBuf {
        self.folder.path().join("sources")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.sources().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// An image layout with one image of one layer.
    async fn base_image(&self) {
        let layout = Layout::create(&self.sources().join("images/base")).await.unwrap();
        let mut tarball = Tarball::default();
        let content = b"#!python".to_vec();
        tarball.add(
            "usr/bin/python3.12".parse().unwrap(),
            Entry::Bytes {
                content,
                executable: true,
            },
        );
        let written = tarball
            .write_in(self.folder.path(), MediaType::OCI_LAYER_GZIP, Codec::Gzip)
            .await
            .unwrap();
        let diff_id = written.diff_id;
        let layer = written.push(&layout).await.unwrap().layer;
        let image = image::compose(&layout, None, (layer, diff_id), |_| ())
            .await
            .unwrap();
        layout.tag(&image.manifest, &"1".parse().unwrap()).await.unwrap();
    }

    async fn build(&self) -> Result<Built, BuildError> {
        let inputs = BuildInputs {
            sources: &self.sources(),
            manifest: None,
            release: true,
            function: None,
            store: &self.store,
            runner: b"the runner",
            registries: &NoRegistry,
            tools: &self.tools,
            tags: &[],
        };
        build(&inputs, &self.context).await
    }

    async fn refused(&self) -> String {
        let error = self.build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        error.to_string()
    }

    /// Reads the parts of a bundle that was built.
    async fn bundle(&self, built: &Built) -> (BundleLayout, Bundle) {
        let Document::Index(index) = self.document(&built.index).await else {
            panic!("an index")
        };
        let layout = BundleLayout::read(&index).unwrap();
        let Document::Manifest(config) = self.document(&layout.config_manifest).await else {
            panic!("a manifest")
        };
        let bytes = self
            .store
            .fetch_bytes(&config.config, limits::BUNDLE_JSON_BYTES)
            .await
            .unwrap();
        (layout, Bundle::parse(&bytes).unwrap())
    }

    async fn document(&self, descriptor: &Descriptor) -> Document {
        let bytes = self
            .store
            .fetch_bytes(descriptor, limits::MANIFEST_BYTES)
            .await
            .unwrap();
        Document::parse(&bytes, &descriptor.media_type).unwrap()
    }
}

#[tokio::test]
async fn two_homes_give_the_same_digest() {
    let (one, two) = (Sandbox::new().await, Sandbox::new().await);
    let (first, second) = (one.build().await.unwrap(), two.build().await.unwrap());
    assert_eq!(first, second);
    assert_eq!(
        one.build().await.unwrap(),
        first,
        "a second build in the same home"
    );
    let tags = one.store.tags().await.unwrap();
    assert_eq!(
        tags.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["greet", "greet_1.0.0"]
    );
    // One changed letter gives another bundle.
    two.write("pipeline.yaml", &PIPELINE.replace("echo hello", "echo Hello"));
    assert_ne!(two.build().await.unwrap().index, first.index);
}

#[tokio::test]
async fn the_index_is_a_whole_cnab_bundle() {
    let sandbox = Sandbox::new().await;
    let built = sandbox.build().await.unwrap();
    let (layout, bundle) = sandbox.bundle(&built).await;
    layout.check(&bundle).unwrap();
    assert_eq!(bundle.digest(), built.bundle);

    let view = bundle.view();
    assert_eq!(
        view.parameters["epochs"].destination.env.as_deref(),
        Some("SAMEBUNDLE_P_EPOCHS")
    );
    let schema = &view.definitions["epochs"];
    assert_eq!(
        *schema,
        serde_json::json!({"type": "integer", "default": 10, "minimum": 1})
    );
    assert_eq!(view.outputs["Output"].path, "/cnab/app/outputs/output");
    assert!(view.actions["run"].modifies && view.actions["io.cnab.help"].stateless);

    let Some(Extension::Program(program)) = bundle.extension().unwrap() else {
        panic!("a program")
    };
    assert_eq!(program.images["base:1"], "base-1");
    assert!(!program.wheelhouse && built.wheelhouse.is_none());
    let Document::Manifest(content) = sandbox.document(&layout.components["content"]).await else {
        panic!("a manifest")
    };
    assert_eq!(content.kind(), &MediaType::CONTENT);
    let pipeline = sandbox
        .store
        .fetch_bytes(&content.layers[0].bare(), limits::PIPELINE_BYTES)
        .await
        .unwrap();
    assert_eq!(
        pipeline,
        PIPELINE.as_bytes(),
        "the pipeline travels byte for byte"
    );
    let invocation = crate::image::read(&*sandbox.store, &layout.invocation)
        .await
        .unwrap();
    assert_eq!(invocation.config.command(), ["/cnab/app/run"]);
}

#[tokio::test]
async fn a_default_without_a_canonical_form_is_told_and_left_to_the_pipeline() {
    for (declared, default, kind) in [
        ("NUMBER_INTEGER", "1764276474123456789", "integer"),
        ("NUMBER_DOUBLE", "1e+16", "number"),
    ] {
        let sandbox = Sandbox::new().await;
        let pipeline = PIPELINE.replace("NUMBER_INTEGER", declared);
        let pipeline = pipeline.replace("defaultValue: 10", &format!("defaultValue: {default}"));
        sandbox.write("pipeline.yaml", &pipeline);
        let built = sandbox.build().await.unwrap();
        let (_, bundle) = sandbox.bundle(&built).await;
        let view = bundle.view();
        let wanted = serde_json::json!({"type": kind, "minimum": 1});
        assert_eq!(view.definitions["epochs"], wanted);
        let parameter = &view.parameters["epochs"];
        assert!(!parameter.required);
        assert_eq!(parameter.description, Some(format!("Default: {default}")));
    }
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused() {
    let sandbox = Sandbox::new().await;
    let refused = async |file: &str, text: String, words: &str| {
        sandbox.write(file, &text);
        let error = sandbox.refused().await;
        assert!(error.contains(words), "wanted {words:?} in: {error}");
        sandbox.write(MANIFEST, MANIFEST_TEXT);
        sandbox.write("pipeline.yaml", PIPELINE);
    };
    let manifest = |from: &str, to: &str| MANIFEST_TEXT.replace(from, to);
    let pipeline = |from: &str, to: &str| PIPELINE.replace(from, to);
    refused(MANIFEST, manifest("name: greet", "nmae: greet"), "nmae").await;
    refused(
        MANIFEST,
        manifest("epochs: {", "epoch: {"),
        "did you mean \"epochs\"",
    )
    .await;
    refused(
        MANIFEST,
        manifest("base:1:", "bade:1:"),
        "did you mean \"base:1\"",
    )
    .await;
    refused(MANIFEST, manifest("minimum: 1", "minimum: 11"), "default").await;
    refused(MANIFEST, manifest("kind: Program", "kind: Addon"), "Addon").await;
    refused(
        "pipeline.yaml",
        pipeline("producerSubtask: say", "producerSubtask: sing"),
        "pipeline.yaml:",
    )
    .await;
    refused("pipeline.yaml", "{".to_owned(), "pipeline.yaml:").await;
    let conditional = pipeline(
        "taskInfo: {name: say}",
        "taskInfo: {name: say}\n        triggerPolicy: {condition: 'other == 1'}",
    );
    refused(
        "pipeline.yaml",
        conditional,
        "names \"other\", which is not known here",
    )
    .await;
    assert!(
        sandbox.store.tags().await.unwrap().is_empty(),
        "a refused build sets no tag"
    );
}

#[tokio::test]
async fn an_image_that_nobody_gives_is_named() {
    let sandbox = Sandbox::new().await;
    sandbox.write(
        MANIFEST,
        &MANIFEST_TEXT.replace("  base:1: {from: \"layout:images/base\"}\n", "  {}\n"),
    );
    let error = sandbox.build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(
        error.to_string().contains("base:1") && error.to_string().contains("layout:DIR"),
        "{error}"
    );
    sandbox.write(MANIFEST, &MANIFEST_TEXT.replace("images/base", "images/absent"));
    let error = sandbox.build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("layout:images/absent"), "{error}");
    std::fs::remove_file(sandbox.sources().join(MANIFEST)).unwrap();
    assert_eq!(sandbox.build().await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn an_image_is_built_the_same_way_each_time() {
    let build = "{build: {base: \"layout:images/base\", files: [{from: src, to: /app}], command: [python3, /app/a.py], \
                 env: {MODE: fast}, workdir: /app}}";
    let text = MANIFEST_TEXT.replace("{from: \"layout:images/base\"}", build);
    let mut digests = Vec::new();
    for _ in 0..2 {
        let sandbox = Sandbox::new().await;
        sandbox.write(MANIFEST, &text);
        sandbox.write("src/a.py", "print(1)");
        let built = sandbox.build().await.unwrap();
        let image = crate::image::read(&*sandbox.store, &built.components["base-1"])
            .await
            .unwrap();
        assert_eq!(image.layers.len(), 2);
        assert_eq!(image.config.command(), ["python3", "/app/a.py"]);
        assert_eq!(image.config.config.env, ["MODE=fast"]);
        assert_eq!(image.config.config.working_dir, "/app");
        digests.push(built.index.digest);
    }
    assert_eq!(digests[0], digests[1]);
}

/// Builds with a package that is found in a folder: no index is asked.
#[tokio::test]
async fn packages_are_resolved_once_and_locked() {
    if std::process::Command::new("python3")
        .args(["-m", "pip", "--version"])
        .output()
        .is_ok_and(|o| o.status.success())
    {
        let sandbox = Sandbox::new().await;
        let wheels = sandbox.folder.path().join("index");
        std::fs::create_dir(&wheels).unwrap();
        wheel(&wheels, "1.0");
        let install =
            "echo hello; python3 -m pip install --quiet 'greeting>=1' 'other; python_version<\\\"3.5\\\"'";
        sandbox.write("pipeline.yaml", &PIPELINE.replace("echo hello", install));
        let mut sandbox = sandbox;
        sandbox.tools.pip_arguments = vec!["--no-index".into(), format!("--find-links={}", wheels.display())];
        let refused = sandbox.build().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unreachable, "offline: {refused}");
        sandbox.context.offline = false;
        let first = sandbox.build().await.unwrap();
        assert!(first.wheelhouse.is_some());

        // A newer version appears: the lock keeps the old. Neither network nor index is needed any more.
        wheel(&wheels, "2.0");
        sandbox.context.offline = true;
        assert_eq!(sandbox.build().await.unwrap(), first);
        std::fs::remove_dir_all(sandbox.context.home.cache()).unwrap();
        sandbox.context.offline = false;
        assert_eq!(
            sandbox.build().await.unwrap(),
            first,
            "locked, and fetched again into an empty cache"
        );

        std::fs::remove_file(sandbox.sources().join("samebundle.lock")).unwrap();
        assert_ne!(
            sandbox.build().await.unwrap().wheelhouse,
            first.wheelhouse,
            "without a lock the newer is taken"
        );
    } else {
        println!("skipped: python3 with pip is not installed");
    }
}

/// Writes a wheel, which is a zip; Python makes it.
fn wheel(folder: &Path, version: &str) {
    let script = "import sys, zipfile\nfolder, version = sys.argv[1:]\ninfo = f'greeting-{version}.dist-info'\n\
        z = zipfile.ZipFile(f'{folder}/greeting-{version}-py3-none-any.whl', 'w')\n\
        z.writestr('greeting.py', '')\n\
        z.writestr(info + '/METADATA', f'Metadata-Version: 2.1\\nName: greeting\\nVersion: {version}\\n')\n\
        z.writestr(info + '/WHEEL', 'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
        z.writestr(info + '/RECORD', '')\nz.close()\n";
    let status = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(folder)
        .arg(version)
        .status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn data_travels_as_a_layer_in_chunks_and_comes_out_as_it_was() {
    let sandbox = Sandbox::new().await;
    let with_data = format!("{MANIFEST_TEXT}data:\n  - {{name: big, file: data/big.bin}}\n");
    sandbox.write(MANIFEST, &with_data);
    assert!(sandbox.build().await.is_err(), "there is no such file yet");
    // Bytes that do not compress, more than an index is made for.
    let mut state = 1_u32;
    let mut step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let content: Vec<u8> = (0..3 << 20).map(|_| step()).collect();
    let path = sandbox.sources().join("data/big.bin");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, &content).unwrap();
    let built = sandbox.build().await.unwrap();
    let opened = crate::opened::OpenedBundle::open(&*sandbox.store, &built.index).await;
    let Kind::Program(program) = opened.unwrap().kind else {
        panic!("a program")
    };
    let [(carried, layer)] = program.data.as_slice() else {
        panic!("{:?}", program.data)
    };
    assert_eq!(
        (carried.size, carried.digest),
        (3 << 20, Digest::sha256(&content))
    );
    let Document::Manifest(manifest) = sandbox.document(&built.components["content"]).await else {
        panic!("a manifest")
    };
    let types: Vec<_> = manifest
        .layers
        .iter()
        .map(|layer| layer.media_type.clone())
        .collect();
    assert_eq!(types, [MediaType::PIPELINE, MediaType::DATA, MediaType::CHUNKS]);
    let indexed = samebundle_spec::chunks::indexed_layer(&manifest.layers[2]);
    assert_eq!(indexed, Some(layer.digest));

    let context = &sandbox.context;
    let unpack = async |carried: CarriedData| {
        crate::engine::native::Data::unpack(&*sandbox.store, &carried, layer, context).await
    };
    let mut wrong = carried.clone();
    wrong.size -= 1;
    assert!(
        unpack(wrong.clone()).await.is_err(),
        "longer than bundle.json says"
    );
    wrong.size += 2;
    assert!(
        unpack(wrong.clone()).await.is_err(),
        "shorter than bundle.json says"
    );
    wrong = carried.clone();
    wrong.digest = Digest::sha256(b"other");
    assert!(unpack(wrong.clone()).await.is_err(), "another file");
    let data = unpack(carried.clone()).await.unwrap();
    assert!(std::fs::read(&data.path).unwrap() == content);

    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(outside.path(), &path).unwrap();
    let refused = sandbox.build().await.unwrap_err();
    let refused = format!("{refused} {:?}", std::error::Error::source(&refused));
    assert!(refused.contains("outside the bundle's folder"), "{refused}");
}
