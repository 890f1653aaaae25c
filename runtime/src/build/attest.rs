//! The documents that a build attaches to its bundle as referrers: SLSA provenance v1 and an SPDX 2.3 bill of
//! materials.
//!
//! Both are made from the content of the bundle alone: they depend on no time, path, machine or version. So the same
//! bundle has the same documents wherever it is built, and an index that was built before gets no second ones. SPDX
//! demands a time of creation, which is always 1970. Because they are referrers, they do not change the index's digest.
//! `sign` signs them.

use std::collections::BTreeMap;

use samebundle_registry::Store;
use samebundle_registry::trust::attest;
use samebundle_spec::bundle::program::CarriedData;
use samebundle_spec::signing::Predicate;
use samebundle_spec::{Descriptor, Digest, limits};
use serde_json::{Value, json};

use super::error::{BuildError, ImageError};
use super::packages::{Installed, Package};
use super::wheelhouse::Wheel;

/// The build type, which `spec/300-signing.md` defines.
const BUILD_TYPE: &str = "https://samebundle.dev/build/v1";
const BUILDER: &str = "https://samebundle.dev/builder";

/// The facts from which the documents are made.
pub(super) struct BuildFacts<'a> {
    pub(super) name: &'a str,
    pub(super) version: String,
    pub(super) index: &'a Descriptor,
    pub(super) pipeline: &'a Descriptor,
    pub(super) runner: Digest,
    /// Images by their names in the pipeline.
    pub(super) images: &'a BTreeMap<String, (Descriptor, Installed)>,
    pub(super) wheelhouse: Option<&'a Descriptor>,
    pub(super) carried: &'a [CarriedData],
    pub(super) wheels: &'a [Wheel],
}

/// Attaches both documents to the index.
pub(super) async fn write(
    store: &dyn Store,
    facts: &BuildFacts<'_>,
) -> Result<BTreeMap<Predicate, Descriptor>, BuildError> {
    let mut attached = BTreeMap::new();
    for (kind, document) in [
        (Predicate::Slsa, provenance(facts)),
        (Predicate::Spdx, materials(facts)?),
    ] {
        let bytes = document.to_string().into_bytes();
        attached.insert(kind, attest::attach(store, facts.index, kind, bytes).await?);
    }
    Ok(attached)
}

fn resource(name: &str, digest: &Digest) -> Value {
    json!({"name": name, "digest": {digest.algorithm().name(): digest.hex()}})
}

/// The predicate of SLSA provenance.
fn provenance(facts: &BuildFacts<'_>) -> Value {
    let mut from = vec![
        resource("pipeline", &facts.pipeline.digest),
        resource("runner", &facts.runner),
    ];
    let images = facts.images.iter();
    from.extend(images.map(|(name, (image, _))| resource(&format!("image {name}"), &image.digest)));
    from.extend(
        facts
            .wheelhouse
            .map(|layer| resource("wheelhouse", &layer.digest)),
    );
    let carried = facts.carried.iter();
    from.extend(carried.map(|data| resource(&format!("data {}", data.name), &data.digest)));
    from.extend(
        facts
            .wheels
            .iter()
            .map(|wheel| resource(&format!("wheel {}", wheel.file), &wheel.digest)),
    );
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"name": facts.name, "version": facts.version},
            "resolvedDependencies": from,
        },
        "runDetails": {"builder": {"id": BUILDER}},
    })
}

/// One package of an SPDX document; most of its properties are not known.
fn package(id: &str, name: &str, version: Option<&str>, locator: Option<String>) -> Value {
    let mut package = json!({
        "SPDXID": id, "name": name, "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
    });
    if let Some(version) = version {
        package["versionInfo"] = version.into();
    }
    if let Some(locator) = locator {
        package["externalRefs"] = json!([{
            "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator,
        }]);
    }
    package
}

fn with_checksum(mut package: Value, digest: &Digest) -> Value {
    let algorithm = digest.algorithm().name().to_uppercase();
    package["checksums"] = json!([{"algorithm": algorithm, "checksumValue": digest.hex()}]);
    package
}

/// The packages and the relations of an SPDX document, in sorted order.
#[derive(Default)]
struct Graph {
    packages: Vec<Value>,
    relations: Vec<Value>,
}

impl Graph {
    /// Adds a package that `owner` contains, and returns its id.
    fn add(&mut self, owner: &str, relation: &str, make: impl FnOnce(&str) -> Value) -> String {
        let id = format!("SPDXRef-Package-{}", self.packages.len());
        self.packages.push(make(&id));
        self.relations.push(json!({
            "spdxElementId": owner, "relationshipType": relation, "relatedSpdxElement": id,
        }));
        id
    }
}

/// The SPDX document.
fn materials(facts: &BuildFacts<'_>) -> Result<Value, BuildError> {
    let mut graph = Graph::default();
    let bundle = graph.add("SPDXRef-DOCUMENT", "DESCRIBES", |id| {
        let package = package(id, facts.name, Some(&facts.version), None);
        with_checksum(package, &facts.index.digest)
    });
    for (name, (image, installed)) in facts.images {
        let owner = graph.add(&bundle, "CONTAINS", |id| {
            with_checksum(package(id, name, None, None), &image.digest)
        });
        for one in &installed.packages {
            graph.add(&owner, "CONTAINS", |id| {
                let locator = debian_locator(&installed.distribution, one);
                package(id, &one.name, Some(&one.version), Some(locator))
            });
        }
    }
    for wheel in facts.wheels {
        // NAME-VERSION-… (PEP 427): neither holds a dash.
        let mut parts = wheel.file.split('-');
        let (name, version) = (parts.next().unwrap_or_default(), parts.next());
        let locator = version.map(|version| {
            let name = name.to_lowercase().replace('_', "-");
            format!("pkg:pypi/{}@{}", escaped(&name), escaped(version))
        });
        graph.add(&bundle, "CONTAINS", |id| {
            with_checksum(package(id, name, version, locator), &wheel.digest)
        });
    }
    if graph.packages.len() > limits::SBOM_PACKAGES {
        let (count, most) = (graph.packages.len(), limits::SBOM_PACKAGES);
        return Err(ImageError::TooManyPackages { count, most }.into());
    }
    Ok(json!({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("{}-{}", facts.name, facts.version),
        "documentNamespace": format!("https://samebundle.dev/spdx/{}", facts.index.digest.hex()),
        "creationInfo": {"created": "1970-01-01T00:00:00Z", "creators": ["Tool: samebundle"]},
        "packages": graph.packages, "relationships": graph.relations,
    }))
}

fn debian_locator(distribution: &str, package: &Package) -> String {
    format!(
        "pkg:deb/{distribution}/{}@{}?arch={}",
        escaped(&package.name),
        escaped(&package.version),
        escaped(&package.architecture)
    )
}

/// Percent-encodes the characters that a package URL does not allow.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use samebundle_spec::MediaType;

    use super::*;

    #[test]
    fn both_documents_name_every_part() {
        let of = |text: &str| Descriptor::of(MediaType::OCI_MANIFEST, text.as_bytes());
        let package = Package {
            name: "libstdc++6".into(),
            version: "1:12.2~rc-1".into(),
            architecture: "amd64".into(),
        };
        let installed = Installed {
            distribution: "debian".into(),
            packages: BTreeSet::from([package]),
        };
        let images = BTreeMap::from([("base:1".to_owned(), (of("image"), installed))]);
        let wheels = [Wheel {
            file: "scikit_learn-1.4-cp311-cp311-x.whl".into(),
            digest: of("wheel").digest,
            source: None,
        }];
        let facts = BuildFacts {
            name: "greet",
            version: "1.0.0".into(),
            index: &of("index"),
            pipeline: &of("pipeline"),
            runner: of("runner").digest,
            images: &images,
            wheelhouse: Some(&of("wheelhouse")),
            carried: &[],
            wheels: &wheels,
        };
        let provenance = provenance(&facts);
        let from = provenance["buildDefinition"]["resolvedDependencies"]
            .as_array()
            .unwrap();
        let names: Vec<_> = from.iter().map(|one| one["name"].as_str().unwrap()).collect();
        let wanted = ["pipeline", "runner", "image base:1", "wheelhouse"];
        assert_eq!(names[..4], wanted);
        assert_eq!(names[4], "wheel scikit_learn-1.4-cp311-cp311-x.whl");
        assert_eq!(from[2]["digest"]["sha256"], of("image").digest.hex());
        let spdx = materials(&facts).unwrap();
        let packages = spdx["packages"].as_array().unwrap();
        let locators: Vec<_> = packages
            .iter()
            .filter_map(|one| one["externalRefs"][0]["referenceLocator"].as_str())
            .collect();
        let deb = "pkg:deb/debian/libstdc%2B%2B6@1%3A12.2~rc-1?arch=amd64";
        assert_eq!(locators, [deb, "pkg:pypi/scikit-learn@1.4"]);
        // Each id occurs once, and each relation names an id.
        let ids: BTreeSet<_> = packages
            .iter()
            .map(|one| one["SPDXID"].as_str().unwrap())
            .collect();
        assert_eq!(ids.len(), packages.len());
        let relations = spdx["relationships"].as_array().unwrap();
        assert_eq!(relations.len(), packages.len());
        for relation in relations {
            assert!(ids.contains(relation["relatedSpdxElement"].as_str().unwrap()));
        }
        assert_eq!(packages[0]["checksums"][0]["algorithm"], "SHA256");
    }
}
