use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use samebundle_spec::Digest;

use super::*;
use crate::store::contract::vectors;

/// Reads a whole archive: what is in it, or why it is refused.
fn read(bytes: &[u8], rules: Rules) -> Result<BTreeMap<String, (u64, Option<Digest>)>, TarError> {
    let mut entries = Entries::new(Input::new(bytes).unwrap(), rules);
    let mut found = BTreeMap::new();
    while let Some(entry) = entries.next_entry()? {
        let mut content = Vec::new();
        let result = entries.read_to_end(&mut content);
        result.map_err(|error| entries.fail(error))?;
        assert_eq!(content.len() as u64, entry.size);
        let digest = (!entry.is_folder).then(|| Digest::sha256(&content));
        assert!(
            found
                .insert(entry.path.to_string(), (entry.size, digest))
                .is_none()
        );
    }
    Ok(found)
}

struct Block(tar::Header, Vec<u8>);

fn entry(path: &str, content: &str) -> Block {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Block(header, content.into())
}

fn folder(path: &str) -> Block {
    let Block(mut header, content) = entry(path, "");
    header.set_entry_type(tar::EntryType::Directory);
    header.set_cksum();
    Block(header, content)
}

fn pax(records: &[(&str, &str)]) -> Block {
    let text: String = records
        .iter()
        .map(|(key, value)| {
            let rest = key.len() + value.len() + 3;
            let length = (1..5)
                .find(|digits| (rest + digits).to_string().len() == *digits)
                .unwrap();
            format!("{} {key}={value}\n", rest + length)
        })
        .collect();
    let Block(mut header, content) = entry("pax", &text);
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_cksum();
    Block(header, content)
}

fn archive(blocks: &[Block]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Block(header, content) in blocks {
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    bytes
}

fn names(blocks: &[Block]) -> Result<Vec<String>, TarError> {
    Ok(read(&archive(blocks), Rules::default())?.into_keys().collect())
}

#[test]
fn reads_plain_files_and_folders() {
    let found = names(&[
        folder("d/"),
        entry("d/a", "text"),
        entry("b", ""),
        entry("é/ü", "x"),
    ])
    .unwrap();
    assert_eq!(found, ["b", "d", "d/a", "é/ü"]);
    assert!(names(&[]).unwrap().is_empty());
}

#[test]
fn reads_long_names_in_both_forms() {
    let long = "d/".repeat(10) + &"x".repeat(200);
    assert_eq!(
        names(&[pax(&[("path", &long)]), entry("short", "1")]).unwrap(),
        [&*long]
    );
    let Block(mut header, content) = entry("././@LongLink", &format!("{long}\0"));
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_cksum();
    assert_eq!(
        names(&[Block(header, content), entry("short", "1")]).unwrap(),
        [&*long]
    );
}

#[test]
fn names_that_some_system_takes_for_another_are_refused() {
    for (one, other) in [
        ("a", "a"),
        ("a", "A"),
        ("ß", "ss"),
        ("é", "e\u{301}"),
        ("d/x", "D/y"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("K", "\u{212a}"),
    ] {
        assert!(
            names(&[entry(one, ""), entry(other, "")]).is_err(),
            "{one:?} and {other:?}"
        );
    }
    assert!(names(&[folder("d/"), folder("d")]).is_err());
    assert!(names(&[entry("d/a", ""), folder("d/"), entry("d/b", "")]).is_ok());
}

#[test]
fn what_others_write_is_only_for_those_who_ask() {
    let bytes = archive(&[folder("./"), folder("./d/"), entry("./d/a", "1")]);
    assert!(read(&bytes, Rules::default()).is_err());
    let rules = Rules {
        others: true,
        ..Rules::default()
    };
    assert_eq!(
        read(&bytes, rules).unwrap().into_keys().collect::<Vec<_>>(),
        ["d", "d/a"]
    );
    for bad in ["././a", "./../a", "./", ".//a", "/a"] {
        assert!(read(&archive(&[entry(bad, "")]), rules).is_err(), "{bad}");
    }
    assert!(read(&archive(&[entry("a", ""), entry("./a", "")]), rules).is_err());
}

#[test]
fn extensions_are_refused_where_readers_differ() {
    let one = || entry("a", "1");
    for (records, good) in [
        (&[("mtime", "1.5"), ("size", "1")][..], true),
        (&[("size", "2")], false),
        (&[("size", "01")], false),
        (&[("path", "../a")], false),
        (&[("path", "b"), ("path", "b")], false),
        (&[("linkpath", "b")], false),
        (&[("GNU.sparse.major", "1")], false),
        (&[("SCHILY.xattr.security.selinux", "x")], false),
        (&[("hdrcharset", "BINARY")], false),
    ] {
        assert_eq!(names(&[pax(records), one()]).is_ok(), good, "{records:?}");
    }
    assert!(
        names(&[pax(&[("comment", "x")])]).is_err(),
        "an extension of nothing"
    );
    assert!(
        names(&[pax(&[("comment", "x")]), pax(&[("comment", "x")]), one()]).is_err(),
        "two"
    );
}

#[test]
fn a_size_beyond_octal_may_stand_in_the_extension_alone() {
    let header = |size| Header {
        kind: Kind::File,
        path: Vec::new(),
        size,
        executable: false,
    };
    assert_eq!(size(&header(0), Some(OCTAL_SIZE + 1)).unwrap(), OCTAL_SIZE + 1);
    assert!(size(&header(0), Some(OCTAL_SIZE)).is_err());
    assert!(size(&header(1), Some(OCTAL_SIZE + 1)).is_err());
}

#[test]
fn the_end_is_checked() {
    let good = archive(&[entry("a", "1")]);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        read(&bytes, Rules::default()).is_ok()
    };
    assert!(with(&|_| ()));
    assert!(with(&|bytes| bytes.resize(10_240, 0)));
    assert!(!with(&|bytes| bytes.truncate(1024 + 512)));
    assert!(!with(&|bytes| bytes.truncate(1024)));
    assert!(!with(&|bytes| bytes.resize(bytes.len() + 100, 0)));
    assert!(!with(&|bytes| bytes.extend(archive(&[entry("b", "1")]))));
    assert!(!with(&|bytes| bytes[600] = 1));
    assert!(!with(&|bytes| bytes.resize(2 << 20, 0)));
}

#[test]
fn entries_are_counted() {
    let many: Vec<Block> = (0..20).map(|i| entry(&i.to_string(), "")).collect();
    let rules = Rules {
        entries: 19,
        ..Rules::default()
    };
    assert!(read(&archive(&many), rules).is_err());
    assert!(read(&archive(&many), Rules { entries: 20, ..rules }).is_ok());
}

/// What the lenient reader of the tar crate sees in an archive.
fn as_others_read(bytes: &[u8]) -> BTreeMap<String, (u64, Option<Digest>)> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(Input::new(bytes).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let is_folder = entry.header().entry_type().is_dir();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let digest = (!is_folder).then(|| Digest::sha256(&content));
        found.insert(
            path.trim_end_matches('/').to_owned(),
            (content.len() as u64, digest),
        );
    }
    found
}

fn shown(verdict: &Result<BTreeMap<String, (u64, Option<Digest>)>, TarError>) -> String {
    match verdict {
        Ok(found) => format!("accept {} entries", found.len()),
        Err(error) => format!("reject: {error}"),
    }
}

#[test]
fn vector_malformed_archives() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.join("security/malformed-tar");
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for vector in index["vectors"].as_array().unwrap() {
        let file = vector["file"].as_str().unwrap();
        let bytes = fs::read(folder.join(file)).unwrap();
        let wanted = vector["expect"].as_str().unwrap();
        let verdict = read(&bytes, Rules::default());
        println!("{file}: wanted {wanted}, got {}", shown(&verdict));
        let right = match wanted {
            "reject" => verdict.is_err(),
            "accept" | "normalise" => verdict.is_ok(),
            "policy" | "either" => true,
            other => panic!("{file}: unknown expectation {other:?}"),
        };
        if let Ok(found) = &verdict {
            assert_eq!(*found, as_others_read(&bytes), "{file}");
        }
        if !right {
            wrong.push(file.to_owned());
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Other projects' archives: many are of forms that are refused here. What is accepted, others read in the same way.
#[test]
fn vector_archives_of_other_projects() {
    let Some(vectors) = vectors() else { return };
    let mut accepted = 0;
    let mut open = vec![
        vectors.join("security/go-archive-tar"),
        vectors.join("security/tar-rs"),
    ];
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().contains(".tar") {
                accepted += usize::from(other_project(&path));
            }
        }
    }
    assert!(accepted > 0);
}

fn other_project(path: &Path) -> bool {
    use base64::Engine as _;
    let mut bytes = fs::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "base64") {
        bytes.retain(|byte| !byte.is_ascii_whitespace());
        bytes = base64::engine::general_purpose::STANDARD.decode(&bytes).unwrap();
    }
    let verdict = read(&bytes, Rules::default());
    println!(
        "{}: wanted no difference, got {}",
        path.display(),
        shown(&verdict)
    );
    if let Ok(found) = &verdict {
        assert_eq!(*found, as_others_read(&bytes), "{}", path.display());
    }
    verdict.is_ok()
}
