//! Media types (RFC 6838) of the content that bundles are made of.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A media type as a document names it, at most 255 bytes without control characters.
///
/// What is only carried may call itself anything: a word without a slash, a type with parameters. [`MediaType::is_registered`]
/// tells whether it has the form that image-spec demands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaType(Cow<'static, str>);

/// A text that is no media type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a media type: it is empty, too long, or has control characters")]
pub struct MediaTypeError {
    /// The text, shortened.
    text: String,
}

macro_rules! known {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        impl MediaType {
            $($(#[$doc])* pub const $name: Self = Self(Cow::Borrowed($text));)*
        }
    };
}

known! {
    /// OCI image index.
    OCI_INDEX = "application/vnd.oci.image.index.v1+json";
    /// OCI image manifest.
    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
    /// OCI artifact manifest, of drafts of image-spec 1.1 and of ORAS 1.0; read only.
    OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json";
    /// OCI image configuration.
    OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, plain tar.
    OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// The OCI empty descriptor's type; its content is `{}`.
    OCI_EMPTY = "application/vnd.oci.empty.v1+json";
    /// Docker schema 2 manifest, read only.
    DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker schema 2 manifest list, read only.
    DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker schema 2 image configuration, read only.
    DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json";
    /// Docker schema 2 layer, read only.
    DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// CNAB bundle.json as every implementation writes it.
    CNAB_CONFIG = "application/vnd.cnab.config.v1+json";
    /// CNAB bundle.json as cnab-spec 201 names it; read only.
    CNAB_CONFIG_SPEC = "application/vnd.cnab.bundle.config.v1+json";
    /// Artifact type of a bundle's index.
    CNAB_MANIFEST = "application/vnd.cnab.manifest.v1";
    /// Artifact type of the content artifact that carries pipeline, wheelhouse, modules and history.
    CONTENT = "application/vnd.samebundle.content.v1";
    /// Layer of the content artifact: the pipeline, KFP v2 IR in YAML.
    PIPELINE = "application/vnd.samebundle.pipeline.v1+yaml";
    /// Layer of the content artifact: a plain tar of wheels, sorted by name.
    WHEELHOUSE = "application/vnd.samebundle.wheelhouse.v1.tar";
    /// Layer of the content artifact: a tar of wheels, sorted by name, as a zstd stream.
    WHEELHOUSE_ZSTD = "application/vnd.samebundle.wheelhouse.v1.tar+zstd";
    /// Layer of the content artifact: a file that the program is given, as a zstd stream.
    DATA = "application/vnd.samebundle.data.v1+zstd";
    /// Layer of the content artifact: the chunk index of a layer (`spec/210-chunks.md`).
    CHUNKS = "application/vnd.samebundle.chunks.v1";
    /// Layer of the content artifact: a plain tar of run records.
    HISTORY = "application/vnd.samebundle.history.v1.tar";
    /// The files of a history's runs, by digest.
    OUTPUTS = "application/vnd.samebundle.outputs.v1.tar+zstd";
    /// Payload type of a signed statement in DSSE.
    IN_TOTO = "application/vnd.in-toto+json";
    /// SLSA provenance, the predicate alone.
    SLSA = "application/vnd.samebundle.slsa.provenance.v1+json";
    /// An SPDX document in JSON.
    SPDX = "application/spdx+json";
    /// A signature of the Notary Project: artifact type of its manifest.
    NOTATION = "application/vnd.cncf.notary.signature";
    /// A JWS in JSON: the layer of a signature of the Notary Project.
    JOSE = "application/jose+json";
    /// A sigstore bundle v0.3.
    SIGSTORE_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json";
    /// The payload of a cosign `.sig` layer.
    COSIGN_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json";
}

impl MediaType {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether this is an index (OCI or Docker).
    pub fn is_index(&self) -> bool {
        self.names_the_same(Self::OCI_INDEX.as_str()) || self.names_the_same(Self::DOCKER_LIST.as_str())
    }

    /// Tells whether this is an image manifest (OCI or Docker).
    pub fn is_manifest(&self) -> bool {
        self.names_the_same(Self::OCI_MANIFEST.as_str())
            || self.names_the_same(Self::DOCKER_MANIFEST.as_str())
    }

    /// Tells whether content of this type has children in the content graph.
    pub fn has_children(&self) -> bool {
        self.is_index() || self.is_manifest() || self.names_the_same(Self::OCI_ARTIFACT.as_str())
    }

    /// Tells whether this is `type/subtype` with names as RFC 6838 has them, and nothing else.
    pub fn is_registered(&self) -> bool {
        let name = |name: &str| {
            name.len() <= NAME_BYTES
                && name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c))
        };
        self.0
            .split_once('/')
            .is_some_and(|(kind, subtype)| name(kind) && name(subtype))
    }

    /// Compares without case and parameters, which say nothing about what content is (RFC 9110 8.3.1): a manifest that is
    /// spelled otherwise must not pass for a blob.
    pub fn names_the_same(&self, other: &str) -> bool {
        fn essence(text: &str) -> &str {
            text.split(';').next().unwrap_or_default().trim()
        }
        essence(&self.0).eq_ignore_ascii_case(essence(other))
    }
}

/// Longest name of a type or subtype (RFC 6838 4.2), bytes.
const NAME_BYTES: usize = 127;
/// Longest media type: two names and a slash, bytes.
const TEXT_BYTES: usize = 2 * NAME_BYTES + 1;

impl FromStr for MediaType {
    type Err = MediaTypeError;

    fn from_str(text: &str) -> Result<Self, MediaTypeError> {
        if text.is_empty() || text.len() > TEXT_BYTES || text.contains(char::is_control) {
            return Err(MediaTypeError {
                text: text.chars().take(100).collect(),
            });
        }
        Ok(Self(Cow::Owned(text.to_owned())))
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

crate::serde_as_text!(MediaType);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_one_however_it_is_spelled() {
        for text in [
            "application/vnd.oci.image.manifest.v1+json",
            "Application/VND.oci.image.manifest.v1+json",
            "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
        ] {
            assert!(text.parse::<MediaType>().unwrap().is_manifest(), "{text}");
        }
        for text in [
            "model",
            "a model of ours",
            "text/plain; charset=utf-8",
            "foo/.bar",
        ] {
            let media_type: MediaType = text.parse().unwrap();
            assert!(
                !media_type.is_registered() && !media_type.has_children(),
                "{text}"
            );
            assert_eq!(media_type.as_str(), text);
        }
        for text in ["", "text/\nplain", &"x".repeat(256)] {
            assert!(text.parse::<MediaType>().is_err(), "{text}");
        }
    }
}
