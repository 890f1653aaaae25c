use std::io::Cursor;
use std::os::unix::fs::symlink;

use samebundle_spec::MediaType;
use serde_json::json;

use super::*;

/// A run whose one task left these artifacts: name, digest, size, path. Folders are called models.
fn run(artifacts: &[(&str, Digest, u64, &str)]) -> Run {
    let outputs = artifacts.iter().map(|(name, digest, size, path)| {
        let folder = name.starts_with("model");
        let artifact =
            json!({"artifactType": "system.Model", "digest": digest, "folder": folder, "size": size, "path": path});
        ((*name).to_owned(), json!({"artifacts": [artifact]}))
    });
    let outputs: serde_json::Map<String, serde_json::Value> = outputs.collect();
    let run = json!({
        "format": "1.0", "id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "installation": "digits", "action": "run",
        "bundle": "digits", "version": "1.0.0", "bundleDigest": Digest::sha256(b""),
        "verification": {"by": "consent", "reason": "a test"}, "driver": "fake", "parameters": {},
        "status": "succeeded", "started": "2026-11-22T05:06:07Z",
        "tasks": [{"name": "t", "status": "succeeded", "attempts": 1, "outputs": outputs}],
    });
    serde_json::from_value(run).unwrap()
}

fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

fn unpack(bytes: &[u8], run: &Run, scratch: &Path) -> Result<Unpacked, PortableError> {
    let layer = Descriptor::of(MediaType::OUTPUTS, bytes);
    Unpacked::read(&layer, Cursor::new(bytes), std::slice::from_ref(run), scratch)
}

#[test]
fn files_and_folders_arrive_as_they_were() {
    let home = tempfile::tempdir().unwrap();
    let (from, to) = (home.path().join("from"), home.path().join("to"));
    let outputs = from.join("outputs/t");
    fs::create_dir_all(outputs.join("model/inner")).unwrap();
    fs::create_dir_all(&to).unwrap();
    fs::write(outputs.join("report"), "hello").unwrap();
    fs::write(outputs.join("model/a b"), "hello").unwrap();
    fs::write(outputs.join("model/inner/weights"), [0, 1, 2]).unwrap();
    symlink("inner/weights", outputs.join("model/latest")).unwrap();
    let digest = |path: &str| {
        output(&from.join("outputs"), path)
            .unwrap()
            .unwrap()
            .content()
            .digest
    };
    let run = run(&[
        ("report", digest("t/report"), 5, "outputs/t/report"),
        ("model", digest("t/model"), 8, "outputs/t/model"),
        ("gone", Digest::sha256(b"gone"), 4, "outputs/t/gone"),
        ("altered", Digest::sha256(b"before"), 5, "outputs/t/report"),
    ]);
    let mut parcel = Parcel::default();
    for artifact in artifacts(&run) {
        let _ = parcel.add(&from.join("outputs"), &artifact).unwrap();
    }
    let mut bytes = Vec::new();
    parcel.write(&mut bytes).unwrap();
    let unpacked = unpack(&bytes, &run, home.path()).unwrap();
    assert!(lacks_files(&run, &to));
    assert_eq!(unpacked.place(&run, &to).unwrap(), 2);
    let read = |path: &str| fs::read(to.join("outputs/t").join(path)).unwrap();
    assert_eq!(
        (read("report"), read("model/a b")),
        (b"hello".to_vec(), b"hello".to_vec())
    );
    assert_eq!(read("model/latest"), [0, 1, 2]);
    assert!(to.join("outputs/t/model/latest").is_symlink());
    // What is there stays.
    fs::write(to.join("outputs/t/report"), "mine").unwrap();
    assert_eq!(unpacked.place(&run, &to).unwrap(), 0);
}

#[test]
fn the_tar_is_the_same_for_the_same_files() {
    let home = tempfile::tempdir().unwrap();
    let mut tars = Vec::new();
    for order in [["b", "a"], ["a", "b"]] {
        let outputs = home.path().join(order[0]);
        fs::create_dir_all(outputs.join("t")).unwrap();
        for name in order {
            fs::write(outputs.join("t").join(name), name).unwrap();
        }
        let named = ["a", "b"].map(|name| {
            (
                name,
                Digest::sha256(name.as_bytes()),
                1,
                format!("outputs/t/{name}"),
            )
        });
        let named = named
            .iter()
            .map(|(name, digest, size, path)| (*name, *digest, *size, path.as_str()));
        let mut parcel = Parcel::default();
        for artifact in artifacts(&run(&named.collect::<Vec<_>>())) {
            parcel.add(&outputs, &artifact).unwrap().unwrap();
        }
        let mut bytes = Vec::new();
        parcel.write(&mut bytes).unwrap();
        tars.push(bytes);
    }
    assert_eq!(tars[0], tars[1]);
}

#[test]
fn only_what_a_record_names_comes_in() {
    let home = tempfile::tempdir().unwrap();
    let digest = Digest::sha256(b"hello");
    let listing = format!("file {} 5 x\n", digest.hex());
    let folder = Digest::sha256(listing.as_bytes());
    let run = run(&[
        ("report", digest, 5, "outputs/t/report"),
        ("model", folder, 5, "outputs/t/model"),
    ]);
    let file = |digest: &Digest| format!("files/{}", digest.hex());
    let (named, other) = (file(&digest), file(&Digest::sha256(b"other")));
    let folders = format!("folders/{}", folder.hex());
    let good = tar(&[(&folders, listing.as_bytes()), (&named, b"hello")]);
    assert!(unpack(&good, &run, home.path()).is_ok());
    let climbing = format!("file {} 5 ../x\n", digest.hex());
    let cases: [(&str, Vec<u8>); 7] = [
        ("no run names it", tar(&[(&other, b"other")])),
        ("other bytes", tar(&[(&named, b"jello")])),
        ("other size", tar(&[(&named, b"hello!")])),
        ("other listing", tar(&[(&folders, climbing.as_bytes())])),
        (
            "a file as a folder",
            tar(&[(&format!("folders/{}", digest.hex()), b"hello")]),
        ),
        ("another name", tar(&[("x/y", b"hello")])),
        ("no tar", b"hello".repeat(300)),
    ];
    for (what, bytes) in cases {
        assert!(unpack(&bytes, &run, home.path()).is_err(), "{what} came in");
    }
    assert_eq!(
        fs::read_dir(home.path()).unwrap().count(),
        0,
        "something was left"
    );
}

#[test]
fn a_path_of_a_record_stays_in_the_folder_of_its_run() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    fs::create_dir_all(folder.join("outputs")).unwrap();
    symlink(home.path(), folder.join("outputs/out")).unwrap();
    let digest = Digest::sha256(b"hello");
    let bytes = tar(&[(&format!("files/{}", digest.hex()), b"hello")]);
    for path in [
        "outputs/../../x",
        "/etc/x",
        "x",
        "outputs/out/x",
        "outputs/./../x",
    ] {
        let run = run(&[("report", digest, 5, path)]);
        let unpacked = unpack(&bytes, &run, home.path()).unwrap();
        assert!(unpacked.place(&run, &folder).is_err(), "{path}");
        assert!(!home.path().join("x").exists(), "{path}");
    }
}

/// A file whose text is the listing of a folder has the folder's digest, and an empty folder that of an empty file. Each arrives
/// as what it was.
#[test]
fn a_file_and_a_folder_of_one_digest_are_two_things() {
    let home = tempfile::tempdir().unwrap();
    let (from, to) = (home.path().join("from"), home.path().join("to"));
    let outputs = from.join("outputs/t");
    fs::create_dir_all(outputs.join("model")).unwrap();
    fs::create_dir_all(outputs.join("model-empty")).unwrap();
    fs::create_dir_all(&to).unwrap();
    fs::write(outputs.join("model/a"), "1").unwrap();
    let listing = format!("file {} 1 a\n", Digest::sha256(b"1").hex());
    fs::write(outputs.join("twin"), &listing).unwrap();
    fs::write(outputs.join("empty"), "").unwrap();
    let (twin, empty) = (Digest::sha256(listing.as_bytes()), Digest::sha256(b""));
    let run = run(&[
        ("model", twin, 1, "outputs/t/model"),
        ("twin", twin, listing.len() as u64, "outputs/t/twin"),
        ("empty", empty, 0, "outputs/t/empty"),
        ("model-empty", empty, 0, "outputs/t/model-empty"),
    ]);
    let mut parcel = Parcel::default();
    for artifact in artifacts(&run) {
        assert!(!parcel.has(&artifact));
        assert_eq!(
            parcel.add(&from.join("outputs"), &artifact).unwrap(),
            Ok(()),
            "{}",
            artifact.name
        );
    }
    let mut bytes = Vec::new();
    parcel.write(&mut bytes).unwrap();
    assert_eq!(
        unpack(&bytes, &run, home.path())
            .unwrap()
            .place(&run, &to)
            .unwrap(),
        4
    );
    let place = |name: &str| to.join("outputs/t").join(name);
    assert_eq!(fs::read_to_string(place("model/a")).unwrap(), "1");
    assert_eq!(fs::read_to_string(place("twin")).unwrap(), listing);
    assert_eq!(fs::read(place("empty")).unwrap(), b"");
    assert_eq!(fs::read_dir(place("model-empty")).unwrap().count(), 0);
}

/// A folder whose files did not come along is refused before anything has its place.
#[test]
fn a_folder_without_its_files_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let listing = format!("file {} 1 a\n", Digest::sha256(b"1").hex());
    let digest = Digest::sha256(listing.as_bytes());
    let run = run(&[("model", digest, 1, "outputs/t/model")]);
    let bytes = tar(&[(&format!("folders/{}", digest.hex()), listing.as_bytes())]);
    let error = unpack(&bytes, &run, home.path()).unwrap_err().to_string();
    assert!(
        error.contains("which is not among the files of its runs"),
        "{error}"
    );
}
