use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use samebundle_spec::record::{
    Claim, ClaimResult, OutputRecord, RunEventKind, RunFinished, TaskFinished, TaskStarted,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::super::testing::started;
use super::*;
use crate::context::Clock;
use crate::event::Silent;

/// A clock that advances by a second every time it is read.
#[derive(Debug, Default)]
struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn new_id(&self) -> String {
        unreachable!("ids are given")
    }
}

struct Bench {
    _folder: tempfile::TempDir,
    context: Context,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            context: Context {
                clock: Arc::new(Ticks::default()),
                home: Home::open(folder.path()).unwrap(),
                cancel: CancellationToken::new(),
                events: Arc::new(Silent),
                offline: true,
            },
            _folder: folder,
        }
    }

    fn runs(&self) -> Runs<'_> {
        Runs::new(&self.context.home)
    }

    fn begin(&self, number: usize) -> RunLog {
        let log = self.runs().begin(&self.context, started(number), Mask::default());
        log.unwrap()
    }
}

fn id(number: usize) -> RunId {
    started(number).id
}

fn task_started(task: &str) -> RunEventKind {
    RunEventKind::TaskStarted(TaskStarted {
        task: task.to_owned(),
        attempt: 1,
        image: None,
        items: None,
        tries: None,
        inputs: [("n".to_owned(), OutputRecord::Value(json!(i64::MIN)))].into(),
    })
}

fn task_finished(task: &str) -> RunEventKind {
    RunEventKind::TaskFinished(TaskFinished {
        task: task.to_owned(),
        attempt: 1,
        status: RunStatus::Succeeded,
        started: None,
        exit_code: Some(0),
        will_retry: false,
        message: None,
        outputs: [("n".to_owned(), OutputRecord::Value(json!(u64::MAX)))].into(),
        cache_key: None,
        taken_from: None,
    })
}

fn finished(status: RunStatus) -> RunFinished {
    RunFinished {
        status,
        message: None,
        outputs: [("n".to_owned(), OutputRecord::Value(json!(u64::MAX)))].into(),
        result: id(999),
    }
}

/// A program may output any integer of 64 bits; the record of its run must stay readable.
#[test]
fn what_is_written_is_read_back_with_integers_of_64_bits() {
    let bench = Bench::new();
    let log = bench.begin(1);
    log.append(task_started("a"));
    assert_eq!(
        bench.runs().get(&id(1)).unwrap(),
        log.run(),
        "of a run that goes on"
    );
    log.append(task_finished("a"));
    let run = log.finish(finished(RunStatus::Succeeded)).unwrap();
    assert_eq!(bench.runs().get(&id(1)).unwrap(), run);
    assert_eq!(bench.runs().list(None).unwrap(), std::slice::from_ref(&run));
    let folder = bench.runs().folder(&id(1));
    let folded = lines::prefix(&folder.join(EVENTS)).unwrap().unwrap();
    assert_eq!(folded.run, run);
    assert_eq!(run.outputs["n"], OutputRecord::Value(json!(u64::MAX)));
    let result = ClaimResult::parse(&std::fs::read(folder.join("result.json")).unwrap()).unwrap();
    assert_eq!(result, ClaimResult::of(&run, &id(999)));
    assert!(Claim::parse(&Claim::of(&run, Value::Null).to_bytes()).is_ok());
}

#[test]
fn a_run_of_a_killed_process_is_ended_behind_its_last_whole_event() {
    for torn in [
        "",
        "{\"sequence\": 3, \"ti",
        "\0\0\0\0\n\0\0",
        "{\"sequence\": 9}\n",
    ] {
        let bench = Bench::new();
        let log = bench.begin(1);
        log.append(task_started("a"));
        assert!(
            bench.runs().interrupted(&bench.context).unwrap().is_empty(),
            "it goes on"
        );
        drop(log);
        let events = bench.runs().folder(&id(1)).join(EVENTS);
        let mut file = std::fs::OpenOptions::new().append(true).open(&events).unwrap();
        file.write_all(torn.as_bytes()).unwrap();
        let [log] = <[RunLog; 1]>::try_from(bench.runs().interrupted(&bench.context).unwrap()).unwrap();
        assert_eq!(log.run().tasks.len(), 1);
        let run = log.finish(finished(RunStatus::Interrupted)).unwrap();
        assert_eq!(
            (run.status, run.tasks[0].status),
            (RunStatus::Interrupted, RunStatus::Interrupted)
        );
        assert_eq!(bench.runs().get(&id(1)).unwrap(), run);
        let mut events = bench.runs().events(&id(1)).unwrap();
        let numbers: Vec<u64> = std::iter::from_fn(|| events.next_event().unwrap())
            .map(|event| event.sequence)
            .collect();
        assert_eq!(numbers, [1, 2, 3], "{torn:?}");
        assert!(bench.runs().interrupted(&bench.context).unwrap().is_empty());
    }
}

#[test]
fn a_run_that_ended_before_its_record_was_written_keeps_its_end() {
    let bench = Bench::new();
    let log = bench.begin(1);
    let begun = log.run();
    let run = log.finish(finished(RunStatus::Succeeded)).unwrap();
    let folder = bench.runs().folder(&id(1));
    for no_record in [false, true] {
        write_run(&folder, &begun).unwrap();
        if no_record {
            std::fs::remove_file(folder.join("run.json")).unwrap();
        }
        std::fs::remove_file(folder.join("result.json")).unwrap();
        assert_eq!(bench.runs().get(&id(1)).unwrap(), run);
        let [log] = <[RunLog; 1]>::try_from(bench.runs().interrupted(&bench.context).unwrap()).unwrap();
        assert_eq!(log.finish(finished(RunStatus::Interrupted)).unwrap(), run);
        assert!(folder.join("result.json").exists());
        assert!(bench.runs().interrupted(&bench.context).unwrap().is_empty());
    }
}

#[test]
fn a_run_of_a_version_without_a_log_is_read_and_resolved() {
    let bench = Bench::new();
    let document = |status: &str| {
        json!({
            "format": "1.0", "id": id(1), "installation": "digits", "action": "run", "bundle": "digits",
            "version": "1.0.0", "driver": "embedded", "parameters": {}, "status": status,
            "bundleDigest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "verification": {"by": "consent", "reason": "--allow-unsigned"},
            "started": "2026-11-22T05:06:13Z", "outputs": {"n": {"value": i64::MAX}},
        })
    };
    let folder = bench.runs().folder(&id(1));
    std::fs::create_dir(&folder).unwrap();
    for status in ["succeeded", "running"] {
        std::fs::write(folder.join("run.json"), document(status).to_string()).unwrap();
        let run = bench.runs().get(&id(1)).unwrap();
        assert_eq!(run.status.word(), status);
        assert!(matches!(
            bench.runs().follow(&id(1)),
            Err(RecordError::NoLog { .. })
        ));
    }
    let [log] = <[RunLog; 1]>::try_from(bench.runs().interrupted(&bench.context).unwrap()).unwrap();
    let run = log.finish(finished(RunStatus::Interrupted)).unwrap();
    assert_eq!(bench.runs().get(&id(1)).unwrap(), run);
    assert_eq!(run.started.to_string(), "2026-11-22T05:06:13Z");
    let folded = lines::prefix(&folder.join(EVENTS)).unwrap().unwrap();
    assert_eq!(folded.run, run);
}

#[test]
fn a_folder_in_which_nothing_began_is_no_run() {
    let bench = Bench::new();
    let folder = bench.runs().folder(&id(1));
    std::fs::create_dir(&folder).unwrap();
    for half in ["", "{\"sequence\": 1"] {
        std::fs::write(folder.join(EVENTS), half).unwrap();
        assert!(matches!(bench.runs().get(&id(1)), Err(RecordError::NoRun { .. })));
        assert!(bench.runs().interrupted(&bench.context).unwrap().is_empty());
        assert_eq!(bench.runs().list(None).unwrap(), []);
    }
    // The error names a newer major version.
    std::fs::write(folder.join(EVENTS), "{\"format\": \"2.0\"}\n").unwrap();
    assert!(matches!(
        bench.runs().get(&id(1)),
        Err(RecordError::Format { .. })
    ));
}

#[tokio::test]
async fn a_run_is_followed_while_another_thread_does_it() {
    let bench = Bench::new();
    for kill in [false, true] {
        let number = usize::from(kill);
        let log = bench.begin(number);
        let mut follow = bench.runs().follow(&id(number)).unwrap();
        let events = bench.runs().folder(&id(number)).join(EVENTS);
        let doing = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150));
            log.append(task_started("a"));
            std::thread::sleep(Duration::from_millis(150));
            log.append(task_finished("a"));
            match kill {
                false => drop(log.finish(finished(RunStatus::Succeeded)).unwrap()),
                // The process dies when half of its next event is written.
                true => {
                    let file = std::fs::OpenOptions::new().write(true).open(events).unwrap();
                    let end = file.metadata().unwrap().len();
                    file.write_all_at(b"{\"sequence\": 4, ", end).unwrap();
                }
            }
        });
        let mut seen = Vec::new();
        while let Some(event) = follow.next_event().await.unwrap() {
            seen.push(event.sequence);
        }
        doing.join().unwrap();
        assert_eq!(seen, if kill { vec![1, 2, 3] } else { vec![1, 2, 3, 4] });
        assert_eq!(follow.next_event().await.unwrap(), None);
    }
}

/// The events that a sink received.
fn drain(cursor: &mut Cursor) -> Vec<u64> {
    std::iter::from_fn(|| cursor.next_event().unwrap())
        .map(|event| event.sequence)
        .collect()
}

#[test]
fn a_sink_goes_on_at_its_offset_and_has_each_event_at_least_once() {
    let bench = Bench::new();
    let log = bench.begin(1);
    log.append(task_started("a"));
    let cursor = || bench.runs().cursor(&id(1), "test").unwrap();
    let mut first = cursor();
    assert_eq!(first.next_event().unwrap().unwrap().sequence, 1);
    first.commit().unwrap();
    assert_eq!(first.next_event().unwrap().unwrap().sequence, 2);
    // It was killed before it recorded that it took the second event, so it gets that event again.
    drop(first);
    let mut second = cursor();
    assert_eq!(drain(&mut second), [2]);
    assert_eq!(second.run().unwrap().tasks.len(), 1, "the fold has all before");
    second.commit().unwrap();
    assert!(drain(&mut second).is_empty());
    log.append(task_finished("a"));
    assert_eq!(drain(&mut second), [3]);
    second.commit().unwrap();
    drop(log.finish(finished(RunStatus::Succeeded)).unwrap());
    assert_eq!(drain(&mut cursor()), [4]);
    let other = &mut bench.runs().cursor(&id(1), "other").unwrap();
    assert_eq!(drain(other), [1, 2, 3, 4]);
}

#[test]
fn a_log_that_is_cut_in_its_middle_is_damaged_for_a_sink() {
    let bench = Bench::new();
    let log = bench.begin(1);
    log.append(task_started("a"));
    drop(log.finish(finished(RunStatus::Succeeded)).unwrap());
    let path = bench.runs().folder(&id(1)).join(EVENTS);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"sequence\":2", "\"sequence\":3", 1)).unwrap();
    let mut events = bench.runs().events(&id(1)).unwrap();
    assert!(events.next_event().unwrap().is_some());
    let error = events.next_event().unwrap_err().to_string();
    assert!(
        error.contains("event 3 stands where event 2 should be"),
        "{error}"
    );
}
