use super::*;

fn digest() -> Digest {
    Digest::sha256(b"")
}

#[test]
fn a_listing_is_read_as_it_is_written() {
    let mut listing = Listing::default();
    listing.add(b"b", Entry::Folder);
    listing.add(
        b"b/y z",
        Entry::File {
            digest: digest(),
            size: 7,
        },
    );
    listing.add(
        b"b.txt",
        Entry::File {
            digest: digest(),
            size: 1,
        },
    );
    listing.add("b/\u{e9}".as_bytes(), Entry::Link(b"../b.txt".to_vec()));
    let text = listing.to_text();
    assert_eq!(Listing::parse(&text).unwrap(), listing, "{text}");
    assert_eq!(listing.size(), 8);
    assert_eq!(Listing::parse("").unwrap(), Listing::default());
}

#[test]
fn what_is_no_listing_is_refused() {
    let hex = digest().hex().to_owned();
    let file = |path: &str| format!("file {hex} 1 {path}\n");
    let cases = [
        file("../x"),
        file("/x"),
        file("a//b"),
        file("a/b"),
        file("."),
        file("a b"),
        file("%2e%2e"),
        file("a%2Fb"),
        file("a%00"),
        file("%41"),
        format!("file {hex} 01 x\n"),
        format!("file {} 1 x\n", &hex[1..]),
        "folder x".to_owned(),
        "link .. x\n".to_owned(),
        "link /etc/passwd x\n".to_owned(),
        format!("{}{}", file("b"), file("a")),
        format!("{}{}", file("a"), file("a")),
        format!("link . a\n{}", file("a/b")),
        "device x\n".to_owned(),
    ];
    for text in cases {
        assert!(Listing::parse(&text).is_err(), "{text:?}");
    }
}
