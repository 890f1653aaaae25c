//! What the cases push.

use samebundle_spec::{Algorithm, Digest, Digester};
use serde_json::{Value, json};

pub(super) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// What is pushed: blobs first, then manifests, the last of which is tagged.
pub(super) struct Data {
    algorithm: Algorithm,
    pub(super) blobs: Vec<Vec<u8>>,
    pub(super) manifests: Vec<(&'static str, Vec<u8>)>,
    pub(super) subject: Option<Digest>,
}

pub(super) fn digest_of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut digester = Digester::new(algorithm);
    digester.update(bytes);
    digester.finish()
}

impl Data {
    fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            blobs: Vec::new(),
            manifests: Vec::new(),
            subject: None,
        }
    }

    fn descriptor(&self, media_type: &str, bytes: &[u8]) -> Value {
        json!({"mediaType": media_type, "digest": digest_of(self.algorithm, bytes).to_string(), "size": bytes.len()})
    }

    fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        if !self.blobs.iter().any(|blob| blob == bytes) {
            self.blobs.push(bytes.to_vec());
        }
        self.descriptor(media_type, bytes)
    }

    fn manifest(&mut self, media_type: &'static str, manifest: &Value) -> Value {
        let bytes = manifest.to_string().into_bytes();
        let descriptor = self.descriptor(media_type, &bytes);
        self.manifests.push((media_type, bytes));
        descriptor
    }

    fn image(&mut self, mark: &str, layer_type: &str, change: impl FnOnce(&mut Value)) -> Value {
        let config = format!("{{\"architecture\":\"amd64\",\"os\":\"linux\",\"mark\":\"{mark}\"}}");
        let config = self.blob("application/vnd.oci.image.config.v1+json", config.as_bytes());
        let layers: Vec<Value> = ["one", "two"]
            .iter()
            .map(|layer| self.blob(layer_type, format!("{mark} {layer}").as_bytes()))
            .collect();
        let mut manifest =
            json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers});
        change(&mut manifest);
        self.manifest(IMAGE, &manifest)
    }

    fn artifact(&mut self, mark: &str, with_layer: bool, subject: Option<&Value>) -> Value {
        let empty = self.blob(EMPTY, b"{}");
        let layer = match with_layer {
            true => self.blob("text/plain", mark.as_bytes()),
            false => empty.clone(),
        };
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE, "artifactType": "application/vnd.example.test",
            "config": empty, "layers": [layer], "annotations": {"mark": mark},
        });
        if let Some(subject) = subject {
            manifest["subject"] = subject.clone();
        }
        self.manifest(IMAGE, &manifest)
    }

    fn index(&mut self, entries: &[Value], change: impl FnOnce(&mut Value)) -> Value {
        let mut index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        change(&mut index);
        self.manifest(INDEX, &index)
    }

    fn refer_to(&mut self, subject: &Value) {
        self.subject = Some(subject["digest"].as_str().unwrap().parse().unwrap());
    }

    /// One image, and what is odd about it; says whether the group is of these.
    fn one_image(&mut self, group: &str) -> bool {
        match group {
            "image" | "sha512" | "bad-digest-image" => {
                self.image(group, LAYER, |_| {});
            }
            "image-uncompressed" => {
                self.image(group, "application/vnd.oci.image.layer.v1.tar", |_| {});
            }
            "no-layers" => {
                self.image(group, LAYER, |manifest| manifest["layers"] = json!([]));
            }
            "custom-fields" => {
                self.image(group, LAYER, |manifest| {
                    manifest["org.example.unknown"] = json!({"any": [1, null]});
                    manifest["config"]["org.example.also"] = json!("x");
                });
            }
            "data-field" => {
                self.image(group, LAYER, |manifest| {
                    manifest["layers"][0]["data"] = json!(base64::Engine::encode(
                        &base64::engine::general_purpose::STANDARD,
                        "data-field one"
                    ));
                });
            }
            "non-distributable-layers" => {
                self.image(group, LAYER, |manifest| {
                    manifest["layers"][1] = json!({
                        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                        "digest": Digest::sha256(b"elsewhere").to_string(), "size": 9, "urls": ["https://example.com/x"],
                    });
                });
            }
            "large-manifest" => {
                let padding = "x".repeat(3 << 20);
                self.image(group, LAYER, |manifest| {
                    manifest["annotations"] = json!({"padding": padding});
                });
            }
            _ => return false,
        }
        true
    }

    /// The data of a group of cases; `None` for a group that is none.
    pub(super) fn of(group: &str) -> Option<Self> {
        let algorithm = if group == "sha512" {
            Algorithm::Sha512
        } else {
            Algorithm::Sha256
        };
        let mut data = Self::new(algorithm);
        if data.one_image(group) {
            return Some(data);
        }
        match group {
            "index" | "nested-index" => {
                let entries = ["a", "b"].map(|mark| data.image(mark, LAYER, |_| {}));
                let index = data.index(&entries, |_| {});
                if group == "nested-index" {
                    data.index(&[index], |_| {});
                }
            }
            "empty-index" => {
                data.index(&[], |_| {});
            }
            "artifact" => {
                data.artifact(group, true, None);
            }
            "artifact-without-layers" => {
                data.artifact(group, false, None);
            }
            "artifact-index" => {
                let entries = ["a", "b"].map(|mark| data.artifact(mark, true, None));
                data.index(&entries, |index| {
                    index["artifactType"] = json!("application/vnd.example.test");
                });
            }
            "artifacts-with-subject" => {
                let subject = data.image(group, LAYER, |_| {});
                data.artifact("signature", true, Some(&subject));
                data.artifact("attestation", true, Some(&subject));
                data.refer_to(&subject);
            }
            "index-with-subject" => {
                let subject = data.image(group, LAYER, |_| {});
                let entry = data.artifact("entry", true, None);
                data.index(&[entry], |index| {
                    index["artifactType"] = json!("application/vnd.example.test");
                    index["subject"] = subject.clone();
                });
                data.refer_to(&subject);
            }
            "missing-subject" => {
                let subject = data.descriptor(IMAGE, b"nobody pushes this");
                data.artifact(group, true, Some(&subject));
                data.refer_to(&subject);
            }
            _ => return None,
        }
        Some(data)
    }
}
