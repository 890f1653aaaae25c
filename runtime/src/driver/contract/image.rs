//! Images made in memory.

use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use samebundle_registry::StoreError;
use samebundle_registry::store::{Sink, SinkExt};
use samebundle_spec::image_config::{ContainerConfig, ImageConfig, RootFs};
use samebundle_spec::{Descriptor, Digest, Manifest, MediaType};
use tar::{Builder, EntryType, Header};

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// The kind of an entry of a layer, with its content.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A file with these bytes.
    File(&'a [u8]),
    /// A folder.
    Folder,
    /// A symbolic link.
    Link(&'a str),
    /// A hard link.
    HardLink(&'a str),
}

/// Builds the tar of a layer. Names are written as they are given, hostile ones too.
pub struct LayerBuilder(Builder<Vec<u8>>);

impl std::fmt::Debug for LayerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LayerBuilder")
    }
}

impl Default for LayerBuilder {
    fn default() -> Self {
        Self(Builder::new(Vec::new()))
    }
}

impl LayerBuilder {
    /// Adds an entry owned by `owner`.
    ///
    /// # Errors
    /// If a name is too long for a plain header.
    pub fn add(mut self, name: &str, mode: u32, owner: u32, content: Entry<'_>) -> io::Result<Self> {
        let (kind, data, link) = match content {
            Entry::File(data) => (EntryType::Regular, data, ""),
            Entry::Folder => (EntryType::Directory, &[][..], ""),
            Entry::Link(target) => (EntryType::Symlink, &[][..], target),
            Entry::HardLink(target) => (EntryType::Link, &[][..], target),
        };
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(u64::from(owner));
        header.set_gid(u64::from(owner));
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        // The crate's own setters refuse hostile names, which are wanted here.
        let fields = header.as_old_mut();
        for (field, text) in [(&mut fields.name, name), (&mut fields.linkname, link)] {
            let target = field.get_mut(..text.len());
            let target = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
            target.copy_from_slice(text.as_bytes());
        }
        header.set_cksum();
        self.0.append(&header, data)?;
        Ok(self)
    }

    /// The tar.
    ///
    /// # Errors
    /// It cannot fail in memory.
    pub fn tar(self) -> io::Result<Vec<u8>> {
        self.0.into_inner()
    }
}

/// Stores a layer and returns its blob and diff id.
///
/// # Errors
/// The store's error.
pub async fn push_layer(
    sink: &dyn Sink,
    tar: Vec<u8>,
    packing: Packing,
) -> Result<(Descriptor, Digest), StoreError> {
    let diff_id = Digest::sha256(&tar);
    let failed = |source| StoreError::io("compress", Path::new(&diff_id.to_string()))(source);
    let (media_type, bytes) = match packing {
        Packing::Plain => (MediaType::OCI_LAYER, tar),
        Packing::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&tar).map_err(failed)?;
            (MediaType::OCI_LAYER_GZIP, encoder.finish().map_err(failed)?)
        }
        Packing::Zstd => (
            MediaType::OCI_LAYER_ZSTD,
            zstd::encode_all(tar.as_slice(), 1).map_err(failed)?,
        ),
    };
    Ok((sink.push_bytes(media_type, Bytes::from(bytes)).await?, diff_id))
}

/// Stores an image of layers that are in the store.
///
/// # Errors
/// The store's error.
pub async fn push_image(
    sink: &dyn Sink,
    config: ContainerConfig,
    layers: &[(Descriptor, Digest)],
) -> Result<Descriptor, StoreError> {
    let config = ImageConfig {
        os: "linux".to_owned(),
        architecture: if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        }
        .to_owned(),
        config,
        rootfs: RootFs {
            diff_ids: layers.iter().map(|(_, diff_id)| *diff_id).collect(),
            ..RootFs::default()
        },
        ..ImageConfig::default()
    };
    let bytes = serde_json::to_vec(&config)
        .map_err(|error| StoreError::io("write", Path::new("image configuration"))(error.into()))?;
    let config = sink.push_bytes(MediaType::OCI_CONFIG, Bytes::from(bytes)).await?;
    let blobs = layers.iter().map(|(blob, _)| blob.clone()).collect();
    let manifest = Manifest::new(config, blobs).to_bytes();
    sink.push_bytes(MediaType::OCI_MANIFEST, Bytes::from(manifest))
        .await
}

/// The image that the cases run in.
#[derive(Clone, Debug)]
pub struct Busybox {
    /// Its manifest.
    pub image: Descriptor,
    /// Its layers.
    pub(super) layers: Vec<(Descriptor, Digest)>,
}

/// The programs that the cases use.
const PROGRAMS: [&str; 29] = [
    "sh", "cat", "chmod", "cut", "df", "dd", "echo", "env", "false", "grep", "hostname", "id", "kill", "ln",
    "ls", "mkdir", "mknod", "ping", "printf", "ps", "pwd", "rm", "seq", "sleep", "sort", "tail", "touch",
    "true", "wget",
];

/// Makes the image that the cases run in: a static busybox, a user `worker` (1234, group 2345), a folder `/data` whose
/// second layer deletes and replaces files of the first, and `says` as its own command.
///
/// # Errors
/// If `busybox` cannot be read, or if the store fails.
pub async fn busybox_image(sink: &dyn Sink, busybox: &Path) -> Result<Busybox, StoreError> {
    let failed = |source| StoreError::io("read", busybox)(source);
    let program = std::fs::read(busybox).map_err(failed)?;
    let lower = lower(&program).map_err(failed)?;
    let upper = upper().map_err(failed)?;
    let layers = vec![
        push_layer(sink, lower, Packing::Gzip).await?,
        push_layer(sink, upper, Packing::Gzip).await?,
    ];
    let config = ContainerConfig {
        env: vec!["PATH=/bin".to_owned(), "FROM_IMAGE=yes".to_owned()],
        entrypoint: vec!["/bin/echo".to_owned(), "the image".to_owned()],
        cmd: vec!["speaks".to_owned()],
        working_dir: "/work/here".to_owned(),
        ..ContainerConfig::default()
    };
    Ok(Busybox {
        image: push_image(sink, config, &layers).await?,
        layers,
    })
}

fn lower(program: &[u8]) -> io::Result<Vec<u8>> {
    let mut layer = LayerBuilder::default();
    for folder in ["bin/", "etc/", "root/", "data/", "data/hidden/", "data/sub/"] {
        layer = layer.add(folder, 0o755, 0, Entry::Folder)?;
    }
    layer = layer
        .add("tmp/", 0o1777, 0, Entry::Folder)?
        .add("bin/busybox", 0o755, 0, Entry::File(program))?
        .add("bin/hard", 0o755, 0, Entry::HardLink("bin/busybox"))?;
    for name in PROGRAMS {
        layer = layer.add(&format!("bin/{name}"), 0o777, 0, Entry::Link("busybox"))?;
    }
    layer
        .add(
            "etc/passwd",
            0o644,
            0,
            Entry::File(b"root:x:0:0::/root:/bin/sh\nworker:x:1234:2345::/home/worker:/bin/sh\n"),
        )?
        .add(
            "etc/group",
            0o644,
            0,
            Entry::File(b"root:x:0:\nworkers:x:2345:\n"),
        )?
        .add("data/gone", 0o644, 0, Entry::File(b"gone"))?
        .add("data/stays", 0o644, 0, Entry::File(b"stays"))?
        .add("data/hidden/old", 0o644, 0, Entry::File(b"old"))?
        .add("data/sub/old", 0o644, 0, Entry::File(b"old"))?
        .tar()
}

fn upper() -> io::Result<Vec<u8>> {
    LayerBuilder::default()
        .add("./data/.wh.gone", 0o644, 0, Entry::File(b""))?
        .add("./data/hidden/", 0o755, 0, Entry::Folder)?
        .add("./data/hidden/.wh..wh..opq", 0o644, 0, Entry::File(b""))?
        .add("./data/hidden/new", 0o644, 0, Entry::File(b"new"))?
        .add("./data/sub/new", 0o644, 0, Entry::File(b"new"))?
        .add("./work/", 0o1777, 0, Entry::Folder)?
        .tar()
}

impl super::Bench {
    async fn busybox_again(
        &self,
        config: ContainerConfig,
        layer: Option<(Vec<u8>, Packing)>,
    ) -> Result<Descriptor, String> {
        let mut layers = self.busybox.layers.clone();
        if let Some((tar, packing)) = layer {
            let pushed = push_layer(&*self.sink, tar, packing).await;
            layers.push(pushed.map_err(|error| error.to_string())?);
        }
        let pushed = push_image(&*self.sink, config, &layers).await;
        pushed.map_err(|error| error.to_string())
    }
}

/// The image with another user.
pub(super) async fn with_user(bench: &super::Bench, user: &str) -> Result<Descriptor, String> {
    let config = ContainerConfig {
        user: user.to_owned(),
        env: vec!["PATH=/bin".to_owned()],
        ..ContainerConfig::default()
    };
    bench.busybox_again(config, None).await
}

/// The image with another user, perhaps a variable, and a folder `/opt/app/src` of root.
pub(super) async fn with_home(
    bench: &super::Bench,
    user: &str,
    variable: Option<&str>,
) -> Result<Descriptor, String> {
    let config = ContainerConfig {
        user: user.to_owned(),
        env: ["PATH=/bin"]
            .into_iter()
            .chain(variable)
            .map(str::to_owned)
            .collect(),
        ..ContainerConfig::default()
    };
    let layer = LayerBuilder::default()
        .add("opt/app/", 0o755, 0, Entry::Folder)
        .and_then(|layer| layer.add("opt/app/src/", 0o755, 0, Entry::Folder))
        .and_then(|layer| layer.add("opt/app/src/kept", 0o644, 0, Entry::File(b"kept")))
        .and_then(LayerBuilder::tar);
    let layer = layer.map_err(|error| error.to_string())?;
    bench.busybox_again(config, Some((layer, Packing::Gzip))).await
}

/// The image with a link in its root.
pub(super) async fn with_link(bench: &super::Bench, name: &str, target: &str) -> Result<Descriptor, String> {
    let layer = LayerBuilder::default().add(name, 0o777, 0, Entry::Link(target));
    let layer = layer.map_err(|error| error.to_string())?;
    over(bench, layer, Packing::Gzip).await
}

/// The image with one more layer.
pub(super) async fn over(
    bench: &super::Bench,
    layer: LayerBuilder,
    packing: Packing,
) -> Result<Descriptor, String> {
    let tar = layer.tar().map_err(|error| error.to_string())?;
    bench
        .busybox_again(ContainerConfig::default(), Some((tar, packing)))
        .await
}
