use serde::Deserialize;

use super::*;
use crate::vectors;

const DEPTH: JsonFault = JsonFault::Depth {
    deepest: limits::DOCUMENT_DEPTH,
};
const LIMIT: u64 = 1 << 20;

fn fault(text: &str) -> JsonError {
    value(text.as_bytes(), LIMIT).unwrap_err()
}

#[test]
fn refuses_a_key_twice_at_any_level_and_says_where() {
    let error = fault("{\"a\": 1,\n \"b\": [{\"x/y\": 1, \"x\\/y\": 2}]}");
    assert_eq!(error.fault, JsonFault::DuplicateKey { key: "x/y".into() });
    assert_eq!(error.place.pointer, "/b/0/x~1y");
    assert_eq!(error.place.line, 2);
    assert!(error.to_string().contains("at /b/0/x~1y"), "{error}");
}

#[test]
fn refuses_depth_one_beyond_the_limit() {
    let nest = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(value(nest(limits::DOCUMENT_DEPTH).as_bytes(), LIMIT).is_ok());
    assert_eq!(fault(&nest(limits::DOCUMENT_DEPTH + 1)).fault, DEPTH);
    assert_eq!(fault(&"[".repeat(100_000)).fault, DEPTH);
    // Brackets in a string are no depth.
    assert!(value(format!("\"\\\"{}\"", "[".repeat(100)).as_bytes(), LIMIT).is_ok());
}

#[test]
fn refuses_what_two_readers_read_differently() {
    for text in [
        "9007199254740992",
        "-9007199254740992",
        "[1,100000000000000000000]",
    ] {
        assert!(matches!(fault(text).fault, JsonFault::Integer { .. }), "{text}");
    }
    for text in ["9007199254740991", "-9007199254740991", "1e28", "0.5"] {
        assert!(value(text.as_bytes(), LIMIT).is_ok(), "{text}");
    }
    for text in [
        "{} {}",
        "{},",
        "",
        " ",
        "\"\\ud800\"",
        "nul",
        "01",
        "[1,]",
        "1e999",
        "\"\t\"",
    ] {
        assert!(
            matches!(fault(text).fault, JsonFault::Syntax { .. }),
            "{text}: {:?}",
            fault(text)
        );
    }
    for (text, wanted) in [
        ("[NaN]", "NaN"),
        ("{\"a\": -Infinity}", "Infinity"),
        ("[\"NaN\", Infinity]", "Infinity"),
    ] {
        assert_eq!(
            fault(text).fault,
            JsonFault::NotANumber { text: wanted },
            "{text}"
        );
    }
    let quoted = quote_non_numbers(br#"{"NaN": [NaN, -Infinity, "a\"Infinity", 1]}"#);
    assert_eq!(quoted, br#"{"NaN": ["NaN", "-Infinity", "a\"Infinity", 1]}"#);
    assert_eq!(quote_non_numbers(b"\"cut\\"), b"\"cut\\");
    assert!(matches!(fault("[\"NaN\", x]").fault, JsonFault::Syntax { .. }));
    assert_eq!(fault("\u{feff}{}").fault, JsonFault::ByteOrderMark);
    assert!(value(b"\"\xff\"", LIMIT).is_err());
    assert!(matches!(
        value(b"[1,2]", 4).unwrap_err().fault,
        JsonFault::TooLarge { size: 5, limit: 4 }
    ));
}

#[test]
fn records_may_hold_integers_of_64_bits() {
    let wide = |text: &str| from_slice_wide::<Value>(text.as_bytes(), LIMIT);
    assert_eq!(wide("18446744073709551615").unwrap(), Value::from(u64::MAX));
    assert_eq!(wide("[-9223372036854775808]").unwrap()[0], Value::from(i64::MIN));
    assert!(matches!(
        wide("18446744073709551616").unwrap_err().fault,
        JsonFault::Integer { .. }
    ));
    for text in ["-9223372036854775809", "-18446744073709551615"] {
        let fault = wide(text).unwrap_err().fault;
        assert!(
            matches!(fault, JsonFault::Integer { largest, .. } if largest == 1 << 63),
            "{text}"
        );
    }
    assert!(wide("{\"a\":1,\"a\":1}").is_err());
}

#[test]
fn names_line_column_and_pointer_of_a_wrong_form() {
    #[derive(Debug, Deserialize)]
    struct Inner {
        #[expect(dead_code, reason = "only its form matters")]
        size: u64,
    }
    #[derive(Debug, Deserialize)]
    struct Outer {
        #[expect(dead_code, reason = "only its form matters")]
        layers: Vec<Inner>,
    }
    let text = "{\"layers\": [{\"size\": 1},\n {\"size\": -1}]}";
    let error = from_slice::<Outer>(text.as_bytes(), LIMIT).unwrap_err();
    assert!(matches!(error.fault, JsonFault::Form { .. }), "{error}");
    assert_eq!(error.place.pointer, "/layers/1/size");
    assert_eq!(error.place.line, 2);
    let error = from_value::<Outer>(&value(text.as_bytes(), LIMIT).unwrap()).unwrap_err();
    assert_eq!(error.place.pointer, "/layers/1/size");
}

/// `JSONTestSuite`: `n_` must be refused, `y_` accepted, `i_` may be either. A `y_` case whose only oddity is a key that
/// stands twice is refused by rule, as that and nothing else.
#[test]
fn json_test_suite_vectors() {
    let Some(folder) = vectors::folder("security/jsontestsuite/test_parsing") else {
        return;
    };
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for path in names {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        let got = value(&bytes, LIMIT);
        let duplicate = matches!(
            &got,
            Err(JsonError {
                fault: JsonFault::DuplicateKey { .. },
                ..
            })
        );
        let (wanted, right) = match &name[..2] {
            "n_" => ("refuse", got.is_err()),
            "y_" if duplicate => ("refuse (key twice)", name.contains("duplicated_key")),
            "y_" => ("accept", got.is_ok()),
            _ => ("either", true),
        };
        let verdict = got.as_ref().map_or_else(ToString::to_string, |_| "accept".into());
        println!("{name}: wanted {wanted}, got {verdict}");
        seen += 1;
        if !right {
            wrong.push(name);
        }
    }
    assert!(seen > 0 && wrong.is_empty(), "{seen} cases, wrong: {wrong:?}");
}
