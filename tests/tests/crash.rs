//! `kill -9` at any moment: the store stays whole, and the same command then succeeds.

use std::process::Stdio;
use std::time::Instant;

use samebundle_tests::{Running, Test, full, tell, tests};

use crate::scenarios::{self, Scenario};

pub(crate) const TESTS: &[Test] = tests![
    a_killed_build_harms_nothing,
    a_killed_push_harms_nothing,
    a_killed_pull_harms_nothing,
    a_killed_install_harms_nothing,
    a_killed_run_harms_nothing,
    a_killed_export_harms_nothing
];

/// Kills a command at moments spread over its duration, each time in a copy of the same home, until it was cut 34 times (in
/// six commands: 204), or some times where only a sample is wanted.
fn kill_everywhere(scenario: Option<Scenario>) {
    let Some(scenario) = scenario else { return };
    let wanted = if full() { 34 } else { 8 };
    let undisturbed = scenario.home("undisturbed").ok((scenario.call)(u32::MAX)).took;
    let (mut cut, mut nth) = (0, 0);
    while cut < wanted {
        assert!(nth < 4 * wanted, "only {cut} of {nth} were cut");
        let home = scenario.home(&format!("killed-{nth}"));
        let mut command = home.command((scenario.call)(nth));
        let began = Instant::now();
        let mut running = Running::of(command.stdout(Stdio::null()).stderr(Stdio::null()));
        // Later moments may fall after the end when the machine gets faster: the next round is nearer to the beginning.
        let moment = undisturbed * (2 * (nth % wanted) + 1) / (2 * wanted) / (1 + nth / wanted);
        std::thread::sleep(moment.saturating_sub(began.elapsed()));
        let ended = running.ended();
        running.kill();
        cut += u32::from(ended.is_none());
        scenario.goes_on(&home, nth, ended == Some(0), &format!("kill -9 at {moment:?}"));
        nth += 1;
    }
    tell(&format!(
        "{}: killed at {cut} moments of {nth} tried",
        scenario.name
    ));
}

fn a_killed_build_harms_nothing() {
    kill_everywhere(scenarios::build());
}

fn a_killed_push_harms_nothing() {
    kill_everywhere(scenarios::push());
}

fn a_killed_pull_harms_nothing() {
    kill_everywhere(scenarios::pull());
}

fn a_killed_install_harms_nothing() {
    kill_everywhere(scenarios::install());
}

fn a_killed_run_harms_nothing() {
    kill_everywhere(scenarios::run());
}

fn a_killed_export_harms_nothing() {
    kill_everywhere(scenarios::export());
}
