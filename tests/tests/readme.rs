//! What the README and the documents in `docs/` tell people to type is what works.
//!
//! Blocks that open with ```sh are run in order, in one shell, in a folder that looks like the top of the tree. A block under
//! a line `<!-- not run: why -->` is not run, and its reason is printed. The README's quick start runs once; the other
//! documents go on from a copy of what it left, one after the other in the order of the README's table, as a reader may
//! paste them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use samebundle_tests::{
    Ran, Registry, Sandbox, Test, command_under_test, digits, repository, skip, tell, tests,
};

/// The blocks to run, and the reasons of those that are not.
fn blocks(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut run, mut left) = (Vec::new(), Vec::new());
    let mut reason = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(why) = line.trim().strip_prefix("<!-- not run:") {
            reason = Some(why.trim_end_matches("-->").trim().to_owned());
        } else if line.trim() == "```sh" {
            let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            match reason.take() {
                Some(why) => left.push(why),
                None => run.push(block.join("\n")),
            }
        } else if !line.trim().is_empty() {
            reason = None;
        }
    }
    (run, left)
}

fn blocks_are_found() {
    let text = "a\n```sh\none\ntwo\n```\n<!-- not run: needs a cloud -->\n```sh\nthree\n```\n```text\nfour\n```\n```sh\nfive\n```\n";
    assert_eq!(
        blocks(text),
        (
            vec!["one\ntwo".to_owned(), "five".to_owned()],
            vec!["needs a cloud".to_owned()]
        )
    );
}

/// The documents that give a test its name, in the order of the README's table: each runs its blocks after those of the
/// README and of the documents before it.
macro_rules! documents {
    ($($name:ident: $file:literal,)*) => {
        const DOCUMENTS: &[&str] = &[$($file,)*];
        pub(crate) const TESTS: &[Test] = tests![
            blocks_are_found,
            the_readme_works,
            every_document_with_commands_is_run,
            documents_are_run_in_the_order_of_the_readme,
            links_lead_to_what_the_tree_holds,
            $($name,)*
        ];
        $(
            fn $name() {
                follow($file);
            }
        )*
    };
}

documents! {
    commands_work: "commands.md",
    own_bundles_work: "own-bundles.md",
    versions_work: "versions.md",
    trust_works: "trust.md",
    air_gap_works: "air-gap.md",
    registry_works: "registry.md",
    registries_work: "registries.md",
    results_work: "results.md",
    approvals_work: "approvals.md",
    metadata_works: "metadata.md",
    disk_works: "disk.md",
}

fn the_readme_works() {
    match quick_start() {
        Ok(begun) => {
            let _ = begun.ran.clone().ok();
        }
        Err(why) => skip(&format!("readme: {why}")),
    }
}

fn every_document_with_commands_is_run() {
    for path in markdown(&repository().join("docs")) {
        let name = path
            .strip_prefix(repository().join("docs"))
            .unwrap()
            .to_str()
            .unwrap();
        let (run, _) = blocks(&std::fs::read_to_string(&path).unwrap());
        assert_eq!(
            !run.is_empty(),
            DOCUMENTS.contains(&name),
            "docs/{name}: a document has commands if, and only if, a test here follows it"
        );
    }
}

/// The shells' ports are fixed in the documents, so that one runs at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The README's quick start, and what it left.
struct Begun {
    sandbox: Sandbox,
    ran: Ran,
    /// Stands for the registry that a pipeline's image comes from.
    _mirror: Registry,
}

/// Runs the README's quick start, once; says why where it cannot be run here.
fn quick_start() -> Result<&'static Begun, &'static str> {
    static DONE: OnceLock<Result<Begun, String>> = OnceLock::new();
    let made = DONE.get_or_init(|| {
        let sandbox = Sandbox::shared();
        // `bundles/digits` with its base image, and the command by both of its names.
        let sources = digits(&sandbox)?;
        let bundles = sandbox.path().join("bundles");
        std::fs::create_dir(&bundles).unwrap();
        std::fs::rename(sources, bundles.join("digits")).unwrap();
        let bin = sandbox.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        for name in ["samebundle", "same"] {
            std::os::unix::fs::symlink(command_under_test(), bin.join(name)).unwrap();
        }
        let wine = bundles.join("wine");
        std::fs::create_dir(&wine).unwrap();
        std::fs::copy(
            repository().join("bundles/wine/pipeline.py"),
            wine.join("pipeline.py"),
        )
        .unwrap();
        let mirror = mirror_of_the_base_image(&sandbox, &bundles.join("digits/images/python"));
        let ran = run(&sandbox, &repository().join("README.md"));
        Ok(Begun {
            sandbox,
            ran,
            _mirror: mirror,
        })
    });
    made.as_ref().map_err(String::as_str)
}

/// Serves `python:3.11`, and tells the user's tools to take it from there.
fn mirror_of_the_base_image(sandbox: &Sandbox, image: &Path) -> Registry {
    let home = sandbox.home("mirror");
    let registry = Registry::own(sandbox, &home);
    let place = registry.reference("library/python:3.11");
    let _ = home.ok(["copy", &format!("layout:{}", image.display()), &place]);
    let host = place.split('/').next().unwrap();
    let folder = sandbox.path().join("user/.config/containers");
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!(
        "[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n\n[[registry.mirror]]\nlocation = \"{host}\"\ninsecure = true\n"
    );
    std::fs::write(folder.join("registries.conf"), text).unwrap();
    registry
}

fn documents_are_run_in_the_order_of_the_readme() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let place = |name: &&str| readme.rfind(&format!("](docs/{name})")).unwrap();
    assert!(DOCUMENTS.is_sorted_by_key(place), "{DOCUMENTS:?}");
}

/// What the documents left, and how those that were run went.
static FOLLOWED: Mutex<Option<(Sandbox, Vec<Ran>)>> = Mutex::new(None);

/// Runs the documents up to this one on a copy of what the quick start left, each once.
fn follow(file: &str) {
    let begun = match quick_start() {
        Ok(begun) => begun,
        Err(why) => return skip(&format!("docs/{file}: {why}")),
    };
    assert!(
        begun.ran.code == 0,
        "the quick start failed; see the_readme_works"
    );
    let mut followed = FOLLOWED.lock().unwrap_or_else(PoisonError::into_inner);
    let (sandbox, ran) = followed.get_or_insert_with(|| (copy_of(&begun.sandbox), Vec::new()));
    let at = DOCUMENTS.iter().position(|document| *document == file).unwrap();
    while ran.len() <= at {
        let document = repository().join("docs").join(DOCUMENTS[ran.len()]);
        ran.push(run(sandbox, &document));
    }
    let _ = ran[at].clone().ok();
}

fn copy_of(begun: &Sandbox) -> Sandbox {
    let sandbox = Sandbox::shared();
    // Files in a home are replaced and never changed, so that hard links are copies.
    let mut copy = Command::new("cp");
    copy.arg("-al").arg(begun.path().join(".")).arg(sandbox.path());
    let _ = Ran::of(&mut copy).ok();
    sandbox
}

/// Runs the blocks of a document as one script in the sandbox.
fn run(sandbox: &Sandbox, document: &Path) -> Ran {
    let (run, left) = blocks(&std::fs::read_to_string(document).unwrap());
    assert!(
        !run.is_empty(),
        "{} has no command that is run",
        document.display()
    );
    for why in left {
        tell(&format!("a block of {} is not run: {why}", document.display()));
    }
    let script = format!(
        "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n{}\n",
        run.join("\n")
    );
    let file = sandbox.path().join("script.sh");
    // A new file: the one that was linked here belongs to the quick start.
    let _ = std::fs::remove_file(&file);
    std::fs::write(&file, script).unwrap();
    let mut command = Command::new("bash");
    command.arg(&file);
    sandbox.home("unused").furnish(&mut command);
    // A newcomer has no SDK that is set up.
    command.env_remove("SAMEBUNDLE_KFP_PYTHON");
    let path = command
        .get_envs()
        .find_map(|(name, value)| (name == "PATH").then_some(value?))
        .unwrap();
    let bin = sandbox.path().join("bin");
    let path = format!("{}:{}", bin.display(), path.to_str().unwrap());
    command.env("PATH", path).env("MAKE", "true");
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    Ran::of(&mut command)
}

/// The documents below a folder, at any depth.
fn markdown(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(markdown(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found
}

/// The targets of a document's links into the tree. What stands in backticks is no link.
fn links(text: &str) -> Vec<String> {
    let prose: String = text.split('`').step_by(2).collect();
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .map(str::to_owned)
        .collect()
}

fn links_lead_to_what_the_tree_holds() {
    let top = repository();
    let mut documents = markdown(&top.join("docs"));
    documents.extend(markdown(&top.join("spec")));
    documents.extend(
        ["README", "ARCHITECTURE", "SECURITY", "CONTRIBUTING", "CHANGELOG"]
            .map(|name| top.join(name).with_extension("md")),
    );
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in links(&text) {
            let path = document.parent().unwrap().join(&target);
            assert!(
                path.exists(),
                "{} links to {target}, which is not there",
                document.display()
            );
        }
    }
}
