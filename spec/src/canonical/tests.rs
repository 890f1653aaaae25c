use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::json;
use crate::vectors;

fn text(value: &Value) -> String {
    String::from_utf8(to_vec(value).unwrap()).unwrap()
}

#[test]
fn sorts_keys_by_utf16_units() {
    // RFC 8785, 3.2.3: U+1F600 is written with surrogates and so sorts before U+FB33.
    let value =
        json!({"\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": 7});
    assert_eq!(
        text(&value),
        "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}"
    );
}

#[test]
fn writes_numbers_as_ecmascript_does() {
    // RFC 8785, appendix B, by bit pattern.
    for (bits, wanted) in [
        (0x0000_0000_0000_0000_u64, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ] {
        assert_eq!(text(&json!(f64::from_bits(bits))), wanted);
    }
    assert_eq!(
        text(&json!([0.5, 1e21, 1e-7, -0.0, 1e20, 10, -3])),
        "[0.5,1e+21,1e-7,0,100000000000000000000,10,-3]"
    );
}

#[test]
fn escapes_only_what_it_must() {
    let value = json!("\u{20ac}$\u{f}\nA'B\"\\\"/<>&\u{7f}\u{2028}\u{8}\u{c}\u{1f600}");
    assert_eq!(
        text(&value),
        "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\"/<>&\u{7f}\u{2028}\\b\\f\u{1f600}\""
    );
}

#[test]
fn refuses_integers_that_a_double_cannot_tell_apart() {
    for value in [json!(9_007_199_254_740_993_u64), json!([i64::MIN])] {
        assert!(matches!(to_vec(&value), Err(CanonicalError::Integer(_))));
    }
    assert!(to_vec_of(&std::collections::BTreeMap::from([(vec![1], 1)])).is_err());
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// What is canonical stays as it is, whatever was read in between.
    #[test]
    fn canonical_text_is_a_fixed_point(value in values()) {
        let once = to_vec(&value).unwrap();
        let read: Value = serde_json::from_slice(&once).unwrap();
        // A double of integral value reads back as an integer; beyond 2^53 that one has no canonical form.
        if let Ok(twice) = to_vec(&read) {
            prop_assert_eq!(once, twice);
        }
    }
}

fn canonical_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            canonical_files(&path, found);
        } else if path.to_string_lossy().contains("canonical") || path.ends_with("bundle.pushed.json") {
            found.push(path);
        }
    }
    found.sort();
}

/// Every file of the CNAB vectors whose name says that it is canonical is a fixed point, byte for byte.
#[test]
fn cnab_canonical_vectors() {
    let Some(root) = vectors::folder("cnab") else {
        return;
    };
    let mut found = Vec::new();
    canonical_files(&root, &mut found);
    assert!(!found.is_empty());
    for path in found {
        let bytes = std::fs::read(&path).unwrap();
        let body = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let value = json::value(body, 1 << 20).unwrap();
        let same = to_vec(&value).unwrap() == body;
        println!("{}: wanted fixed point, got {same}", path.display());
        assert!(same, "{}", path.display());
    }
}
