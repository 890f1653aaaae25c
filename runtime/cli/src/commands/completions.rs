//! `completions`: the small script by which a shell asks this program for candidates.

use clap::{Args, ValueEnum};
use clap_complete::env::Shells;
use serde_json::json;

use crate::complete;
use crate::error::CliError;
use crate::render::Report;
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    /// `source <(same completions bash)`, in ~/.bashrc
    Bash,
    /// `source <(same completions zsh)`, in ~/.zshrc after compinit
    Zsh,
    /// `same completions fish | source`, in config.fish
    Fish,
    /// `eval (same completions elvish | slurp)`, in rc.elv
    Elvish,
    /// `same completions powershell | Out-String | Invoke-Expression`, in the profile
    Powershell,
}

impl Completions {
    pub(crate) fn run(&self, settings: &Settings) -> Result<Report, CliError> {
        let shell = match self.shell {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
            Shell::Elvish => "elvish",
            Shell::Powershell => "powershell",
        };
        let shells = Shells::builtins();
        let completer = shells
            .completer(shell)
            .ok_or_else(|| CliError::Usage(format!("there are no completions for {shell}")))?;
        let mut script = Vec::new();
        let program = &settings.program;
        completer
            .write_registration(complete::VARIABLE, program, program, program, &mut script)
            .map_err(|error| CliError::Usage(error.to_string()))?;
        let mut script = String::from_utf8_lossy(&script).trim().to_owned();
        if matches!(self.shell, Shell::Zsh) {
            // As a file `_same` in $fpath the script is the body of the function that zsh calls for the first candidates.
            script.push_str(&format!(
                "\n[[ ${{funcstack[1]}} == _{program} ]] && _clap_dynamic_completer_{program} \"$@\" || true"
            ));
        }
        let json = json!({"shell": shell, "script": script});
        Ok(Report::new(script, &json))
    }
}
