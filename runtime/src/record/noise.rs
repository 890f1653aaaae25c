//! Tells apart what a task's own code prints and what the KFP executor and pip print around it.
//!
//! The executor logs where it finds the component, the whole of its input as JSON, and where it wrote its output; pip warns
//! about the user and about its own age. The executor's format is the format of the root logger of Python as well, so what a
//! component logs has it too: only the sentences of the executor are noise, never the form of a line.
//!
//! A line is noise only if it is known to be. Whatever a task prints that is not listed here is shown.

use std::collections::BTreeMap;

use samebundle_spec::record::LogLine;

/// How a line that the KFP executor logs begins.
const OF_EXECUTOR: &str = "[KFP Executor ";

/// The sentences that the KFP executor logs, by their beginnings and ends.
const EXECUTOR: [(&str, &str); 6] = [
    ("Looking for component `", ""),
    (
        "--component_module_path is not specified. Looking for component `",
        " instead",
    ),
    ("Loading KFP component \"", ")"),
    (INPUT, INPUT),
    ("Wrote executor output file to ", "."),
    ("Did not write output file.", ""),
];

/// The sentence after which the executor prints its input.
const INPUT: &str = "Got executor_input:";

/// What pip says of itself before the component begins, by the beginnings of its lines.
const PIP: [&str; 15] = [
    "WARNING: Running pip as the 'root' user can result in broken permissions",
    "WARNING: The directory '",
    "WARNING: The script ",
    "WARNING: The scripts ",
    "WARNING: You are using pip version ",
    "WARNING: Target directory ",
    "  Consider adding this directory to PATH",
    "You should consider upgrading via the '",
    "[notice] A new release of pip",
    "[notice] To update, run: ",
    "Requirement already satisfied: ",
    "Installing collected packages: ",
    "Looking in indexes: ",
    "Looking in links: ",
    "Successfully installed ",
];

/// Finds the noise in the lines of a run, each given once and in order.
#[derive(Debug, Default)]
pub struct Noise {
    tasks: BTreeMap<String, OfTask>,
}

impl Noise {
    /// Tells whether the next line is noise.
    pub fn takes(&mut self, line: &LogLine) -> bool {
        if !self.tasks.contains_key(&line.task) {
            self.tasks.insert(line.task.clone(), OfTask::default());
        }
        let task = self.tasks.get_mut(&line.task);
        task.is_some_and(|task| task.takes(&line.line, line.stderr))
    }
}

/// The same for the lines of one task.
#[derive(Clone, Debug, Default)]
pub(crate) struct OfTask {
    /// Whether the executor has begun, so that pip has ended.
    begun: bool,
    output: State,
    error: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Own,
    /// The executor's input begins with the next line.
    BeforeInput,
    /// Within the executor's input, up to a line that is the last brace.
    Input,
    /// A warning about the code of the SDK was shown; the line of code follows.
    Warned,
}

impl OfTask {
    /// Tells whether the next line of the task is noise.
    pub(crate) fn takes(&mut self, line: &str, stderr: bool) -> bool {
        let state = match stderr {
            true => &mut self.error,
            false => &mut self.output,
        };
        match (std::mem::take(state), line) {
            // A run that is repeated begins again, and a line that is no part of JSON is the task's own.
            (State::BeforeInput, "{}") | (State::Input, "}") => return true,
            (State::BeforeInput, "{") => {
                *state = State::Input;
                return true;
            }
            (State::Input, line) if line.starts_with("    ") => {
                *state = State::Input;
                return true;
            }
            (State::Warned, line) if line.starts_with("  ") => return true,
            _ => {}
        }
        if let Some(sentence) = of_executor(line) {
            self.begun = true;
            if sentence == INPUT {
                *state = State::BeforeInput;
            }
            return true;
        }
        if warns_of_the_sdk(line) {
            *state = State::Warned;
            return true;
        }
        !self.begun && (PIP.iter().any(|begin| line.starts_with(begin)) || collects(line))
    }
}

/// Returns what a task itself printed of a line that is no noise: where it printed no newline at its end, a sentence of the
/// executor may stand behind it.
pub fn own_part(line: &str) -> &str {
    let behind = line
        .rfind(OF_EXECUTOR)
        .filter(|at| of_executor(&line[*at..]).is_some());
    behind.map_or(line, |at| &line[..at])
}

/// The sentence of a line that the executor logs about itself.
fn of_executor(line: &str) -> Option<&str> {
    let (time, sentence) = line.strip_prefix(OF_EXECUTOR)?.split_once("]: ")?;
    let is_time = time.ends_with(" INFO") && time.starts_with(|first: char| first.is_ascii_digit());
    let known = |(begin, end): &(&str, &str)| sentence.starts_with(begin) && sentence.ends_with(end);
    (is_time && EXECUTOR.iter().any(known)).then_some(sentence)
}

/// Tells whether a line is a warning of Python about the code of the SDK: `…/kfp/dsl/x.py:131: FutureWarning: …`.
fn warns_of_the_sdk(line: &str) -> bool {
    let place = line.split_once("Warning: ").map(|(place, _)| place);
    place.is_some_and(|place| {
        let of_sdk =
            place.starts_with('/') && place.contains("/site-packages/kfp/") && place.contains(".py:");
        of_sdk && !place.contains("Traceback")
    })
}

/// Tells whether pip says that it fetches a requirement, with its version or what wants it.
fn collects(line: &str) -> bool {
    let rest = line.strip_prefix("Collecting ");
    rest.is_some_and(|rest| !rest.contains(' ') && rest.contains("==") || rest.contains(" (from "))
        || (line.starts_with("  Downloading ") || line.starts_with("  Using cached "))
            && line.contains(".whl")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of lines, of which those on standard error begin with `!`.
    fn shown(text: &str) -> Vec<&str> {
        let mut task = OfTask::default();
        let own = |line: &&str| match line.strip_prefix('!') {
            Some(line) => !task.takes(line, true),
            None => !task.takes(line, false),
        };
        text.lines().filter(own).collect()
    }

    #[test]
    fn a_line_without_its_end_is_shown_without_the_executor() {
        let executor = "[KFP Executor 2026-11-27 21:04:02,001 INFO]: Wrote executor output file to /tmp/x.";
        assert_eq!(own_part(&format!("no newline{executor}")), "no newline");
        for line in ["no newline", "see [KFP Executor 1 INFO]: my own words", ""] {
            assert_eq!(own_part(line), line);
        }
    }

    const BEGIN: &str = "\
!WARNING: Running pip as the 'root' user can result in broken permissions and conflicting behaviour with the system package manager, possibly rendering your system unusable. It is recommended to use a virtual environment instead: https://pip.example/warnings/venv
!
![notice] A new release of pip is available: 24.0 -> 25.1
[KFP Executor 2026-11-27 21:03:58,822 INFO]: Looking for component `train` in --component_module_path `/tmp/tmp.x/ephemeral_component.py`
[KFP Executor 2026-11-27 21:03:58,823 INFO]: Loading KFP component \"train\" from /tmp/tmp.x/ephemeral_component.py (directory \"/tmp/tmp.x\" and module name \"ephemeral_component\")
[KFP Executor 2026-11-27 21:03:58,824 INFO]: Got executor_input:
{
    \"inputs\": {
        \"parameterValues\": {
            \"epochs\": 3
        }
    },
    \"outputs\": {}
}";

    #[test]
    fn what_the_executor_and_pip_say_is_noise() {
        let end = "[KFP Executor 2026-11-27 21:04:02,001 INFO]: Wrote executor output file to /tmp/kfp_outputs/output_metadata.json.";
        let text = format!("{BEGIN}\nepoch 1\n{{\n    \"loss\": 0.5\n}}\n{end}");
        assert_eq!(shown(&text), ["!", "epoch 1", "{", "    \"loss\": 0.5", "}"]);
    }

    #[test]
    fn what_a_component_says_in_the_same_forms_is_shown() {
        let own = [
            "[KFP Executor 2026-11-27 21:04:01,000 INFO]: Looking for more rows",
            "[KFP Executor 2026-11-27 21:04:01,000 WARNING]: Got executor_input:",
            "Successfully installed the model",
            "Collecting samples",
            "!WARNING: The script is slow",
            "!Traceback (most recent call last):",
            "!  File \"/usr/lib/python3/site-packages/kfp/dsl/executor_main.py\", line 109, in <module>",
            "!ValueError: /site-packages/kfp/x.py:3: UserWarning: no",
        ];
        assert_eq!(shown(&format!("{BEGIN}\n{}", own.join("\n")))[1..], own);
        assert_eq!(shown("Collecting samples"), ["Collecting samples"]);
    }

    /// A task that is killed while it prints its input leaves half of the JSON, and is started again.
    #[test]
    fn an_input_that_is_cut_hides_nothing_after_it() {
        let begin = &BEGIN[BEGIN.find("[KFP").unwrap()..];
        let cut = begin.rsplit_once("    \"outputs\"").unwrap().0;
        let text = format!("{cut}Killed\n    by whom\n{begin}\nown");
        assert_eq!(shown(&text), ["Killed", "    by whom", "own"]);
    }

    #[test]
    fn tasks_and_streams_do_not_disturb_each_other() {
        let mut noise = Noise::default();
        let mut takes = |task: &str, line: &str, stderr: bool| {
            noise.takes(&LogLine {
                task: task.to_owned(),
                line: line.to_owned(),
                stderr,
                time: None,
            })
        };
        let input = "[KFP Executor 2026-11-27 21:03:58,824 INFO]: Got executor_input:";
        assert!(takes("a", input, false));
        assert!(!takes("b", "{", false));
        assert!(!takes("a", "{", true));
        assert!(takes("a", "{", false));
        assert!(!takes("b", "    \"own\": 1", false));
        assert!(takes("a", "    \"inputs\": {}", false));
        assert!(takes("a", "}", false));
        assert!(!takes("a", "}", false));
    }

    #[test]
    fn warnings_about_the_sdk_are_noise_with_their_line_of_code() {
        let text = "!/usr/lib/python3/site-packages/kfp/dsl/component_decorator.py:131: FutureWarning: The default base_image will switch\n!  return component_factory.create(\n!/app/train.py:3: UserWarning: mine\n!  code()";
        assert_eq!(shown(text), ["!/app/train.py:3: UserWarning: mine", "!  code()"]);
    }
}
