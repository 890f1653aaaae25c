//! The harness of the end-to-end tests. It is not rustc's own, because that one decides at compile time what is ignored,
//! and a test finds out while it runs that a tool is missing: it would have to pass.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::cluster::end_shared;
use crate::sandbox::remove_shared;
use crate::skip::{reasons, say};
use crate::tool::variable;

/// A test: the path of its function, and the function.
pub type Test = (&'static str, fn());

/// The tests of a module, for its constant `TESTS`: the names of their functions. A function that is missing here is not
/// used by anyone, of which the compiler warns.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        &[$((concat!(module_path!(), "::", stringify!($name)), $name as fn())),*]
    };
}

/// What the tests of a binary skipped, to be told at its end.
#[derive(Debug, Clone, Default)]
pub struct Skipped(Arc<Mutex<Vec<String>>>);

impl Skipped {
    /// A trial that is shown as ignored where the test calls [`crate::skip`]. The test has a thread of its own, with the
    /// test's name, so that a panic is told with it.
    pub fn trial<F>(&self, name: &str, test: F) -> Trial
    where
        F: FnOnce() -> Result<(), Failed> + Send + 'static,
    {
        let (all, thread) = (self.clone(), std::thread::Builder::new().name(name.to_owned()));
        Trial::ignorable_test(name, move || {
            let run = move || test().map(|()| reasons());
            let ended = thread.spawn(run)?.join();
            let reasons = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            if reasons.is_empty() {
                return Ok(Completion::Completed);
            }
            let shown = reasons.join("; ");
            all.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(reasons);
            Ok(Completion::ignored_with(shown))
        })
    }

    /// Runs the trials that the command line asks for. At the end, each reason stands on a line of its own behind
    /// `skipped: `, which `tests/run` counts and CI compares.
    pub fn run(&self, arguments: &Arguments, trials: Vec<Trial>) -> ExitCode {
        let conclusion = libtest_mimic::run(arguments, trials);
        end_shared();
        remove_shared();
        let skipped = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<String> = skipped.iter().map(|why| format!("skipped: {why}")).collect();
        say(&lines);
        conclusion.exit_code()
    }
}

/// Runs the tests of a binary's modules as `cargo test` asks for them.
pub fn run(modules: &[&'static [Test]]) -> ExitCode {
    let skipped = Skipped::default();
    let tests = modules.iter().flat_map(|tests| tests.iter());
    let trials = tests.map(|(path, test)| {
        // As with rustc's own harness, a name begins with the module.
        let name = path.split_once("::").map_or(*path, |(_, name)| name);
        skipped.trial(name, || {
            test();
            Ok(())
        })
    });
    skipped.run(&arguments(), trials.collect())
}

/// The command line, and the number of threads from the environment as rustc's own harness takes it.
fn arguments() -> Arguments {
    let mut arguments = Arguments::from_args();
    let threads = variable("RUST_TEST_THREADS").and_then(|value| value.to_str()?.parse().ok());
    arguments.test_threads = arguments.test_threads.or(threads);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip;

    #[test]
    fn a_test_that_skips_is_ignored_and_one_that_fails_as_well_has_failed() {
        let skipped = Skipped::default();
        let trials = vec![
            skipped.trial("passes", || Ok(())),
            skipped.trial("skips", || {
                skip("no tool\nand no image");
                Ok(())
            }),
            skipped.trial("skips_and_fails", || {
                skip("no tool");
                Err("wrong".into())
            }),
        ];
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let arguments = Arguments {
            logfile: Some(log.display().to_string()),
            ..Arguments::default()
        };
        let conclusion = libtest_mimic::run(&arguments, trials);
        let counts = [
            conclusion.num_passed,
            conclusion.num_ignored,
            conclusion.num_failed,
        ];
        assert_eq!(counts, [1, 1, 1]);
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.contains("ignored (no tool and no image)"), "{log}");
        assert_eq!(*skipped.0.lock().unwrap(), ["no tool and no image"]);
    }
}
