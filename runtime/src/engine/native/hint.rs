//! What a task's own words say about why it failed, where the reason is a rule of this world that its author may not know.

use std::fmt;

/// Texts by which programs say that they found no network.
const NO_NETWORK: [&str; 6] = [
    "name resolution",
    "Name or service not known",
    "etwork is unreachable",
    "No matching distribution",
    "Could not resolve host",
    "Failed to resolve",
];
/// Texts by which programs say that they may not write.
const READ_ONLY: [&str; 2] = ["[Errno 30]", "Read-only file system"];

/// How many lines before the end count. A program that went on for long after such a line did not fail because of it.
const RECENT: u64 = 100;

/// Watches the lines of a task.
#[derive(Clone, Debug, Default)]
pub(super) struct Hints {
    lines: u64,
    /// The numbers of the last lines of each kind.
    no_network: Option<u64>,
    read_only: Option<u64>,
    /// Whether the task had a network.
    network: bool,
}

impl Hints {
    /// Watches a task that has a network or none.
    pub(super) fn new(network: bool) -> Self {
        Self {
            network,
            ..Self::default()
        }
    }

    pub(super) fn line(&mut self, line: &str) {
        self.lines += 1;
        let says = |texts: &[&str]| texts.iter().any(|text| line.contains(text));
        if says(&NO_NETWORK) {
            self.no_network = Some(self.lines);
        }
        if says(&READ_ONLY) {
            self.read_only = Some(self.lines);
        }
    }
}

impl fmt::Display for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recent = |line: Option<u64>| line.is_some_and(|line| line + RECENT > self.lines);
        if !self.network && recent(self.no_network) {
            f.write_str(
                "\nA task has no network unless the bundle asks for it with requires.rights.network.",
            )?;
        }
        if recent(self.read_only) {
            f.write_str(
                "\nThe inputs of a task are read-only; copy what is to be changed into an output or below /tmp first.",
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(network: bool, lines: &[&str]) -> String {
        let mut hints = Hints::new(network);
        lines.iter().for_each(|line| hints.line(line));
        hints.to_string()
    }

    #[test]
    fn rules_are_named_where_they_are_the_reason() {
        let pip = "ERROR: No matching distribution found for six";
        assert!(said(false, &[pip, "Traceback"]).contains("requires.rights.network"));
        assert_eq!(said(true, &[pip]), "");
        assert_eq!(said(false, &["ValueError: x"]), "");
        let unzip = "OSError: [Errno 30] Read-only file system: '/samebundle/outputs/a/x'";
        assert!(said(true, &[unzip]).contains("read-only"));
        let mut long = vec![pip];
        long.resize(200, "epoch");
        assert_eq!(said(false, &long), "");
    }
}
