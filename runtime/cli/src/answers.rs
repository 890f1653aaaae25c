//! Credentials of the environment and of a person.

use std::io::{self, IsTerminal, Write};

use samebundle_runtime::secret::Answers;

use crate::settings::Settings;

/// The environment of the process, and whoever sits at its terminal.
#[derive(Clone, Debug)]
pub(crate) struct EnvironmentAndTerminal {
    /// The environment.
    pub(crate) settings: Settings,
}

impl Answers for EnvironmentAndTerminal {
    fn variable(&self, name: &str) -> Option<Vec<u8>> {
        self.settings.bytes(name)
    }

    fn ask(&self, name: &str, what: &str) -> io::Result<Option<Vec<u8>>> {
        if !self.can_ask() {
            return Ok(None);
        }
        let what = crate::render::safe(what);
        write!(
            io::stderr(),
            "{}{}{what}: ",
            crate::render::safe(name),
            if what.is_empty() { "" } else { " - " }
        )?;
        rpassword::read_password().map(|answer| Some(answer.into_bytes()))
    }

    fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }
}
