//! Beginning and end: cancelling, crashing, many at once.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{Bench, Log, Verdict, endless, is_running, lines, said, same, told};
use crate::driver::Outcome;

/// What the trait promises.
const STOPPED_WITHIN: Duration = Duration::from_secs(2);

/// How long a container may take to say its first line.
const READY_WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn stops_within_two_seconds(bench: &Bench) -> Verdict {
    let run_id = "01CONTRACTSTOP000000000000";
    let operation = endless(&bench.busybox.image, run_id);
    let (log, cancel) = (Log::default(), CancellationToken::new());
    let ready = async {
        let begun = Instant::now();
        while log.lines(false).is_empty() && begun.elapsed() < READY_WITHIN {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
        Instant::now()
    };
    let (outcome, cancelled) = tokio::join!(bench.driver.run(&operation, &log, &cancel), ready);
    let took = cancelled.elapsed();
    same("outcome", "Cancelled".to_owned(), told(&outcome))?;
    same("still running", false, is_running(run_id))?;
    if took <= STOPPED_WITHIN {
        Ok(())
    } else {
        Err(format!("it took {took:?}"))
    }
}

pub(super) async fn is_cancelled_before_it_starts(bench: &Bench) -> Verdict {
    let (log, cancel) = (Log::default(), CancellationToken::new());
    cancel.cancel();
    let operation = bench.shell("early", "echo ran");
    let outcome = bench.driver.run(&operation, &log, &cancel).await;
    same("outcome", "Cancelled".to_owned(), told(&outcome))
}

/// Each waits for the other, so that neither ends if they run one after the other.
pub(super) async fn runs_two_at_once(bench: &Bench) -> Verdict {
    let meeting = super::isolation::mount(bench, "meeting", true)?;
    let operation = |name: &str, other: &str| {
        let line = format!(
            "cd /mounted/there; echo > {name}; for n in $(seq 60); do [ -e {other} ] && break; sleep 1; done; \
             [ -e {other} ] || exit 9; echo {name} > /tmp/own; cat /tmp/own"
        );
        let mut operation = bench.shell(name, &line);
        operation.mounts = vec![meeting.clone()];
        operation
    };
    let (one, two) = (operation("one", "two"), operation("two", "one"));
    let (first, second) = tokio::join!(bench.output(&one), bench.output(&two));
    same("first", lines(&["one"]), first?)?;
    same("second", lines(&["two"]), second?)
}

pub(super) async fn says_what_the_machine_can_give(bench: &Bench) -> Verdict {
    let capacity = bench.driver.probe().await.map_err(|error| told(&Err(error)))?;
    let sane = capacity.cpus >= 1.0 && capacity.memory > 64 << 20 && capacity.disk > 1 << 20;
    same(
        &format!("{capacity:?}"),
        true,
        sane && capacity.disk_classes.contains(&"standard".to_owned()),
    )
}

pub(super) async fn recovers_nothing_from_nothing(bench: &Bench) -> Verdict {
    let count = bench.driver.recover("01CONTRACTNONE000000000000").await;
    same("containers", "Ok(0)".to_owned(), format!("{count:?}"))
}

pub(super) async fn ends_what_a_killed_process_left(bench: &Bench) -> Verdict {
    let run_id = "01CONTRACTKILLED0000000000";
    let mut child = said("start another process", (bench.other)(run_id))?;
    let waited = match child.stdout.take() {
        Some(output) => tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        })
        .await
        .map_err(|error| error.to_string())?,
        None => Ok(String::new()),
    };
    same(
        "its container's line",
        "ready\n".to_owned(),
        said("read its output", waited)?,
    )?;
    same("running before", true, is_running(run_id))?;
    said("kill it", child.kill())?;
    said("wait for it", child.wait())?;
    let count = bench.driver.recover(run_id).await;
    same("containers", "Ok(1)".to_owned(), format!("{count:?}"))?;
    same("running after", false, is_running(run_id))?;
    let again = bench.driver.recover(run_id).await;
    same(
        "containers the second time",
        "Ok(0)".to_owned(),
        format!("{again:?}"),
    )?;
    let (outcome, _) = bench.run(&bench.shell("after", "true")).await;
    same("a run afterwards", Some(Outcome::Succeeded), outcome.ok())
}
