//! Completion in a shell: what `completions SHELL` prints calls this program for each press of the key, with a variable set.
//!
//! The candidates come from the command line's own description and from the home: installations, versions, runs, tasks,
//! parameters, keys and volumes. Nothing is made or changed, nothing but the home is read, no network is used, and what cannot
//! be read gives no candidates and no message.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Arg, Command, CommandFactory};
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _,
};
use clap_complete::env::CompleteEnv;
use samebundle_registry::layout::Layout;
use samebundle_runtime::Home;
use samebundle_runtime::record::{Installations, Runs};
use samebundle_runtime::verbs::{self, LocalName, Location};
use samebundle_spec::BundleName;
use samebundle_spec::bundle::Bundle;
use samebundle_spec::record::{Installation, Run, short_names};

use crate::args::{Cli, NAMED, WORDS, name_among};
use crate::session::{self, Threads};
use crate::settings::Settings;
use crate::{early, flags};

/// The variable that is set to the shell's name when it asks for candidates.
pub(crate) const VARIABLE: &str = "SAMEBUNDLE_COMPLETE";
/// How many runs are offered, the newest first.
const RUNS: usize = 30;
/// How many of those are described, which reads their records.
const DESCRIBED: usize = 10;

/// Answers a shell that asks for candidates; returns false if none asks.
pub(crate) fn answer(words: &[OsString]) -> bool {
    let mut settings = Settings::read();
    if settings.variable(VARIABLE).is_none() {
        return false;
    }
    let typed: Vec<OsString> = words
        .iter()
        .skip_while(|word| *word != "--")
        .skip(1)
        .cloned()
        .collect();
    // The last word may be half of one.
    let early = early::read(typed.split_last().map_or(&[], |(_, before)| before));
    settings.set_home(early.home.clone());
    let known = Known {
        home: settings
            .home()
            .ok()
            .filter(|home| home.exists())
            .map(PathBuf::from),
        words: typed
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
    };
    let known = Arc::new(known);
    let factory = || command(&known, &settings, &early);
    let folder = settings.current_dir.clone();
    // An error here would stand in the middle of what is being typed.
    drop(
        CompleteEnv::with_factory(factory)
            .var(VARIABLE)
            .try_complete(words.iter().cloned(), Some(&folder)),
    );
    true
}

/// The command line's description, with the candidates of each argument.
fn command(known: &Arc<Known>, settings: &Settings, early: &early::Early) -> Command {
    let mut command = Cli::command()
        .name(settings.program.clone())
        .bin_name(settings.program.clone());
    if let Some((verb, words)) = &early.named
        && let Some(bundle) = known.bundle(words)
    {
        let names: Vec<String> = bundle.view().parameters.keys().cloned().collect();
        command = command.mut_subcommand(verb, |sub| {
            let sub = sub.mut_arg("params", |arg| arg.add(assignments(names)));
            flags::add(sub, bundle.view())
        });
    }
    with_candidates(command, &[], known)
}

fn with_candidates(mut command: Command, path: &[String], known: &Arc<Known>) -> Command {
    let ids: Vec<String> = command
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .collect();
    for id in ids {
        command = command.mut_arg(id, |arg| match what(path, &arg) {
            Some(what) => offer(arg, what, known),
            None => arg,
        });
    }
    let below: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in below {
        let path: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
        command = command.mut_subcommand(name, |sub| with_candidates(sub, &path, known));
    }
    command
}

/// What the values of an argument are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Installations,
    Bundles,
    Runs,
    RunsAndInstallations,
    Tasks,
    Environments,
    PrivateKeys,
    TrustedKeys,
    Volumes,
    InstallationsAndVersions,
    Metrics,
    Sorts,
    Conditions,
}

fn what(path: &[String], arg: &Arg) -> Option<What> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let of = arg.get_value_parser().type_id();
    match (path.as_slice(), arg.get_id().as_str()) {
        (_, "env") => Some(What::Environments),
        (_, "task") => Some(What::Tasks),
        (["outputs"], "run") => Some(What::Runs),
        (["runs"], "of")
        | (["runs", _], "runs")
        | (["approve" | "attach" | "cancel" | "debug" | "logs" | "reject" | "resume"], "run")
        | (["diff"], "runs") => Some(What::RunsAndInstallations),
        (["runs"], "metrics") => Some(What::Metrics),
        (["runs"], "sort") => Some(What::Sorts),
        (["runs"], "conditions") => Some(What::Conditions),
        (["rollback"], WORDS) => Some(What::InstallationsAndVersions),
        (["show"], WORDS) => Some(What::RunsAndInstallations),
        (["runs"], "program") | (_, WORDS | NAMED) => Some(What::Installations),
        (["sign" | "publish" | "approve" | "reject"], "key")
        | (["key", "export" | "remove"], "name")
        | (_, "receipt_key") => Some(What::PrivateKeys),
        (["trust", "remove"], "name") => Some(What::TrustedKeys),
        (["volume", "remove"], "name") => Some(What::Volumes),
        _ if of == TypeId::of::<Location>() || of == TypeId::of::<LocalName>() => Some(What::Bundles),
        _ => None,
    }
}

fn offer(arg: Arg, what: What, known: &Arc<Known>) -> Arg {
    let known = Arc::clone(known);
    if what == What::Bundles {
        return arg.add(ArgValueCompleter::new(move |current: &OsStr| {
            let text = current.to_string_lossy();
            let mut all = known.bundles();
            all.retain(|one| one.get_value().to_string_lossy().starts_with(&*text));
            all.extend(PathCompleter::any().complete(current));
            all
        }));
    }
    arg.add(ArgValueCandidates::new(move || match what {
        What::Installations => known.installed(),
        What::Runs => known.runs(),
        What::RunsAndInstallations => known.runs().into_iter().chain(known.installed()).collect(),
        What::Tasks => known.tasks(),
        What::Environments => ["local", "embedded", "docker"]
            .map(CompletionCandidate::new)
            .into(),
        What::PrivateKeys => known.files(Home::keys, "key"),
        What::TrustedKeys => known.files(|home| home.trust().join("keys"), "pub"),
        What::Volumes => known.files(Home::volumes, ""),
        What::InstallationsAndVersions => known.versions().unwrap_or_else(|| known.installed()),
        What::Metrics => known
            .metrics()
            .into_iter()
            .map(CompletionCandidate::new)
            .collect(),
        What::Sorts => known.sorts(),
        What::Conditions => known.conditions(),
        What::Bundles => Vec::new(),
    }))
}

/// `NAME=` for each parameter.
fn assignments(names: Vec<String>) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        let text = current.to_string_lossy();
        let fitting = names.iter().map(|name| format!("{name}="));
        let fitting = fitting.filter(|name| name.starts_with(&*text));
        fitting.map(CompletionCandidate::new).collect()
    })
}

/// What is known of the home, and what was typed.
#[derive(Debug)]
struct Known {
    /// The home; none if there is none yet, because asking must not make one.
    home: Option<PathBuf>,
    words: Vec<String>,
}

impl Known {
    fn home(&self) -> Option<Home> {
        Home::open(self.home.as_deref()?).ok()
    }

    fn installations(&self) -> Vec<Installation> {
        let list = self.home().and_then(|home| Installations::new(&home).list().ok());
        list.unwrap_or_default()
    }

    fn installed(&self) -> Vec<CompletionCandidate> {
        let all = self.installations();
        let names = all.iter().map(|one| (one.name.to_string(), one));
        let versions = all
            .iter()
            .map(|one| (format!("{}:{}", one.name, one.version), one));
        let with_colon = self.words.last().is_some_and(|word| word.contains(':'));
        let chosen: Vec<_> = if with_colon {
            versions.collect()
        } else {
            names.collect()
        };
        let candidates = chosen.into_iter().map(|(text, one)| {
            CompletionCandidate::new(text).help(Some(format!("{} {}", one.bundle, one.version).into()))
        });
        candidates.collect()
    }

    /// The names and versions in the local store, and the references that installations came from.
    fn bundles(&self) -> Vec<CompletionCandidate> {
        let sources = self.installations().into_iter().filter_map(|one| {
            let (source, _) = one.source.rsplit_once('@')?;
            source.contains('/').then(|| source.to_owned())
        });
        let mut all: Vec<String> = sources.collect();
        let store = self.home().map(|home| home.store());
        let entries = store.filter(|store| store.exists()).and_then(|store| {
            let read = async { Layout::open(&store).await?.entries().await };
            session::block_on(Threads::One, read).ok()?.ok()
        });
        for entry in entries.unwrap_or_default() {
            let tag = entry.annotations.get("org.opencontainers.image.ref.name");
            all.extend(tag.and_then(|tag| local_name(tag)));
        }
        all.sort();
        all.dedup();
        all.into_iter().map(CompletionCandidate::new).collect()
    }

    fn runs(&self) -> Vec<CompletionCandidate> {
        let Some(home) = self.home() else {
            return Vec::new();
        };
        let runs = Runs::new(&home);
        let Some(ids) = runs.short_ids().ok().filter(|ids| !ids.is_empty()) else {
            return Vec::new();
        };
        let newest = ids.iter().rev().take(RUNS).enumerate().map(|(at, (id, short))| {
            let run = (at < DESCRIBED).then(|| runs.get(id).ok()).flatten();
            let help = run.map(|run| format!("{} {}, {}", run.installation, run.version, run.status.word()));
            CompletionCandidate::new(short)
                .help(help.map(Into::into))
                .display_order(Some(at + 1))
        });
        let last = CompletionCandidate::new("last").display_order(Some(0));
        std::iter::once(last).chain(newest).collect()
    }

    /// The versions that an installation, named before, had: it may go back to them.
    fn versions(&self) -> Option<Vec<CompletionCandidate>> {
        let (_, before) = self.words.split_last()?;
        let all = self.installations().into_iter();
        let mut named = all.filter(|one| before.iter().skip(2).any(|word| *word == one.name.as_str()));
        let earlier = named.next()?.earlier.into_iter();
        Some(earlier.map(|one| CompletionCandidate::new(one.version)).collect())
    }

    /// The newest runs.
    fn newest(&self) -> Vec<Run> {
        let newest = || {
            let home = self.home()?;
            let runs = Runs::new(&home);
            let ids = runs.short_ids().ok()?;
            let newest = ids.keys().rev().take(DESCRIBED);
            Some(newest.filter_map(|id| runs.get(id).ok()).collect())
        };
        newest().unwrap_or_default()
    }

    /// What was measured in the newest runs, by the shortest names.
    fn metrics(&self) -> BTreeSet<String> {
        let runs = self.newest();
        let all: BTreeSet<String> = runs.iter().flat_map(|run| run.scalars().into_keys()).collect();
        let short = short_names(all.iter().map(String::as_str));
        short.into_values().map(str::to_owned).collect()
    }

    fn parameters(&self) -> BTreeSet<String> {
        let runs = self.newest().into_iter();
        runs.flat_map(|run| run.parameters.into_keys()).collect()
    }

    /// What runs may be sorted by, and with a `-` before it, the largest first.
    fn sorts(&self) -> Vec<CompletionCandidate> {
        let own = ["started", "duration", "status"].map(str::to_owned);
        let parameters = self
            .parameters()
            .into_iter()
            .map(|name| format!("parameters.{name}"));
        let metrics = self.metrics().into_iter().map(|name| format!("metrics.{name}"));
        let up: Vec<String> = own.into_iter().chain(parameters).chain(metrics).collect();
        let down = up.iter().map(|name| format!("-{name}"));
        let down: Vec<String> = down.collect();
        up.into_iter().chain(down).map(CompletionCandidate::new).collect()
    }

    /// The beginnings of conditions. The signs that follow would be read by a shell.
    fn conditions(&self) -> Vec<CompletionCandidate> {
        let names = self.parameters().into_iter().chain(self.metrics());
        names
            .map(|name| CompletionCandidate::new(format!("{name}=")))
            .collect()
    }

    /// The tasks of the run that the line names, or of the newest.
    fn tasks(&self) -> Vec<CompletionCandidate> {
        let tasks = || {
            let home = self.home()?;
            let runs = Runs::new(&home);
            let named = self.words.iter().skip(2).find_map(|word| runs.find_id(word).ok());
            let id = named.or_else(|| runs.find_id("last").ok())?;
            Some(runs.get(&id).ok()?.tasks)
        };
        let tasks = tasks().unwrap_or_default().into_iter();
        tasks.map(|task| CompletionCandidate::new(task.name)).collect()
    }

    /// The names of the files or folders in a folder of the home, without their ending.
    fn files(&self, folder: impl Fn(&Home) -> PathBuf, ending: &str) -> Vec<CompletionCandidate> {
        let entries = self.home().and_then(|home| std::fs::read_dir(folder(&home)).ok());
        let names = entries.into_iter().flatten().flatten().filter_map(|entry| {
            let path = PathBuf::from(entry.file_name());
            let has = path.extension().is_some_and(|found| found == ending) || ending.is_empty();
            let name = if ending.is_empty() {
                path.as_os_str()
            } else {
                path.file_stem()?
            };
            has.then(|| name.to_owned())
        });
        names.map(CompletionCandidate::new).collect()
    }

    /// The bundle of the installation that the words name.
    fn bundle(&self, words: &[String]) -> Option<Bundle> {
        let (name, _) = name_among(words, None);
        let name: BundleName = name?.parse::<LocalName>().ok()?.name;
        let home = self.home()?;
        let installation = Installations::new(&home).find(&name).ok()??;
        let bundle = verbs::installed_bundle(&home, &installation);
        session::block_on(Threads::One, bundle).ok()?.ok()
    }
}

/// NAME or NAME:VERSION of a tag in the local store, where a version follows the name behind `_`.
fn local_name(tag: &str) -> Option<String> {
    let text = tag
        .rsplit_once('_')
        .map_or_else(|| tag.to_owned(), |(name, version)| format!("{name}:{version}"));
    // Signatures of other tools have tags as well.
    let is_name = text.parse::<LocalName>().is_ok() && !text.starts_with("sha256-");
    is_name.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_offered_what_they_take() {
        let known = Arc::new(Known {
            home: None,
            words: Vec::new(),
        });
        let command = Cli::command();
        let of = |path: &[&str], id: &str| {
            let sub = path
                .iter()
                .fold(&command, |command, name| command.find_subcommand(name).unwrap());
            let arg = sub.get_arguments().find(|arg| arg.get_id() == id).unwrap();
            what(
                &path.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(),
                arg,
            )
        };
        assert_eq!(of(&["run"], "words"), Some(What::Installations));
        assert_eq!(of(&["run"], "env"), Some(What::Environments));
        assert_eq!(of(&["logs"], "task"), Some(What::Tasks));
        assert_eq!(of(&["logs"], "run"), Some(What::RunsAndInstallations));
        assert_eq!(of(&["install"], "from"), Some(What::Bundles));
        assert_eq!(of(&["runs"], "sort"), Some(What::Sorts));
        assert_eq!(of(&["runs"], "conditions"), Some(What::Conditions));
        assert_eq!(of(&["runs"], "metrics"), Some(What::Metrics));
        assert_eq!(of(&["rollback"], "words"), Some(What::InstallationsAndVersions));
        assert_eq!(of(&["sign"], "key"), Some(What::PrivateKeys));
        assert_eq!(of(&["trust", "remove"], "name"), Some(What::TrustedKeys));
        assert_eq!(of(&["volume", "remove"], "name"), Some(What::Volumes));
        assert!(known.runs().is_empty() && known.installed().is_empty() && known.bundles().is_empty());
        with_candidates(command, &[], &known).debug_assert();
    }

    #[test]
    fn tags_of_the_local_store_are_read_as_names() {
        assert_eq!(local_name("digits_1.0.0").unwrap(), "digits:1.0.0");
        assert_eq!(local_name("digits").unwrap(), "digits");
        assert_eq!(local_name("sha256-00.sig"), None);
    }
}
