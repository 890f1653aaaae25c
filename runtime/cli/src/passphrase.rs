//! Reads passphrases and passwords from a file or the terminal; never from arguments or the environment.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use samebundle_registry::durable;
use samebundle_registry::trust::keys::Passphrase;
use samebundle_runtime::verbs::{PassphraseError, Passphrases};
use samebundle_spec::limits;

/// Reads a passphrase from a file if there is one, otherwise from the terminal.
#[derive(Clone, Debug)]
pub(crate) struct FileOrTerminal {
    /// The file.
    pub(crate) file: Option<PathBuf>,
}

impl Passphrases for FileOrTerminal {
    fn ask(&self, what: &str, new: bool) -> Result<Passphrase, PassphraseError> {
        if let Some(file) = &self.file {
            return from_file(file);
        }
        if !std::io::stdin().is_terminal() {
            return Err(PassphraseError::NoTerminal {
                what: what.to_owned(),
            });
        }
        let first = from_terminal(what)?;
        if new && *from_terminal("the same again")? != *first {
            return Err(PassphraseError::Differ);
        }
        Ok(first)
    }

    fn is_ready(&self) -> bool {
        self.file.is_some()
    }
}

fn from_file(file: &Path) -> Result<Passphrase, PassphraseError> {
    let failed = |source| PassphraseError::Read {
        place: file.display().to_string(),
        source,
    };
    let bytes = durable::read_named(file, limits::PASSPHRASE_FILE_BYTES).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        failed(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not text in UTF-8",
        ))
    })?;
    let text = Passphrase::new(text);
    Ok(Passphrase::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// Asks on the terminal without echo.
fn from_terminal(prompt: &str) -> Result<Passphrase, PassphraseError> {
    let terminal = |source| PassphraseError::Read {
        place: "the terminal".to_owned(),
        source,
    };
    write!(std::io::stderr(), "{prompt}: ").map_err(terminal)?;
    let answer = rpassword::read_password().map_err(terminal)?;
    Ok(Passphrase::new(answer))
}
