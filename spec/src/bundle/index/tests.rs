use std::path::{Path, PathBuf};

use super::*;
use crate::bundle::layout::{Layout, LayoutError};
use crate::vectors;
use crate::{Digest, Document};

/// The public helloworld bundle (cnab-spec 201), canonical.
const HELLOWORLD: &str = r#"{"description":"A short description of your bundle","invocationImages":[{"contentDigest":"sha256:a59a4e74d9cc89e4e75dfb2cc7ea5c108e4236ba6231b53081a9e2506d1197b6","image":"cnab/helloworld:0.1.1","imageType":"docker","mediaType":"application/vnd.docker.distribution.manifest.v2+json","size":942}],"keywords":["helloworld","cnab","tutorial"],"maintainers":[{"email":"jane.doe@example.com","name":"Jane Doe","url":"https://example.com"}],"name":"helloworld","schemaVersion":"v1.0.0","version":"0.1.1"}"#;

/// Descriptors of invocation image and components as `bundle.json` itself names them.
fn named(bundle: &Bundle) -> (Descriptor, BTreeMap<String, Descriptor>) {
    let descriptor = |image: &crate::bundle::view::Image| {
        let media_type = image.media_type.as_deref().unwrap().parse().unwrap();
        Descriptor::new(media_type, image.digest().unwrap(), image.size.unwrap())
    };
    let view = bundle.view();
    let components = view
        .images
        .iter()
        .map(|(name, image)| (name.clone(), descriptor(image)))
        .collect();
    (descriptor(view.invocation_image().unwrap()), components)
}

fn composed(bundle: &Bundle, form: IndexForm) -> Composed {
    let (invocation, components) = named(bundle);
    compose(bundle, &invocation, &components, form)
}

#[test]
fn public_digests_come_out_in_the_null_form() {
    let bundle = Bundle::parse(HELLOWORLD.as_bytes()).unwrap();
    let composed = composed(&bundle, IndexForm::Null);
    for (digest, wanted) in [
        (
            composed.config_blob.digest,
            "e91b9dfcbbb3b88bac94726f276b89de46e4460b55f6e6d6f876e666b150ec5b",
        ),
        (
            composed.config_manifest.0.digest,
            "6ec4fd695cace0e3d4305838fdf9fcd646798d3fea42b3abb28c117f903a6a5f",
        ),
        (
            composed.index.0.digest,
            "55c6da48fe8553696bf3e2c940ea667e2d2fda3d55614a19dbd7d084780c0807",
        ),
    ] {
        assert_eq!(digest.hex(), wanted);
    }
    assert!(!composed.empty_blob);
}

#[test]
fn strict_form_is_valid_oci_and_reads_back() {
    let bundle = Bundle::parse(HELLOWORLD.as_bytes()).unwrap();
    let composed = composed(&bundle, IndexForm::Strict);
    let Document::Index(index) = Document::parse(&composed.index.1, &MediaType::OCI_INDEX).unwrap() else {
        panic!("no index");
    };
    assert_eq!(index.artifact_type, Some(MediaType::CNAB_MANIFEST));
    assert_eq!(index.media_type, Some(MediaType::OCI_INDEX));
    let layout = Layout::read(&index).unwrap();
    layout.check(&bundle).unwrap();
    assert_eq!(layout.config_manifest.digest, composed.config_manifest.0.digest);
    let Document::Manifest(manifest) =
        Document::parse(&composed.config_manifest.1, &MediaType::OCI_MANIFEST).unwrap()
    else {
        panic!("no manifest");
    };
    assert_eq!(manifest.layers, vec![Descriptor::empty()]);
    assert_eq!(Layout::config_blob(&manifest).unwrap().digest, bundle.digest());
    let relocation = layout.relocation(&bundle, "r.example/x");
    assert!(relocation["cnab/helloworld:0.1.1"].starts_with("r.example/x@sha256:a59a4e74"));
}

#[test]
fn refuses_indexes_that_are_not_bundles_or_disagree() {
    let bundle = Bundle::parse(HELLOWORLD.as_bytes()).unwrap();
    let (invocation, _) = named(&bundle);
    let components: BTreeMap<_, _> = [("x".to_owned(), Descriptor::empty())].into();
    let composed = compose(&bundle, &invocation, &components, IndexForm::Strict);
    let Document::Index(index) = Document::parse(&composed.index.1, &MediaType::OCI_INDEX).unwrap() else {
        panic!("no index");
    };
    let spoiled = |spoil: &dyn Fn(&mut Vec<Descriptor>)| {
        let mut index = index.clone();
        spoil(&mut index.manifests);
        Layout::read(&index)
    };
    let layout = spoiled(&|_| {}).unwrap();
    assert!(matches!(layout.check(&bundle), Err(LayoutError::OneSided { .. })));
    let none = spoiled(&|entries| entries.iter_mut().for_each(|entry| entry.annotations.clear()));
    assert_eq!(none, Err(LayoutError::NotABundle));
    let one = spoiled(&|entries| entries[1].annotations.clear());
    assert!(matches!(one, Err(LayoutError::Kind { found: None, .. })));
    let twice = spoiled(&|entries| entries.push(entries[2].clone()));
    assert!(matches!(twice, Err(LayoutError::Twice { .. })));
    let two = spoiled(&|entries| entries.push(entries[1].clone()));
    assert!(matches!(
        two,
        Err(LayoutError::Count {
            kind: "invocation",
            count: 2
        })
    ));
    let unnamed = spoiled(&|entries| drop(entries[2].annotations.remove(COMPONENT)));
    assert!(matches!(unnamed, Err(LayoutError::Unnamed { .. })));
    let mut swapped = spoiled(&|entries| drop(entries.pop())).unwrap();
    swapped.invocation.digest = Digest::sha256(b"other");
    assert!(matches!(
        swapped.check(&bundle),
        Err(LayoutError::Disagree { .. })
    ));
    let config = Manifest::new(Descriptor::empty(), Vec::new());
    assert!(matches!(
        Layout::config_blob(&config),
        Err(LayoutError::Config { .. })
    ));
}

#[test]
fn annotations_are_escaped_as_go_does() {
    let text = HELLOWORLD.replace("\"tutorial\"", "\"<a&b>\"");
    let bundle = Bundle::parse(text.as_bytes()).unwrap();
    let keywords = &annotations(&bundle)["io.cnab.keywords"];
    assert_eq!(keywords, "[\"helloworld\",\"cnab\",\"\\u003ca\\u0026b\\u003e\"]");
}

/// Every place in the vectors where a `bundle.json`, its configuration manifest and its index stand side by side.
fn goldens(root: &Path) -> Vec<[PathBuf; 3]> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        for path in &paths {
            let name = path.file_name().unwrap().to_string_lossy();
            if path.is_dir() {
                folders.push(path.clone());
            } else if let Some(prefix) = name.strip_suffix("config-manifest.json") {
                let beside = |name: &str| path.with_file_name(format!("{prefix}{name}"));
                let bundle = ["bundle.pushed.json", "bundle.canonical.json", "bundle.json"]
                    .into_iter()
                    .map(beside)
                    .find(|path| path.exists());
                found.extend(bundle.map(|bundle| [bundle, path.clone(), beside("index.json")]));
            }
        }
    }
    found
}

#[test]
fn golden_push_vectors() {
    let Some(root) = vectors::folder("cnab") else {
        return;
    };
    let goldens = goldens(&root);
    assert!(!goldens.is_empty());
    for [bundle_path, manifest_path, index_path] in goldens {
        let read = |path: &Path| std::fs::read(path).unwrap();
        let bundle = Bundle::parse(&read(&bundle_path)).unwrap();
        let composed = composed(&bundle, IndexForm::Null);
        for (path, got) in [
            (&bundle_path, composed.config_blob.digest),
            (&manifest_path, composed.config_manifest.0.digest),
            (&index_path, composed.index.0.digest),
        ] {
            let wanted = Digest::sha256(&read(path));
            println!("{}: wanted {wanted}, got {got}", path.display());
            assert_eq!(got, wanted, "{}", path.display());
        }
        let Document::Index(index) = Document::parse(&read(&index_path), &MediaType::OCI_INDEX).unwrap()
        else {
            panic!("no index");
        };
        Layout::read(&index).unwrap().check(&bundle).unwrap();
    }
    digests_file(&root.join("golden-helloworld"));
}

/// Each line `hex  file  N bytes` of `DIGESTS.txt` is what we compute of that file.
fn digests_file(folder: &Path) {
    let text = std::fs::read_to_string(folder.join("DIGESTS.txt")).unwrap();
    let mut lines = 0;
    for line in text.lines().take_while(|line| line.ends_with(" bytes")) {
        let mut words = line.split_whitespace();
        let (hex, file) = (words.next().unwrap(), words.next().unwrap());
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let got = Digest::sha256(&bytes).hex();
        println!("{file}: wanted {hex}, got {got}");
        assert_eq!(got, hex);
        lines += 1;
    }
    assert!(lines > 0);
}

/// skopeo 1.9 drops an entry's artifact type, and writes another index because of that.
#[test]
fn entries_have_nothing_that_old_tools_drop() {
    let bundle = Bundle::parse(HELLOWORLD.as_bytes()).unwrap();
    let (invocation, mut components) = named(&bundle);
    let mut content = Descriptor::of(MediaType::OCI_MANIFEST, b"content");
    content.artifact_type = Some(MediaType::CONTENT);
    components.insert("content".to_owned(), content);
    let composed = compose(&bundle, &invocation, &components, IndexForm::Strict);
    let Document::Index(index) = Document::parse(&composed.index.1, &MediaType::OCI_INDEX).unwrap() else {
        panic!("no index");
    };
    assert_eq!(index.manifests.len(), 3);
    assert!(index.manifests.iter().all(|entry| entry.artifact_type.is_none()));
}
