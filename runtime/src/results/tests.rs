use super::*;

fn of(bytes: &[u8]) -> FileKind {
    FileKind::of_bytes(bytes, false)
}

#[test]
fn the_first_bytes_tell_the_kind() {
    let cases: [(&[u8], Option<&str>); 14] = [
        (b"<!DOCTYPE html><p>a", Some("html")),
        (b"<html><body>", Some("html")),
        (b"\x89PNG\r\n\x1a\n1234", Some("png")),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Some("svg")),
        (b"<?xml version='1.0'?>\n<svg/>", Some("svg")),
        (b"{\"a\": 1}\n", Some("json")),
        (b"{not json}", None),
        (b"a,b\n1,2\n", Some("csv")),
        (b"a\tb\n1\t2\n", Some("tsv")),
        (b"Dear reader, this\nis prose, and has, commas.\n", None),
        (b"one line, with a comma", None),
        (b"%PDF-1.7\n\xff", Some("pdf")),
        (b"\x80\x04\x95\x00\x00", None),
        (b"PK\x03\x04\xff\xff", None),
    ];
    for (bytes, ending) in cases {
        let kind = of(bytes);
        assert_eq!(
            kind.ending(),
            ending,
            "{:?} is {kind:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    assert_eq!(of(b""), FileKind::Text);
    assert_eq!(of(b"\xff\xfe\xfd\xfc"), FileKind::Binary);
}

#[test]
fn a_sample_may_end_within_a_character_or_a_row() {
    assert_eq!(
        FileKind::of_bytes("a,b\n1,2\n3,\u{e9}".as_bytes().split_last().unwrap().1, true).ending(),
        Some("csv")
    );
    assert_eq!(FileKind::of_bytes(b"a,b\n1,2\n3", true).ending(), Some("csv"));
}

#[test]
fn a_table_is_read_up_to_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t");
    std::fs::write(&file, "a,b\n1,2\n3\n\"x,y\",5,6\n").unwrap();
    let table = Table::read(&file, b',', 10, 1 << 20).unwrap();
    assert_eq!(table.header, ["a", "b"]);
    assert_eq!(table.rows, [["1", "2"], ["3", ""], ["x,y", "5"]]);
    assert!(!table.cut);
    let table = Table::read(&file, b',', 1, 1 << 20).unwrap();
    assert_eq!((table.rows.len(), table.cut), (1, true));
    assert!(Table::read(&file, b',', 10, 8).unwrap().cut);
}
