//! A bundle goes from place to place: nothing of it is lost or changed on the way, whatever lies between.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use samebundle_registry::layout::Layout;
use samebundle_registry::store::{Resolve as _, Sink as _, SinkExt as _, Tags as _};
use samebundle_spec::descriptor::Platform;
use samebundle_spec::manifest::{Index, Manifest};
use samebundle_spec::{Descriptor, MediaType, Tag};
use samebundle_tests::{Greet, Home, Ran, Registry, Sandbox, Test, greet, peer, skip, tests};

pub(crate) const TESTS: &[Test] = tests![
    between_any_two_places_nothing_is_lost_and_the_archive_is_the_same,
    signed_once_a_bundle_verifies_at_the_end_of_a_long_way,
    an_import_into_a_registry_changes_nothing_but_the_place,
    an_image_by_itself_is_found_in_every_place_that_it_was_copied_to
];

/// Everything that a bundle may have beside it.
struct Rich<'a> {
    layout: &'a Layout,
    config: Descriptor,
    made: Vec<Descriptor>,
}

impl Rich<'_> {
    async fn push(&mut self, media_type: MediaType, bytes: Vec<u8>) -> Descriptor {
        let pushed = self
            .layout
            .push_bytes(media_type, Bytes::from(bytes))
            .await
            .unwrap();
        self.made.push(pushed.clone());
        pushed
    }

    /// A signature or the like of some content, unlike any other.
    async fn referrer(&mut self, subject: &Descriptor, name: &str) -> Descriptor {
        let layer = self.push(MediaType::OCI_LAYER, name.into()).await;
        let kind: MediaType = format!("application/vnd.test.{name}").parse().unwrap();
        let manifest = Manifest::artifact(kind, vec![layer]).with_subject(subject.bare());
        self.push(MediaType::OCI_MANIFEST, manifest.to_bytes()).await
    }

    /// What cosign finds by a tag.
    async fn by_tag(&mut self, subject: &Descriptor, ending: &str) -> Descriptor {
        let text = format!("{ending} of {}", subject.digest);
        let layer = self.push(MediaType::OCI_LAYER, text.into()).await;
        let manifest = Manifest::new(self.config.clone(), vec![layer]);
        let manifest = self.push(MediaType::OCI_MANIFEST, manifest.to_bytes()).await;
        let tag = Tag::cosign_all(&subject.digest).into_iter();
        let tag = tag
            .into_iter()
            .find(|tag| tag.as_str().ends_with(ending))
            .unwrap();
        self.layout.tag(&manifest, &tag).await.unwrap();
        manifest
    }

    async fn platform(&mut self, architecture: &str) -> Descriptor {
        let layer = self.push(MediaType::OCI_LAYER, architecture.into()).await;
        let manifest = Manifest::new(self.config.clone(), vec![layer]);
        let mut pushed = self.push(MediaType::OCI_MANIFEST, manifest.to_bytes()).await;
        pushed.platform = Some(Platform {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            os_version: None,
            os_features: Vec::new(),
            variant: None,
        });
        pushed
    }
}

/// Lays beside the bundle in a layout: signatures of signatures, three deep; an image of two platforms as a referrer, each
/// platform with a signature of its own; and what cosign finds by tags, on the bundle, on a platform, on a signature.
/// Returns what was added.
async fn enrich(folder: &Path, greet: &Greet) -> Vec<Descriptor> {
    let layout = Layout::open(folder).await.unwrap();
    let entries = layout.entries().await.unwrap();
    let bundle = entries
        .iter()
        .find(|entry| entry.digest.to_string() == greet.digest())
        .unwrap()
        .bare();
    let config = Descriptor::empty();
    let empty = Box::pin(std::io::Cursor::new(Bytes::from_static(b"{}")));
    layout.push(&config, empty).await.unwrap();
    let mut rich = Rich {
        layout: &layout,
        config,
        made: Vec::new(),
    };
    let first = rich.referrer(&bundle, "first").await;
    let second = rich.referrer(&first, "second").await;
    let _ = rich.referrer(&second, "third").await;
    let platforms = vec![rich.platform("amd64").await, rich.platform("arm64").await];
    for platform in &platforms {
        let signature = rich
            .referrer(platform, &platform.platform.as_ref().unwrap().architecture)
            .await;
        let _ = rich.by_tag(&signature, ".sig").await;
    }
    let _ = rich.by_tag(&platforms[1], ".sig").await;
    let _ = rich.by_tag(&bundle, ".att").await;
    let _ = rich.by_tag(&bundle, ".sbom").await;
    let mut index = Index::new(platforms);
    index.artifact_type = Some("application/vnd.test.image".parse().unwrap());
    index.subject = Some(bundle);
    let _ = rich.push(MediaType::OCI_INDEX, index.to_bytes()).await;
    rich.made
}

/// A kind of place, and where one of it is.
struct Places<'a> {
    sandbox: &'a Sandbox,
    greet: &'a Greet,
    registries: Vec<Registry>,
    made: usize,
}

impl Places<'_> {
    const KINDS: [&'static str; 6] = ["own registry", "debian registry", "tar", "tgz", "layout", "store"];

    /// A new place of a kind: the home whose command reaches it, and its name there. None where that cannot be had.
    fn new_place(&mut self, kind: &str) -> Option<(Home, String)> {
        self.made += 1;
        let number = self.made;
        let home = self.sandbox.home("mover");
        let file = |ending: &str| {
            let path = self.sandbox.path().join(format!("place-{number}{ending}"));
            path.to_str().unwrap().to_owned()
        };
        let name = match kind {
            "own registry" => self.registries[0].reference(&format!("place-{number}/greet:1.0.0")),
            "debian registry" => self
                .registries
                .get(1)?
                .reference(&format!("place-{number}/greet:latest")),
            "tar" => file(".tar"),
            "tgz" => file(".tgz"),
            "layout" => format!("layout:{}", file("")),
            _ => {
                return Some((
                    self.greet.trusting(self.sandbox, &format!("store-{number}")),
                    "greet".to_owned(),
                ));
            }
        };
        Some((home, name))
    }

    /// Copies between places; the local store is reached by its own home.
    fn copy(&self, from: &(Home, String), to: &(Home, String)) {
        if from.1 == "greet" && to.1 == "greet" {
            // No command reaches into two homes: by a layout between them, which is what a store is.
            let store = format!("layout:{}:greet", from.0.path().join("store").display());
            let _ = to.0.ok(["copy", &store, "greet"]);
        } else {
            let home = if from.1 == "greet" { &from.0 } else { &to.0 };
            let _ = home.ok(["copy", &from.1, &to.1]);
        }
    }

    /// The archive that is made at a place.
    fn archive(&mut self, at: &(Home, String)) -> Vec<u8> {
        let file = self.new_place("tar").unwrap();
        self.copy(at, &file);
        std::fs::read(file.1).unwrap()
    }
}

fn names(archive: &[u8]) -> BTreeSet<String> {
    let mut archive = tar::Archive::new(archive);
    let names = archive.entries().unwrap();
    names
        .map(|entry| entry.unwrap().path().unwrap().to_str().unwrap().to_owned())
        .collect()
}

fn between_any_two_places_nothing_is_lost_and_the_archive_is_the_same() {
    let Some(greet) = greet() else {
        return skip("places: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let origin = sandbox.path().join("origin");
    let _ = publisher.ok(["copy", "greet", &format!("layout:{}:1.0.0", origin.display())]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let added = runtime.block_on(enrich(&origin, greet));
    let registries = [
        Some(Registry::own(&sandbox, &publisher)),
        Registry::debian(&sandbox),
    ];
    let mut places = Places {
        sandbox: &sandbox,
        greet,
        registries: registries.into_iter().flatten().collect(),
        made: 0,
    };
    if places.registries.len() < 2 {
        skip("places: no pair with docker-registry, it is not installed (tests/setup/packages)");
    }
    let origin = (
        sandbox.home("mover"),
        format!("layout:{}:1.0.0", origin.display()),
    );
    let wanted = places.archive(&origin);
    let in_it = names(&wanted);
    for one in &added {
        let name = format!("blobs/sha256/{}", one.digest.hex());
        assert!(in_it.contains(&name), "{one:?} was lost by the first copy");
    }
    for from in Places::KINDS {
        let Some(start) = places.new_place(from) else {
            continue;
        };
        places.copy(&origin, &start);
        for to in Places::KINDS {
            let Some(end) = places.new_place(to) else { continue };
            places.copy(&start, &end);
            let made = places.archive(&end);
            let lost: Vec<_> = in_it.difference(&names(&made)).cloned().collect();
            assert!(lost.is_empty(), "{from} -> {to} lost {lost:?}");
            assert!(made == wanted, "{from} -> {to}: another archive");
        }
    }
}

/// A place on the way of one bundle, with the archive that was made there.
struct Site {
    name: &'static str,
    place: String,
}

fn signed_once_a_bundle_verifies_at_the_end_of_a_long_way() {
    let Some(greet) = greet() else {
        return skip("places: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let Some(first) = Registry::debian(&sandbox) else {
        return skip("places: docker-registry is not installed (tests/setup/packages)");
    };
    let (second, third) = (
        Registry::own(&sandbox, &publisher),
        Registry::debian(&sandbox).unwrap(),
    );
    let file = sandbox.path().join("across.tgz");
    let folder = sandbox.path().join("folder");
    let way = [
        ("first registry", first.reference("team/greet:1.0.0")),
        ("file", text(&file).to_owned()),
        ("second registry", second.reference("mirror/greet:stable")),
        ("folder", format!("layout:{}", folder.display())),
        ("third registry", third.reference("island/greet:latest")),
    ];
    let way = way.map(|(name, place)| Site { name, place });
    let _ = publisher.ok(["push", "greet", &way[0].place]);
    let courier = sandbox.home("courier");
    for pair in way.windows(2) {
        let _ = courier.ok(["copy", &pair[0].place, &pair[1].place]);
    }
    for ending in ["tar", "tgz"] {
        let archives = way.iter().map(|site| {
            let made: PathBuf = sandbox.path().join(format!("made.{ending}"));
            let _ = courier.ok(["copy", &site.place, text(&made)]);
            (site.name, std::fs::read(made).unwrap())
        });
        let archives: Vec<_> = archives.collect();
        for (name, bytes) in &archives {
            assert!(
                *bytes == archives[0].1,
                "the {ending} made at the {name} is another"
            );
        }
    }
    let end = &way[4].place;
    let island = greet.trusting(&sandbox, "island");
    assert_eq!(island.ok(["verify", end]).digest(), greet.digest());
    for tool in ["cosign2", "cosign3"] {
        if let Some(said) = crate::cosign::verify(tool, &greet.key(), end, &sandbox) {
            let said = said.ok();
            assert!(format!("{}{}", said.stdout, said.stderr).contains(greet.digest()));
        }
    }
    // Each of the two forms is there: without one, cosign would not miss the other.
    let hex = greet.digest().replace(':', "-");
    for beside in [format!("{hex}.sig"), hex] {
        let Some(crane) = peer("crane") else {
            return skip("crane: not built (tests/setup/peers)");
        };
        let place = third.reference(&format!("island/greet:{beside}"));
        let mut command = Command::new(crane);
        command
            .args(["manifest", &place])
            .env_clear()
            .env("HOME", sandbox.path());
        let _ = Ran::of(&mut command).ok();
    }
}

fn an_import_into_a_registry_changes_nothing_but_the_place() {
    let Some(greet) = greet() else {
        return skip("places: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let file = sandbox.path().join("across.tgz");
    let _ = publisher.ok(["copy", "greet", text(&file)]);
    let site = greet.trusting(&sandbox, "site");
    let _ = site.ok(["key", "generate", "--no-passphrase"]);
    let mirror = Registry::own(&sandbox, &site);
    let to = mirror.reference("mirror/greet");
    let imported = site
        .ok(["import", text(&file), "--to", &to, "--output", "json"])
        .json();
    assert_eq!(imported["digest"], greet.digest());
    assert_eq!(imported["to"], format!("{to}:1.0.0"));
    // The receipt says what the registry has; the home took nothing in.
    let receipt = imported["receipt"].as_str().unwrap();
    let receipt = site.ok(["receipt", receipt, "--output", "json"]).json();
    let bytes = {
        let made = sandbox.path().join("made.tgz");
        let _ = site.ok(["copy", &format!("{to}:1.0.0"), text(&made)]);
        std::fs::read(made).unwrap()
    };
    assert!(bytes == std::fs::read(&file).unwrap(), "another archive");
    let contents = receipt["held"].as_array().unwrap().len();
    assert!(contents > 8, "{receipt}");
    assert!(!site.ok(["list"]).stdout.contains("greet"));
    assert!(site.run(["inspect", "greet"]).code != 0);
    assert_eq!(
        site.ok(["verify", &format!("{to}:1.0.0")]).digest(),
        greet.digest()
    );
    // What is not trusted reaches no registry.
    let stranger = sandbox.home("stranger");
    let other = mirror.reference("mirror/other:1");
    let _ = stranger.run(["import", text(&file), "--to", &other]).exits(4);
    let _ = site.run(["inspect", &other]).exits(5);
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An image by itself has no version that it could be named by: it keeps the tag that it was found by, or is named.
#[tokio::main(flavor = "current_thread")]
async fn an_image_by_itself_is_found_in_every_place_that_it_was_copied_to() {
    let sandbox = Sandbox::new();
    let home = sandbox.home("images");
    let seed = sandbox.path().join("seed");
    let image = {
        let layout = Layout::create(&seed).await.unwrap();
        let config = layout.push_bytes(MediaType::OCI_CONFIG, "{}".into()).await;
        let layer = layout.push_bytes(MediaType::OCI_LAYER, "layer".into()).await;
        let manifest = Manifest::new(config.unwrap(), vec![layer.unwrap()]);
        let bytes = Bytes::from(manifest.to_bytes());
        let image = layout.push_bytes(MediaType::OCI_MANIFEST, bytes).await.unwrap();
        layout.tag(&image, &"v1".parse().unwrap()).await.unwrap();
        image
    };
    let registry = Registry::own(&sandbox, &home);
    let by_digest = format!("{}@{}", registry.reference("team/image"), image.digest);
    let place = |kind: &str, name: &str| format!("{kind}:{}", sandbox.path().join(name).display());
    let road = [
        place("layout", "seed"),
        place("archive", "one.tgz"),
        place("layout", "one"),
        registry.reference("team/image:v2"),
        place("archive", "two.tar"),
        place("layout", "two"),
    ];
    for step in road.windows(2) {
        let _ = home.ok(["copy", &step[0], &step[1]]);
    }
    for (name, tag) in [("one", "v1"), ("two", "v2")] {
        let layout = Layout::open(&sandbox.path().join(name)).await.unwrap();
        let found = layout.resolve(&tag.parse().unwrap()).await.unwrap();
        assert_eq!(found.digest, image.digest);
    }
    let (nameless, named) = (place("layout", "three"), place("layout", "three:v3"));
    let refused = home.run(["copy", &by_digest, &nameless]).exits(2);
    assert!(refused.stderr.contains("three:TAG"), "{}", refused.stderr);
    assert!(!sandbox.path().join("three").exists());
    let _ = home.ok(["copy", &by_digest, &named]);
    let file = place("archive", "three.tgz");
    let _ = home.ok(["copy", &by_digest, &file]);
    let _ = home.ok(["copy", &file, &place("layout", "four:v4")]);
}
