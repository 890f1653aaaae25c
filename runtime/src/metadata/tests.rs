//! What follows from a record alone.

use samebundle_spec::Digest;
use samebundle_spec::record::Run;
use serde_json::{Value, json};

use super::ro_crate::{Contents, crate_of};
use super::{Destination, Ledger, openlineage};

fn run(id: &str) -> Run {
    serde_json::from_value(json!({
        "format": "1.0", "id": id, "installation": "a", "action": "run", "bundle": "b c", "version": "1.0.0",
        "bundleDigest": Digest::sha256(b"bundle"), "verification": {"by": "consent", "reason": "test"},
        "driver": "fake", "status": "cancelled", "parameters": {"a b": {"value": 1, "setBy": "run"}},
        "started": "2026-01-02T03:04:05Z", "finished": "2026-01-02T03:04:08Z",
        "tasks": [
            {"name": "outer", "status": "cancelled", "attempts": 1, "started": "2026-01-02T03:04:06Z"},
            {"name": "outer/inner", "status": "cancelled", "attempts": 1, "started": "2026-01-02T03:04:06Z",
             "outputs": {"x": {"artifacts": [
                {"artifactType": "system.Model", "digest": Digest::sha256(b"x"), "size": 1},
                {"artifactType": "system.Model", "digest": Digest::sha256(b"y"), "size": 1}]}}},
            {"name": "skipped", "status": "skipped", "attempts": 0},
        ],
    }))
    .unwrap()
}

const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

#[test]
fn a_run_has_the_same_events_every_time_and_another_run_has_others() {
    let events = openlineage::events(&run(ID));
    assert_eq!(events, openlineage::events(&run(ID)));
    let kinds: Vec<&str> = events
        .iter()
        .filter_map(|event| event["eventType"].as_str())
        .collect();
    assert_eq!(kinds, ["START", "START", "START", "ABORT", "ABORT", "ABORT"]);
    assert_eq!(events[0]["run"]["runId"], "01563e3a-b5d3-d676-4c61-efb99302bd5b");
    let ids = |events: &[Value]| -> Vec<String> {
        let ids = events.iter().map(|event| event["run"]["runId"].to_string());
        ids.collect()
    };
    let other = ids(&openlineage::events(&run("01ARZ3NDEKTSV4RRFFQ69G5FAW")));
    assert!(ids(&events).iter().all(|id| !other.contains(id)));
}

#[test]
fn a_crate_names_the_content_that_it_holds_and_the_digest_of_what_it_does_not() {
    let contents = Contents {
        workflow: "bundle.json".to_owned(),
        files: [("bundle.json".to_owned(), 2), ("outputs/x y".to_owned(), 1)].into(),
        artifacts: [(Digest::sha256(b"x"), "outputs/x y".to_owned())].into(),
        license: None,
    };
    let document = crate_of(&run(ID), &contents);
    let entity = |id: &str| -> &Value {
        let graph = document["@graph"].as_array().unwrap();
        let found = graph.iter().find(|entity| entity["@id"] == id);
        found.unwrap_or_else(|| panic!("{id} is not in {document:#}"))
    };
    assert_eq!(
        entity("outputs/x%20y")["sha256"],
        Digest::sha256(b"x").hex().as_str()
    );
    let absent = format!("#content/{}", Digest::sha256(b"y").hex());
    assert_eq!(entity(&absent)["value"], Digest::sha256(b"y").to_string());
    assert_eq!(entity("#value/a%20b")["value"], "1");
    let done = entity("#task/outer/inner");
    assert_eq!(done["actionStatus"], "http://schema.org/FailedActionStatus");
    assert_eq!(done["result"].as_array().unwrap().len(), 2);
}

#[test]
fn a_place_is_read_and_written_in_one_form() {
    for (text, shown) in [
        ("mlflow=http://127.0.0.1:5000/", "mlflow=http://127.0.0.1:5000"),
        ("mlflow=https://host/base", "mlflow=https://host/base"),
        ("openlineage=http://localhost:1", "openlineage=http://localhost:1"),
        ("openlineage=file:a b.jsonl", "openlineage=file:a b.jsonl"),
    ] {
        assert_eq!(text.parse::<Destination>().unwrap().to_string(), shown);
    }
    for bad in [
        "",
        "mlflow",
        "mlflow=",
        "mlflow=file:x",
        "openlineage=file:",
        "x=http://a",
        "mlflow=http://u:p@h",
    ] {
        let error = bad.parse::<Destination>().unwrap_err().to_string();
        assert!(!error.contains("u:p"), "{error}");
    }
}

#[test]
fn a_ledger_that_is_damaged_costs_only_a_question() {
    let folder = tempfile::tempdir().unwrap();
    let to: Destination = "openlineage=http://localhost:1".parse().unwrap();
    Ledger::note(folder.path(), &to, |entry| entry.events = 3).unwrap();
    Ledger::note(folder.path(), &to, |entry| entry.failed = Some("away".to_owned())).unwrap();
    let read = Ledger::read(folder.path()).unwrap();
    assert_eq!(read.destinations[&to].events, 3);
    std::fs::write(folder.path().join("sent.json"), "{").unwrap();
    assert!(Ledger::read(folder.path()).unwrap().destinations.is_empty());
}
