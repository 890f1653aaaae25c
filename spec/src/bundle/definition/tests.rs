use serde_json::json;

use super::*;

fn check(schema: &Value, value: &Value) -> Result<(), DefinitionError> {
    Definition::new(schema, &BTreeMap::new())?.check(value)
}

#[test]
fn keywords_of_draft_07() {
    for (schema, good, bad) in [
        (
            json!({"type": "integer", "minimum": 1, "maximum": 9}),
            json!(5),
            json!(10),
        ),
        (json!({"type": "integer"}), json!(5), json!(5.5)),
        (json!({"multipleOf": 0.5}), json!(1.5), json!(1.7)),
        (json!({"enum": ["a", 1, true]}), json!(1), json!("b")),
        (json!({"const": null}), json!(null), json!(0)),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("aa"),
            json!("ab"),
        ),
        (
            json!({"type": "string", "contentEncoding": "base64"}),
            json!("YQ=="),
            json!("!"),
        ),
        (
            json!({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"minimum": 2}}),
            json!("ab"),
            json!(1),
        ),
        (
            json!({"oneOf": [{"type": "string"}, {"minLength": 3}]}),
            json!("ab"),
            json!("abc"),
        ),
        (
            json!({"definitions": {"p": {"type": "integer"}}, "properties": {"x": {"$ref": "#/definitions/p"}}}),
            json!({"x": 1}),
            json!({"x": "1"}),
        ),
    ] {
        assert_eq!(check(&schema, &good), Ok(()), "{schema}");
        assert!(
            matches!(check(&schema, &bad), Err(DefinitionError::Value(_))),
            "{schema}"
        );
    }
}

#[test]
fn refuses_schemas_that_reach_outside_or_never_end() {
    for schema in [
        json!({"$ref": "http://example.com/schema.json"}),
        json!({"$ref": "file:///etc/passwd"}),
        json!({"properties": {"a": {"$ref": "other.json#/a"}}}),
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"definitions": {"a": {"$ref": "#/definitions/b"}, "b": {"anyOf": [{"$ref": "#/definitions/a"}]}}}),
        json!({"$ref": "#/nowhere"}),
        json!({"type": "strange"}),
        json!({"minimum": "1"}),
        json!({"pattern": "("}),
        // Look-around needs an engine that can take exponential time.
        json!({"pattern": "^(?=a)"}),
        json!([]),
    ] {
        assert!(Definition::new(&schema, &BTreeMap::new()).is_err(), "{schema}");
    }
    // A tree that refers to itself one level down ends where the instance ends.
    let tree = json!({"properties": {"child": {"$ref": "#"}}, "required": ["name"]});
    assert!(check(&tree, &json!({"name": 1, "child": {"name": 2}})).is_ok());
    assert!(check(&tree, &json!({"name": 1, "child": {}})).is_err());
}

#[test]
fn a_secret_is_not_in_the_message() {
    let schema = json!({"type": "string", "writeOnly": true, "pattern": "^[0-9]+$"});
    let error = check(&schema, &json!("hunter2")).unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
    let number = json!({"type": "integer", "writeOnly": true});
    let siblings = BTreeMap::new();
    let definition = Definition::new(&number, &siblings).unwrap();
    assert!(
        !definition
            .from_text("hunter2")
            .unwrap_err()
            .to_string()
            .contains("hunter2")
    );
}

#[test]
fn reads_text_by_type() {
    let siblings = BTreeMap::new();
    for (types, text, wanted) in [
        (json!("integer"), "1000", Some(json!(1000))),
        (json!("integer"), "1.5", None),
        (json!("integer"), "1e3", None),
        (json!("number"), "0.5", Some(json!(0.5))),
        (json!("boolean"), "true", Some(json!(true))),
        (json!("boolean"), "yes", Some(json!(true))),
        (json!("boolean"), "False", Some(json!(false))),
        (json!("boolean"), "1", Some(json!(true))),
        (json!("boolean"), "2", None),
        (json!("boolean"), "", None),
        (json!(["boolean", "integer"]), "1", Some(json!(1))),
        (json!(["boolean", "string"]), "True", Some(json!("True"))),
        (json!("string"), "1000", Some(json!("1000"))),
        (json!("string"), "\"q\"", Some(json!("\"q\""))),
        (json!("array"), "[1,2]", Some(json!([1, 2]))),
        (json!("object"), "{\"a\":1,\"a\":2}", None),
        (json!("integer"), "9223372036854775807", Some(json!(i64::MAX))),
        (json!("integer"), "-9223372036854775808", Some(json!(i64::MIN))),
        (json!("integer"), "9223372036854775808", None),
        (
            json!("number"),
            "10000000000000000",
            Some(json!(10_000_000_000_000_000_u64)),
        ),
        (json!("number"), "100000000000000000000000", Some(json!(1e23))),
        (json!("number"), "-1e22", Some(json!(-1e22))),
        (json!("number"), "1_0", None),
        (
            json!("object"),
            "{\"at\":1764276474000000000}",
            Some(json!({"at": 1_764_276_474_000_000_000_i64})),
        ),
        (json!(["string", "integer"]), "7", Some(json!(7))),
        (json!(["string", "integer"]), "x", Some(json!("x"))),
    ] {
        let schema = json!({"type": types});
        let definition = Definition::new(&schema, &siblings).unwrap();
        assert_eq!(definition.from_text(text).ok(), wanted, "{types} {text}");
    }
}

/// K8, K9: a refusal says what is wrong with the text, not only what type was wanted.
#[test]
fn a_refused_text_is_given_its_reason() {
    let siblings = BTreeMap::new();
    for (kind, text, wanted) in [
        ("integer", "9223372036854775808", "9223372036854775807"),
        ("array", "[1,", "not valid JSON"),
        ("object", "{\"a\":1,\"a\":2}", "key \"a\" stands twice"),
        ("object", "{\"a\": NaN}", "line 1, column 7"),
        ("array", &"[".repeat(100), "nested deeper"),
        ("array", "[99999999999999999999999]", "is beyond"),
    ] {
        let schema = json!({ "type": kind });
        let definition = Definition::new(&schema, &siblings).unwrap();
        let error = definition.from_text(text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}
