//! What a lightweight component installs before it runs: the `pip install` lines of its command.
//!
//! The kfp SDK writes them into a shell text: `python3 -m pip install … 'kfp==2.9.0' '--no-deps' … && "$0" "$@"`. They are
//! read as a shell reads words; nothing is expanded. An alternative after `||` is left out, because it repeats the line
//! before it in another way (`--user`).

/// One `pip install` of a command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstallLine {
    /// The words after `install`, in order.
    pub arguments: Vec<String>,
}

/// Options of `pip install` that take a value in the next word.
const WITH_VALUE: [&str; 24] = [
    "-i",
    "--index-url",
    "--pypi-url",
    "--extra-index-url",
    "-f",
    "--find-links",
    "--trusted-host",
    "-r",
    "--requirement",
    "-c",
    "--constraint",
    "-t",
    "--target",
    "--prefix",
    "--root",
    "--platform",
    "--python-version",
    "--implementation",
    "--abi",
    "--progress-bar",
    "--timeout",
    "--retries",
    "--cert",
    "--cache-dir",
];

impl InstallLine {
    /// Returns what is to be installed: requirement specifiers and paths.
    pub fn requirements(&self) -> Vec<&str> {
        self.split().0
    }

    /// Returns the options, each followed by its value if that is a separate word.
    pub fn options(&self) -> Vec<&str> {
        self.split().1
    }

    /// Tells whether dependencies are left out.
    pub fn no_deps(&self) -> bool {
        self.arguments.iter().any(|word| word == "--no-deps")
    }

    fn split(&self) -> (Vec<&str>, Vec<&str>) {
        let (mut requirements, mut options) = (Vec::new(), Vec::new());
        let mut words = self.arguments.iter().map(String::as_str);
        while let Some(word) = words.next() {
            if !word.starts_with('-') {
                requirements.push(word);
                continue;
            }
            options.push(word);
            if WITH_VALUE.contains(&word) {
                options.extend(words.next());
            }
        }
        (requirements, options)
    }
}

/// Finds the `pip install` lines in a command, in order, each once.
pub fn install_lines<S: AsRef<str>>(command: &[S]) -> Vec<InstallLine> {
    let mut lines: Vec<InstallLine> = Vec::new();
    let mut add = |words: &[String]| {
        if let Some(line) = install(words).filter(|line| !lines.contains(line)) {
            lines.push(line);
        }
    };
    // A command may be the words themselves: ["pip", "install", "x"].
    let whole: Vec<String> = command.iter().map(|word| word.as_ref().to_owned()).collect();
    add(&whole);
    for text in command
        .iter()
        .map(AsRef::as_ref)
        .filter(|text| text.contains("install"))
    {
        let mut alternative = false;
        let mut installed = false;
        for (words, end) in shell_commands(text) {
            if !(alternative && installed) {
                add(&words);
                installed = install(&words).is_some();
            }
            alternative = end == End::Or;
        }
    }
    lines
}

/// Reads `[A=b…] [python3 -m] pip install …`.
fn install(words: &[String]) -> Option<InstallLine> {
    let assignment = |word: &&String| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
    };
    let words: Vec<&str> = words.iter().skip_while(assignment).map(String::as_str).collect();
    let rest = match words.as_slice() {
        [python, "-m", "pip", rest @ ..] if program(python).starts_with("python") => rest,
        [pip, rest @ ..] if program(pip).starts_with("pip") => rest,
        _ => return None,
    };
    let at = rest.iter().position(|word| *word == "install")?;
    // Options of pip itself may stand before the command.
    if rest[..at].iter().any(|word| !word.starts_with('-')) {
        return None;
    }
    let arguments = rest[..at].iter().chain(&rest[at + 1..]);
    Some(InstallLine {
        arguments: arguments.map(|word| (*word).to_owned()).collect(),
    })
}

fn program(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What ends a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Or,
    Other,
}

/// Splits a shell text into commands of words. Quotes are removed; nothing is expanded.
fn shell_commands(text: &str) -> Vec<(Vec<String>, End)> {
    let mut splitter = Splitter::default();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\'' => splitter.quoted(&mut characters, '\''),
            '"' => splitter.quoted(&mut characters, '"'),
            '\\' => match characters.next() {
                None | Some('\n') => {}
                Some(escaped) => splitter.push(escaped),
            },
            '#' if splitter.word.is_none() => while characters.next_if(|next| *next != '\n').is_some() {},
            '|' if characters.next_if_eq(&'|').is_some() => splitter.end_command(End::Or),
            '&' | '|' | ';' | '\n' | '(' | ')' => splitter.end_command(End::Other),
            ' ' | '\t' | '\r' => splitter.end_word(),
            other => splitter.push(other),
        }
    }
    splitter.end_command(End::Other);
    splitter.commands
}

#[derive(Default)]
struct Splitter {
    word: Option<String>,
    words: Vec<String>,
    commands: Vec<(Vec<String>, End)>,
}

impl Splitter {
    fn push(&mut self, character: char) {
        self.word.get_or_insert_default().push(character);
    }

    fn quoted(&mut self, characters: &mut impl Iterator<Item = char>, quote: char) {
        let word = self.word.get_or_insert_default();
        while let Some(character) = characters.next() {
            if character == quote {
                return;
            }
            // Inside double quotes a backslash takes the meaning of these only.
            if character == '\\' && quote == '"' {
                match characters.next() {
                    Some(next @ ('"' | '\\' | '$' | '`')) => word.push(next),
                    Some(next) => word.extend(['\\', next]),
                    None => word.push('\\'),
                }
                continue;
            }
            word.push(character);
        }
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn end_command(&mut self, end: End) {
        self.end_word();
        if !self.words.is_empty() {
            self.commands.push((std::mem::take(&mut self.words), end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<Vec<String>> {
        let command = ["sh", "-c", text].map(str::to_owned);
        install_lines(&command)
            .into_iter()
            .map(|line| line.arguments)
            .collect()
    }

    #[test]
    fn the_line_of_the_sdk() {
        let text = "\nif ! [ -x \"$(command -v pip)\" ]; then\n    python3 -m ensurepip || python3 -m ensurepip --user || \
                    apt-get install python3-pip\nfi\n\nPIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --quiet \
                    --no-warn-script-location 'requests'  &&  python3 -m pip install --quiet 'kfp==2.14.4' '--no-deps' \
                    'typing-extensions>=3.7.4,<5; python_version<\"3.9\"' && \"$0\" \"$@\"\n";
        let lines = install_lines(&["sh", "-c", text]);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].requirements(), ["requests"]);
        assert_eq!(lines[0].options(), ["--quiet", "--no-warn-script-location"]);
        assert_eq!(
            lines[1].requirements(),
            [
                "kfp==2.14.4",
                "typing-extensions>=3.7.4,<5; python_version<\"3.9\""
            ]
        );
        assert!(lines[1].no_deps() && !lines[0].no_deps());
    }

    #[test]
    fn an_alternative_is_left_out() {
        let text = "(A=1 python3 -m pip install 'a==1' || A=1 python3 -m pip install 'a==1' --user) && \"$0\" \"$@\"";
        assert_eq!(found(text), [["a==1"]]);
    }

    #[test]
    fn indexes_and_other_values_are_no_requirements() {
        let text =
            "/usr/bin/python3.12 -m pip install --index-url https://h/s --trusted-host h a b==2 -c c.txt";
        let lines = install_lines(&["sh", "-c", text]);
        assert_eq!(lines[0].requirements(), ["a", "b==2"]);
        assert_eq!(
            lines[0].options(),
            ["--index-url", "https://h/s", "--trusted-host", "h", "-c", "c.txt"]
        );
    }

    #[test]
    fn words_of_the_command_itself_count() {
        assert_eq!(install_lines(&["pip3", "install", "x"])[0].arguments, ["x"]);
        assert_eq!(
            found("pip --quiet install x # pip install y\npip uninstall z"),
            [["--quiet", "x"]]
        );
        assert!(found("echo pip install x; apt-get install pip; printf 'pip install q'").is_empty());
    }
}
