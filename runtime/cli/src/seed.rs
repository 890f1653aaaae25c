//! The spellings `create program -f BUNDLE`, `run program N` and `export program -n N:V`.
//!
//! `create` is a command of its own. In `run` and `export` the word `program` is dropped, and `-n NAME` becomes the name,
//! before clap reads the line, so that help and completions show one form.

use std::ffi::OsString;

use crate::args::Output;

/// Options that take a value in the following argument; needed to find the first word after a command.
const WITH_VALUE: [&str; 11] = [
    "--home",
    "--output",
    "-p",
    "--param",
    "--params-file",
    "--env",
    "--action",
    "--runs",
    "--file",
    "--volume-size",
    "--parity",
];

/// Rewrites the long spellings of a command line (with the program's name first).
pub(crate) fn rewrite(mut words: Vec<OsString>) -> Vec<OsString> {
    let Some(command) = next_word(&words, 1) else {
        return words;
    };
    let verb = words[command].to_string_lossy().into_owned();
    if !["run", "plan", "export"].contains(&verb.as_str()) {
        return words;
    }
    let noun =
        next_word(&words, command + 1).filter(|at| words[*at] == "program" || words[*at] == "environment");
    let named = words[command..]
        .iter()
        .any(|word| word == "-n" || word == "--name");
    if let Some(noun) = noun
        && (named || next_word(&words, noun + 1).is_some())
    {
        words.remove(noun);
    }
    if verb == "export" {
        words.retain(|word| word != "-n" && word != "--name");
    }
    words
}

/// Finds the installation that a `run` or `plan` line names.
pub(crate) fn named_installation(words: &[OsString]) -> Option<(&'static str, String)> {
    let command = next_word(words, 1)?;
    let verb = ["run", "plan"].into_iter().find(|verb| words[command] == *verb)?;
    let name = next_word(words, command + 1)?;
    Some((verb, words[name].to_str()?.to_owned()))
}

/// Returns the value of `--home`, which is needed before the line can be read whole.
pub(crate) fn home(words: &[OsString]) -> Option<std::path::PathBuf> {
    let at = words.iter().position(|word| word == "--home");
    let joined = words
        .iter()
        .find_map(|word| word.to_str()?.strip_prefix("--home=").map(Into::into));
    at.and_then(|at| words.get(at + 1)).map(Into::into).or(joined)
}

/// Returns the form of output that is asked for, for errors before the line can be read whole.
pub(crate) fn output(words: &[OsString]) -> Output {
    let spaced = words
        .windows(2)
        .any(|pair| pair[0] == "--output" && pair[1] == "json");
    if spaced || words.iter().any(|word| word == "--output=json") {
        Output::Json
    } else {
        Output::Text
    }
}

/// Returns the position of the first argument from `from` on that is no option and no option's value.
fn next_word(words: &[OsString], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(word) = words.get(at) {
        let text = word.to_string_lossy();
        if text == "--" {
            return None;
        }
        if !text.starts_with('-') {
            return Some(at);
        }
        at += if WITH_VALUE.contains(&text.as_ref()) || text == "-o" {
            2
        } else {
            1
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> String {
        let words = rewrite(line.split(' ').map(OsString::from).collect());
        words
            .iter()
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn the_seed_spellings_are_the_short_ones() {
        for (long, short) in [
            (
                "same run program arxiv.1303 --epochs=1000",
                "same run arxiv.1303 --epochs=1000",
            ),
            ("same --home x run program a", "same --home x run a"),
            ("same run program", "same run program"),
            ("same run program --epochs=1", "same run program --epochs=1"),
            ("same export program -n a:1.1", "same export a:1.1"),
            ("same export program -o f -n a:1.1", "same export -o f a:1.1"),
            ("same export a:1.1", "same export a:1.1"),
            ("same create program -f r/x:1", "same create program -f r/x:1"),
        ] {
            assert_eq!(rewritten(long), short, "{long}");
        }
    }

    #[test]
    fn finds_the_installation_behind_options() {
        let words: Vec<_> = "same run --env docker -p a=b digits --x"
            .split(' ')
            .map(OsString::from)
            .collect();
        assert_eq!(named_installation(&words), Some(("run", "digits".to_owned())));
        assert_eq!(named_installation(&["same".into(), "list".into()]), None);
    }
}
