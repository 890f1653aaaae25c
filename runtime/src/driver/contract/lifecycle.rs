//! Beginning and end: cancelling, crashing, many at once.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use samebundle_spec::{Classify, ErrorKind};
use tokio_util::sync::CancellationToken;

use super::{Bench, Log, Verdict, endless, lines, said, same, told};
use crate::driver::{Outcome, Staging};

/// The time in which the trait promises to cancel.
const STOPPED_WITHIN: Duration = Duration::from_secs(2);

/// How long a container may take to print its first line.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Waits for a container's first line.
async fn until_ready(log: &Log) {
    let begun = Instant::now();
    while log.lines(false).is_empty() && begun.elapsed() < READY_WITHIN {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) async fn stops_within_two_seconds(bench: &Bench) -> Verdict {
    let run_id = "01CONTRACTSTOP000000000000";
    let operation = endless(&bench.busybox.image, run_id);
    let (log, cancel, staging) = (Log::default(), CancellationToken::new(), Staging::default());
    let ready = async {
        until_ready(&log).await;
        cancel.cancel();
        Instant::now()
    };
    let (outcome, cancelled) = tokio::join!(bench.driver.run(&operation, &staging, &log, &cancel), ready);
    let took = cancelled.elapsed();
    same("outcome", "Cancelled".to_owned(), told(&outcome))?;
    same("still running", false, (bench.is_running)(run_id))?;
    if took <= STOPPED_WITHIN {
        Ok(())
    } else {
        Err(format!("it took {took:?}"))
    }
}

pub(super) async fn is_cancelled_before_it_starts(bench: &Bench) -> Verdict {
    let (log, cancel, staging) = (Log::default(), CancellationToken::new(), Staging::default());
    cancel.cancel();
    let operation = bench.shell("early", "echo ran");
    let outcome = bench.driver.run(&operation, &staging, &log, &cancel).await;
    same("outcome", "Cancelled".to_owned(), told(&outcome))
}

/// Neither container ends before both have begun, so they cannot run one after the other.
pub(super) async fn runs_two_at_once(bench: &Bench) -> Verdict {
    let cancel = CancellationToken::new();
    let operation = |name: &str| {
        bench.shell(
            name,
            &format!("echo {name} > /tmp/own; cat /tmp/own; sleep 86400"),
        )
    };
    let (one, two) = (operation("one"), operation("two"));
    let (first, second, staging) = (Log::default(), Log::default(), Staging::default());
    let both = async {
        until_ready(&first).await;
        until_ready(&second).await;
        cancel.cancel();
    };
    let (one, two, ()) = tokio::join!(
        bench.driver.run(&one, &staging, &first, &cancel),
        bench.driver.run(&two, &staging, &second, &cancel),
        both,
    );
    same("first", lines(&["one"]), first.lines(false))?;
    same("second", lines(&["two"]), second.lines(false))?;
    same(
        "outcomes",
        lines(&["Cancelled", "Cancelled"]),
        vec![told(&one), told(&two)],
    )
}

pub(super) async fn says_what_it_offers(bench: &Bench) -> Verdict {
    let offers = bench.driver.offers().await.map_err(|error| told(&Err(error)))?;
    let sane = offers.cpus >= 1.0
        && offers.memory > 64 << 20
        && offers.disk > 1 << 20
        && offers.containers >= 1
        && offers.disk_classes.contains(&"standard".to_owned());
    same(&format!("{offers:?}"), true, sane)
}

pub(super) async fn refuses_what_it_does_not_offer(bench: &Bench) -> Verdict {
    let mut operation = bench.shell("gpu", "true");
    operation.limits.gpus = [("nobody.example/gpu".to_owned(), 1)].into();
    match bench.run(&operation).await {
        (Err(error), _) => {
            same("kind", ErrorKind::CannotProvision, error.kind())?;
            let text = told(&Err(error));
            same(&text, true, text.contains("nobody.example/gpu"))
        }
        (other, _) => Err(format!("wanted a refusal, got {}", told(&other))),
    }
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
    same("running before", true, (bench.is_running)(run_id))?;
    said("kill it", child.kill())?;
    said("wait for it", child.wait())?;
    let count = bench.driver.recover(run_id).await;
    same("containers", "Ok(1)".to_owned(), format!("{count:?}"))?;
    same("running after", false, (bench.is_running)(run_id))?;
    let again = bench.driver.recover(run_id).await;
    same(
        "containers the second time",
        "Ok(0)".to_owned(),
        format!("{again:?}"),
    )?;
    let (outcome, _) = bench.run(&bench.shell("after", "true")).await;
    same("a run afterwards", Some(Outcome::Succeeded), outcome.ok())
}
