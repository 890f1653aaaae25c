//! Frames of the live tree, from events; no terminal is needed.

use samebundle_spec::record::{TaskFinished, TaskStarted};
use unicode_width::UnicodeWidthStr;

use super::*;

/// Feeds events of which each comes so many seconds after the run began.
#[derive(Default)]
struct Run {
    tree: Tree,
    sequence: u64,
}

fn at(seconds: f64) -> Timestamp {
    (SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds)).into()
}

impl Run {
    fn new() -> Self {
        Self {
            tree: Tree::live(),
            sequence: 0,
        }
    }

    fn take(&mut self, seconds: f64, kind: RunEventKind) {
        self.sequence += 1;
        self.tree.take(&RunEvent {
            sequence: self.sequence,
            time: at(seconds),
            kind,
        });
    }

    fn started(&mut self, seconds: f64, task: &str) {
        self.began(seconds, task, (1, None), None);
    }

    fn began(&mut self, seconds: f64, task: &str, (attempt, tries): (u32, Option<u32>), items: Option<u64>) {
        let started = TaskStarted {
            task: task.to_owned(),
            attempt,
            image: None,
            items,
            tries,
            inputs: Default::default(),
        };
        self.take(seconds, RunEventKind::TaskStarted(started));
    }

    fn ended(&mut self, (from, to): (f64, f64), task: &str, status: RunStatus) {
        self.finished((from, to), task, (1, status), false);
    }

    fn finished(
        &mut self,
        (from, to): (f64, f64),
        task: &str,
        (attempt, status): (u32, RunStatus),
        again: bool,
    ) {
        let skipped = status == RunStatus::Skipped;
        let finished = TaskFinished {
            task: task.to_owned(),
            attempt: if skipped { 0 } else { attempt },
            status,
            started: (!skipped).then(|| at(from)),
            exit_code: None,
            will_retry: again,
            message: None,
            outputs: Default::default(),
            cache_key: None,
            taken_from: None,
        };
        self.take(to, RunEventKind::TaskFinished(finished));
    }

    fn frame(&self, seconds: f64, columns: usize, lines: usize) -> String {
        let room = Room { columns, lines };
        let frame = frame(&self.tree, at(seconds), room, Screen::default());
        assert!(frame.len() <= lines, "{frame:?}");
        for line in &frame {
            assert!(line.width() <= columns, "{line:?} is wider than {columns}");
        }
        frame.join("\n")
    }
}

/// A run with everything: a loop in its middle, a branch that is not taken, an attempt after another, a wide name.
fn everything() -> Run {
    use RunStatus::{Failed, Skipped, Succeeded};
    let mut run = Run::new();
    run.started(0.0, "load");
    run.ended((0.0, 2.0), "load", Succeeded);
    run.began(2.0, "for-loop-1", (1, None), Some(20));
    for item in 0..8 {
        let (item, one) = (format!("for-loop-1/{item}"), format!("for-loop-1/{item}/train"));
        run.started(2.0, &item);
        run.started(2.0, &one);
        let how = if item.ends_with('3') { Failed } else { Succeeded };
        run.ended((2.0, 5.0), &one, how);
        run.ended((2.0, 5.0), &item, how);
    }
    for item in 8..10 {
        run.started(5.0, &format!("for-loop-1/{item}"));
        run.started(5.0, &format!("for-loop-1/{item}/train"));
    }
    run.tree
        .replaced("for-loop-1/9/train", "epoch 3/10 ━━━━━━━━━ loss 0.123");
    run.started(2.0, "condition-branches-1");
    run.ended((0.0, 2.0), "condition-branches-1/condition-2", Skipped);
    run.started(2.0, "condition-branches-1/condition-3");
    run.started(2.0, "condition-branches-1/condition-3/große-辞書を作る");
    run.began(2.0, "flaky", (1, Some(4)), None);
    run.finished((2.0, 3.0), "flaky", (1, Failed), true);
    run.began(4.0, "flaky", (2, Some(4)), None);
    run.started(2.0, "exit-handler-1");
    run.started(2.0, "exit-handler-1/work");
    run
}

#[test]
fn a_frame_has_groups_loops_branches_and_attempts() {
    insta::assert_snapshot!("wide", everything().frame(6.5, 120, 35));
    insta::assert_snapshot!("narrow", everything().frame(6.5, 40, 19));
    insta::assert_snapshot!("low", everything().frame(6.5, 79, 7));
}

#[test]
fn what_ends_folds_and_stays_small() {
    let mut run = everything();
    let both = |run: &mut Run, task: &str, status| run.ended((2.0, 9.0), task, status);
    for item in ["8", "9"] {
        both(
            &mut run,
            &format!("for-loop-1/{item}/train"),
            RunStatus::Succeeded,
        );
        both(&mut run, &format!("for-loop-1/{item}"), RunStatus::Succeeded);
    }
    both(&mut run, "for-loop-1", RunStatus::Failed);
    both(&mut run, "condition-branches-1/condition-3", RunStatus::Succeeded);
    both(&mut run, "condition-branches-1", RunStatus::Succeeded);
    both(&mut run, "exit-handler-1/work", RunStatus::Cancelled);
    both(&mut run, "exit-handler-1", RunStatus::Cancelled);
    insta::assert_snapshot!("ended", run.frame(9.0, 80, 20));
}

#[test]
fn a_loop_of_thousands_takes_the_memory_of_what_runs() {
    let mut run = Run::new();
    run.began(0.0, "each", (1, None), Some(5_000));
    for item in 0..5_000 {
        let item = format!("each/{item}");
        run.started(1.0, &item);
        run.started(1.0, &format!("{item}/one"));
        run.ended((1.0, 2.0), &format!("{item}/one"), RunStatus::Succeeded);
        run.ended((1.0, 2.0), &item, RunStatus::Succeeded);
        assert!(run.tree.rows(Fold::Nothing).len() == 1);
    }
    assert!(run.frame(3.0, 80, 20).ends_with("each  5000/5000 done  3.0s"));
}
