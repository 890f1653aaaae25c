use std::collections::BTreeMap;

use samebundle_spec::record::{Classification, ConfusionMatrix, Metrics, RocPoint};

use super::*;

fn classification() -> Classification {
    let point = |across, along| RocPoint {
        threshold: None,
        false_positive_rate: across,
        true_positive_rate: along,
    };
    Classification {
        confusion: Some(ConfusionMatrix {
            labels: vec!["cat".to_owned(), "<b>dog".to_owned()],
            rows: vec![vec![8.0, 2.0], vec![1.0, 9.0]],
        }),
        roc: vec![point(0.0, 0.0), point(0.1, 0.8), point(1.0, 1.0)],
    }
}

#[test]
fn a_figure_is_a_document_of_its_own() {
    let figure = figure(&Metrics::Classification(classification()), "evaluate <i>").unwrap();
    for part in [
        "<!DOCTYPE html>",
        "<title>evaluate &lt;i&gt;</title>",
        "&lt;b&gt;dog",
        "--h:48%",
        "17 of 20",
        "<path",
        "0.8500",
    ] {
        assert!(figure.contains(part), "no {part} in {figure}");
    }
    assert!(!figure.contains("<script") && !figure.contains("<b>dog"));
    let sliced = Metrics::Slices(vec![("age: young".to_owned(), classification())]);
    assert!(super::figure(&sliced, "x").unwrap().contains("Slice age: young"));
    assert!(super::figure(&Metrics::Scalars(BTreeMap::new()), "x").is_none());
}

#[test]
fn numbers_have_the_digits_that_count() {
    let cases = [
        (0.0, "0"),
        (0.97222, "0.9722"),
        (0.012345, "0.01235"),
        (3.25, "3.25"),
        (123.4567, "123.5"),
        (98765.4, "98765.4"),
        (30.0, "30"),
        (-0.5, "-0.5"),
        (1.5e-9, "1.500e-9"),
    ];
    for (number, shown) in cases {
        assert_eq!(text::number(number), shown);
    }
    assert_eq!(text::bytes(1536), "1.5 KiB");
    assert_eq!(text::duration(3.21), "3.2 s");
    assert_eq!(text::duration(75.0), "1 min 15 s");
}
