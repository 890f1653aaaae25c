//! Somebody's own project: its layout, its packages, several pipelines in a file, and one command from there to a run.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use samebundle_tests::{Home, Ran, Registry, Sandbox, Test, image, kfp, skip, tests};

use crate::flow::outputs;

pub(crate) const TESTS: &[Test] = tests![
    a_project_runs_with_one_command_and_again_after_an_edit,
    a_file_with_several_pipelines_wants_one_to_be_named,
    what_is_wrong_points_into_the_authors_file,
    packages_of_every_spelling_are_packed,
    what_pip_does_not_know_is_refused,
    a_stranger_never_stands_in_for_a_package_of_the_project,
    an_edited_requirement_counts,
    digests_of_a_list_are_checked,
    a_locked_source_distribution_is_built_again,
    a_release_never_changes_its_content,
    what_comes_from_elsewhere_needs_trust_also_in_one_command
];

/// A project in a sandbox.
pub(crate) struct Project {
    folder: PathBuf,
    home: Home,
}

impl Project {
    /// A project with these files and, unless it is among them, a `samebundle.yaml`. None where tools were not set up.
    pub(crate) fn new<T: AsRef<str>>(sandbox: &Sandbox, files: &[(&str, T)]) -> Option<Self> {
        let python = image("python").filter(|_| kfp().is_some())?;
        let folder = sandbox.path().join("project");
        for (name, text) in files {
            write(&folder, name, text.as_ref());
        }
        let pipeline = files.iter().find(|(name, _)| is_pipeline(name)).unwrap().0;
        let manifest = format!(
            "apiVersion: samebundle.dev/v1\nkind: Program\nname: mine\nversion: 0.1.0\nprogram: {{pipeline: {pipeline}}}\n\
             images: {{\"python:3.11\": {{from: \"layout:{}\"}}}}\n",
            python.display()
        );
        write(&folder, "samebundle.yaml", &manifest);
        let home = sandbox.home("author");
        Some(Self { folder, home })
    }

    /// A project of one pipeline, whose component installs these packages.
    fn of_component(sandbox: &Sandbox, packages: &str) -> Option<Self> {
        let files = [
            ("pipeline.py", pipelines(&["train"])),
            ("components/add.py", component(packages)),
        ];
        Self::new(sandbox, &files)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        write(&self.folder, name, text);
    }

    pub(crate) fn call(&self, words: &[&str]) -> Ran {
        let mut command = self.home.command(words);
        Ran::of(command.current_dir(&self.folder))
    }

    pub(crate) fn lock(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.folder.join("samebundle.lock")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The names of all wheels that the bundle carries.
    fn wheels(&self) -> Vec<String> {
        let lock = self.lock();
        let resolutions = lock["resolutions"].as_array().unwrap().iter();
        let wheels = resolutions.flat_map(|resolution| resolution["wheels"].as_array().unwrap());
        wheels
            .map(|wheel| wheel["file"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn is_pipeline(name: &str) -> bool {
    let path = Path::new(name);
    let ending = path
        .extension()
        .is_some_and(|ending| ending == "py" || ending == "ipynb");
    ending
        && path
            .file_stem()
            .is_some_and(|stem| stem == "pipeline" || stem == "train")
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

pub(crate) const UNPREPARED: &str = "projects: the python image or the kfp SDK was not made (tests/setup)";

/// A component `add` in a module of its own, which installs these packages.
fn component(packages: &str) -> String {
    format!(
        "from kfp import dsl\n\n@dsl.component(base_image='python:3.11', packages_to_install=[{packages}])\n\
         def add(a: int, b: int) -> int:\n    return a + b\n"
    )
}

/// A pipeline for each name, of the component `add`.
fn pipelines(names: &[&str]) -> String {
    let mut text = "from kfp import dsl, kubernetes\nfrom components.add import add\n".to_owned();
    for name in names {
        write!(
            text,
            "\n@dsl.pipeline(name='{name}')\ndef {name}(a: int = 1) -> int:\n    task = add(a=a, b=2)\n    \
             kubernetes.add_pod_label(task, 'team', 'a')\n    return task.output\n"
        )
        .unwrap();
    }
    text
}

fn a_project_runs_with_one_command_and_again_after_an_edit() {
    let sandbox = Sandbox::new();
    let pipeline = format!("import dotenv\n{}", pipelines(&["train", "predict"]));
    let files = [
        ("pipelines/train.py", pipeline.as_str()),
        ("components/add.py", &component("")),
        (
            "requirements.txt",
            "python-dotenv==1.0.1  # settings\nkfp==2.0.1\n",
        ),
    ];
    let Some(project) = Project::new(&sandbox, &files) else {
        return skip(UNPREPARED);
    };
    let run = ["run", ".", "--pipeline", "train", "--a=40", "--output", "json"];
    let first = project.call(&run).ok();
    assert_eq!(outputs(&first)["Output"], 42);
    assert_eq!(
        project.lock()["compile"][0]["wheels"][0]["file"],
        "python_dotenv-1.0.1-py3-none-any.whl"
    );
    project.write("components/add.py", &component("").replace("a + b", "a - b"));
    let second = project.call(&run).ok();
    assert_eq!(outputs(&second)["Output"], 38, "the edit was not seen");
    // It is recorded as what it is, and is not a release.
    let shown = project.call(&["show", "mine", "--output", "json"]).ok().json();
    assert_eq!(shown["installation"]["verification"]["by"], "consent", "{shown}");
    assert!(
        shown["installation"]["source"]
            .as_str()
            .unwrap()
            .starts_with("working-copy:"),
        "{shown}"
    );
    let listed = project.call(&["verify", "mine:0.1.0"]);
    assert_ne!(listed.code, 0, "a working copy was tagged as the version");
}

fn a_file_with_several_pipelines_wants_one_to_be_named() {
    let sandbox = Sandbox::new();
    let files = [
        ("pipeline.py", pipelines(&["train", "predict"])),
        ("components/add.py", component("")),
    ];
    let Some(project) = Project::new(&sandbox, &files) else {
        return skip(UNPREPARED);
    };
    let refused = project.call(&["lint"]).exits(1);
    assert!(
        refused
            .stderr
            .contains("pipeline.py:1: it has several pipelines: predict, train"),
        "{}",
        refused.stderr
    );
    let wrong = project.call(&["lint", "--pipeline", "other"]).exits(1);
    assert!(
        wrong.stderr.contains("there are: predict, train"),
        "{}",
        wrong.stderr
    );
    let _ = project.call(&["lint", "--pipeline", "predict"]).ok();
    let manifest = std::fs::read_to_string(project.folder.join("samebundle.yaml")).unwrap();
    project.write(
        "samebundle.yaml",
        &manifest.replace("pipeline.py", "pipeline.py, function: train"),
    );
    let _ = project.call(&["lint"]).ok();
}

fn what_is_wrong_points_into_the_authors_file() {
    let sandbox = Sandbox::new();
    let good = pipelines(&["train"]);
    let files = [
        ("pipelines/train.py", good.as_str()),
        ("components/add.py", &component("")),
    ];
    let Some(project) = Project::new(&sandbox, &files) else {
        return skip(UNPREPARED);
    };
    let looped = good.replace(
        "    task = add(a=a, b=2)\n",
        "    with dsl.ParallelFor([1, 2]) as item:\n        add(a=item, b=2)\n    task = add(a=a, b=2)\n",
    );
    project.write("pipelines/train.py", &looped);
    let _ = project.call(&["lint"]).ok();
    for (text, wanted) in [
        (
            good.replace("b=2", "c=2"),
            "pipelines/train.py:6: TypeError: add() got an unexpected keyword argument",
        ),
        (
            good.replace("def train(", "def train(("),
            "pipelines/train.py:5: SyntaxError",
        ),
        (
            format!("import nosuchmodule\n{good}"),
            "pipelines/train.py:1: No module named 'nosuchmodule': the project declares no packages",
        ),
        (
            format!("import os\nX = os.environ['BUCKET_X']\n{good}"),
            "pipelines/train.py:2: KeyError: 'BUCKET_X'; the environment variable BUCKET_X is not set",
        ),
        (
            format!("open('train.py').read()\n{good}"),
            "it lies beside the pipeline (pipelines/train.py)",
        ),
        (
            "from kfp import dsl\ndef make(n):\n    @dsl.pipeline\n    def p():\n        pass\n    return p\n".to_owned(),
            "pipelines/train.py:1: its pipeline is made by a function (make)",
        ),
        (
            "from kfp import dsl\nop = dsl.ContainerOp(name='x', image='y')\n".to_owned(),
            "pipelines/train.py is written for version 1 of the SDK (ContainerOp)",
        ),
        (
            format!("import argparse\np = argparse.ArgumentParser()\np.add_argument('x')\np.parse_args()\n{good}"),
            "it ends the program with exit code 2 where it is imported: train.py: error: the following arguments are required: x",
        ),
        (
            format!("import os\nos._exit(0)\n{good}"),
            "it ends the program where it is imported",
        ),
        (
            "from kfp import dsl\n".to_owned(),
            "pipelines/train.py:1: there is no function with @dsl.pipeline in it",
        ),
    ] {
        project.write("pipelines/train.py", &text);
        let refused = project.call(&["lint"]).exits(1);
        assert!(refused.stderr.contains(wanted), "{wanted}: {}", refused.stderr);
    }
}

fn packages_of_every_spelling_are_packed() {
    let sandbox = Sandbox::new();
    let packages = "'-rlists/all.txt', '-c cons.txt', './own', 'docopt==0.6.2', 'requests[socks]==2.32.3'";
    let files = [
        ("pipeline.py", pipelines(&["train"])),
        ("components/add.py", component(packages)),
        (
            "lists/all.txt",
            "-r more.txt\n# why\ntabulate==0.9.0 ; python_version >= '3'\n".to_owned(),
        ),
        ("lists/more.txt", "six\n".to_owned()),
        ("cons.txt", "six<1.17\nurllib3<2.3\n".to_owned()),
        (
            "own/setup.py",
            "from setuptools import setup\nsetup(name='own-thing', version='1.2', py_modules=['own'])\n"
                .to_owned(),
        ),
        ("own/own.py", "X = 1\n".to_owned()),
    ];
    let Some(project) = Project::new(&sandbox, &files) else {
        return skip(UNPREPARED);
    };
    let _ = project.call(&["build"]).ok();
    let wheels = project.wheels();
    for wanted in [
        "tabulate-0.9.0",
        "six-1.16.0",
        "docopt-0.6.2",
        "own_thing-1.2",
        "requests-2.32.3",
        "PySocks-",
        "urllib3-2.2",
    ] {
        let is = |file: &String| {
            file.to_lowercase()
                .replace('-', "_")
                .starts_with(&wanted.to_lowercase().replace('-', "_"))
        };
        assert!(wheels.iter().any(is), "{wanted} is not in {wheels:?}");
    }
    // The task's own unchanged pip finds all of it.
    let ran = project.call(&["run", ".", "--output", "json"]).ok();
    assert_eq!(outputs(&ran)["Output"], 3);
}

/// Whoever registers a name in an index must not get into a bundle in place of the author's own package.
fn a_stranger_never_stands_in_for_a_package_of_the_project() {
    let sandbox = Sandbox::new();
    let setup = "from setuptools import setup\nsetup(name='six', version='1.16.0', py_modules=['six'])\n";
    let files = [
        (
            "pipeline.py",
            format!("import cowsay\nassert cowsay.OURS\n{}", pipelines(&["train"])),
        ),
        ("components/add.py", component("'./own'")),
        ("own/setup.py", setup.to_owned()),
        ("own/six.py", "OURS = True\n".to_owned()),
        ("requirements.txt", "-e ./cowsay-of-ours\ncowsay\n".to_owned()),
        ("cowsay-of-ours/cowsay.py", "OURS = True\n".to_owned()),
    ];
    let Some(project) = Project::new(&sandbox, &files) else {
        return skip(UNPREPARED);
    };
    let _ = project.call(&["build"]).ok();
    let lock = project.lock();
    let own = &lock["built"][0]["wheel"]["digest"];
    assert!(own.is_string(), "{lock}");
    let resolutions = lock["resolutions"].as_array().unwrap();
    let wheels = resolutions
        .iter()
        .flat_map(|one| one["wheels"].as_array().unwrap());
    let packed: Vec<_> = wheels
        .filter(|one| one["file"].as_str().unwrap().starts_with("six-"))
        .collect();
    assert!(packed.len() == 1 && packed[0]["digest"] == *own, "{lock}");
    // A name that the project takes from a repository is nobody else's, though nothing is there to import.
    project.write(
        "pipeline.py",
        &format!("import cowsay\n{}", pipelines(&["train"])),
    );
    project.write("requirements.txt", "cowsay @ git+https://nowhere.invalid/x\n");
    std::fs::remove_dir_all(project.folder.join("cowsay-of-ours")).unwrap();
    let refused = project.call(&["lint"]).exits(1);
    assert!(
        refused
            .stderr
            .contains("the project takes it from a folder, a repository or an address"),
        "{}",
        refused.stderr
    );
}

fn an_edited_requirement_counts() {
    let sandbox = Sandbox::new();
    let files = [
        ("pipeline.py", format!("import dotenv\n{}", pipelines(&["train"]))),
        ("components/add.py", component("")),
        ("requirements.txt", "python-dotenv==1.0.1\n".to_owned()),
    ];
    let Some(project) = Project::new(&sandbox, &files) else {
        return skip(UNPREPARED);
    };
    let _ = project.call(&["lint"]).ok();
    project.write("requirements.txt", "python-dotenv==1.0.0\n");
    let _ = project.call(&["lint"]).ok();
    let lock = project.lock();
    let compile = lock["compile"].as_array().unwrap();
    assert_eq!(compile.len(), 1, "{lock}");
    assert_eq!(
        compile[0]["wheels"][0]["file"],
        "python_dotenv-1.0.0-py3-none-any.whl"
    );
}

fn digests_of_a_list_are_checked() {
    let sandbox = Sandbox::new();
    let Some(project) = Project::of_component(&sandbox, "'-r', 'list.txt'") else {
        return skip(UNPREPARED);
    };
    project.write(
        "list.txt",
        &format!("six==1.16.0 --hash=sha256:{}\n", "0".repeat(64)),
    );
    let refused = project.call(&["build"]).exits(4);
    assert!(
        refused
            .stderr
            .contains("none of those that a list of requirements gives"),
        "{}",
        refused.stderr
    );
    let known = "8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254";
    project.write(
        "list.txt",
        &format!("\u{feff}six==1.16.0 \\\n  --hash=sha256:{known}\t# its wheel\n"),
    );
    let _ = project.call(&["build"]).ok();
}

fn what_pip_does_not_know_is_refused() {
    let sandbox = Sandbox::new();
    let Some(project) = Project::of_component(&sandbox, "'six', '--no-such-option'") else {
        return skip(UNPREPARED);
    };
    for (packages, wanted) in [
        (
            "'six', '--no-such-option'",
            "\"--no-such-option\" cannot be packed",
        ),
        (
            "'six', '-r nolist.txt'",
            "components/add.py:3: a component installs what nolist.txt lists",
        ),
        (
            "'./nofolder'",
            "components/add.py:3: a component installs './nofolder'",
        ),
        (
            "'this-package-does-not-exist-xyz123'",
            "No matching distribution found",
        ),
    ] {
        project.write("components/add.py", &component(packages));
        let refused = project.call(&["build"]).exits(1);
        assert!(refused.stderr.contains(wanted), "{wanted}: {}", refused.stderr);
        assert!(
            !project.folder.join("samebundle.lock").exists(),
            "{packages}: a lock was written"
        );
    }
}

fn a_locked_source_distribution_is_built_again() {
    let sandbox = Sandbox::new();
    let Some(project) = Project::of_component(&sandbox, "'docopt==0.6.2'") else {
        return skip(UNPREPARED);
    };
    let first = project.call(&["build"]).ok();
    let locked = project.lock();
    assert!(locked.to_string().contains("docopt-0.6.2.tar.gz"), "{locked}");
    std::fs::remove_dir_all(project.home.path().join("cache/wheels")).unwrap();
    let second = project.call(&["build"]).ok();
    assert_eq!(first.digest(), second.digest());
    assert_eq!(project.lock(), locked);
}

fn a_release_never_changes_its_content() {
    let sandbox = Sandbox::new();
    let Some(project) = Project::of_component(&sandbox, "") else {
        return skip(UNPREPARED);
    };
    let registry = Registry::own(&sandbox, &project.home);
    let place = registry.reference("team/mine");
    let unsigned = project.call(&["publish", &place]).exits(5);
    assert!(unsigned.stderr.contains("key generate"), "{}", unsigned.stderr);
    let _ = project.call(&["key", "generate", "--no-passphrase"]).ok();
    let _ = project.call(&["publish", &place]).ok();
    let released = project.call(&["verify", &format!("{place}:0.1.0")]).ok().stdout;
    let _ = project.call(&["publish", &place]).ok();
    project.write("components/add.py", &component("").replace("a + b", "a - b"));
    let refused = project.call(&["publish", &place]).exits(9);
    assert!(
        refused.stderr.contains("is released with other content"),
        "{}",
        refused.stderr
    );
    let same = project
        .call(&["inspect", &format!("{place}:0.1.0"), "--output", "json"])
        .ok();
    assert!(
        released.contains(same.json()["digest"].as_str().unwrap()),
        "{released}"
    );
}

fn what_comes_from_elsewhere_needs_trust_also_in_one_command() {
    let sandbox = Sandbox::new();
    let Some(project) = Project::of_component(&sandbox, "") else {
        return skip(UNPREPARED);
    };
    let _ = project.call(&["run", "."]).ok();
    let _ = project.call(&["build"]).ok();
    let file = sandbox.path().join("mine.tgz");
    let _ = project.call(&["copy", "mine", file.to_str().unwrap()]).ok();
    let other = sandbox.home("other");
    let refused = other.run(["run", file.to_str().unwrap()]).exits(4);
    assert!(refused.stderr.contains("not trusted"), "{}", refused.stderr);
    let ran = other.ok([
        "run",
        file.to_str().unwrap(),
        "--allow-unsigned",
        "--a=5",
        "--output",
        "json",
    ]);
    assert_eq!(outputs(&ran)["Output"], 7);
    // Also in the home that has built it, the file of a bundle is from elsewhere.
    let _ = project.call(&["run", file.to_str().unwrap()]).exits(4);
}
