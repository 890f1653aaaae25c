//! What standard output or standard error is: how wide, and whether it has colours.

use std::io::IsTerminal;

use samebundle_spec::Digest;
use samebundle_spec::record::{RunId, RunStatus};
use samebundle_spec::signing::KeyId;

use crate::args::Output;
use crate::settings::Settings;

/// The narrowest screen that is believed; a terminal that was not sized says 0.
const NARROWEST: u16 = 20;

/// A terminal, or a file or pipe in which nothing is cut or coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Screen {
    /// How many columns a line may have; none: any number.
    pub(crate) width: Option<usize>,
    /// Whether words are coloured.
    pub(crate) colour: bool,
    /// Whether everything is shown that a table leaves out for a reader's sake.
    pub(crate) wide: bool,
}

/// A colour of the terminal's own palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Red,
    Green,
    Yellow,
    Grey,
    Bold,
}

impl Screen {
    /// What standard output is. COLUMNS says how wide a terminal is where the shell knows better; a pipe has no width.
    pub(crate) fn output(settings: &Settings, output: Output) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let width = settings
            .variable("COLUMNS")
            .and_then(|text| text.parse().ok())
            .or_else(|| terminal_size::terminal_size().map(|(width, _)| width.0))
            .filter(|width: &u16| *width >= NARROWEST);
        let wide = output == Output::Wide;
        Self {
            width: width.filter(|_| terminal && !wide).map(usize::from),
            colour: !output.is_document() && coloured(settings, terminal),
            wide,
        }
    }

    /// What standard error is. Its lines are not cut.
    pub(crate) fn error(settings: &Settings, output: Output) -> Self {
        Self {
            width: None,
            colour: output != Output::Json && coloured(settings, std::io::stderr().is_terminal()),
            wide: false,
        }
    }

    /// The part of it that is left beside an indentation.
    pub(crate) fn indented(self, by: usize) -> Self {
        Self {
            width: self.width.map(|width| width.saturating_sub(by)),
            ..self
        }
    }

    /// A digest: its first 12 digits on a terminal, whole where a program or a file reads it.
    pub(crate) fn digest(self, digest: &Digest) -> String {
        match self.width {
            Some(_) => digest.short(),
            None => digest.to_string(),
        }
    }

    /// The fingerprint of a key, in the same way.
    pub(crate) fn key(self, key: &KeyId) -> String {
        match self.width {
            Some(_) => key.short(),
            None => key.to_string(),
        }
    }

    /// The id of a run, in the same way.
    pub(crate) fn id(self, short: &str, whole: &RunId) -> String {
        match self.width {
            Some(_) => short.to_owned(),
            None => whole.to_string(),
        }
    }

    /// Colours a text, where that is wanted.
    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Grey => 90,
            Colour::Bold => 1,
        };
        match self.colour {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    /// The word of a status in its colour.
    pub(crate) fn status(self, status: RunStatus) -> String {
        self.paint(colour_of(status), status.word())
    }
}

/// The colour of a status.
pub(crate) const fn colour_of(status: RunStatus) -> Colour {
    match status {
        RunStatus::Succeeded => Colour::Green,
        RunStatus::Failed => Colour::Red,
        RunStatus::Running | RunStatus::Suspended => Colour::Yellow,
        RunStatus::Cancelled | RunStatus::Skipped | RunStatus::Interrupted => Colour::Grey,
    }
}

/// NO_COLOR and CLICOLOR_FORCE decide before the terminal does.
fn coloured(settings: &Settings, terminal: bool) -> bool {
    let forced = settings
        .variable("CLICOLOR_FORCE")
        .is_some_and(|value| value != "0");
    let dumb = settings.variable("TERM") == Some("dumb");
    settings.variable("NO_COLOR").is_none() && (forced || terminal && !dumb)
}
