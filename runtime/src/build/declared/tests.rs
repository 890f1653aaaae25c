//! Small projects in the words of each tool.

use super::*;

fn declared(files: &[(&str, &str)]) -> (tempfile::TempDir, Declared) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let found = read(&[folder.path()], &[]);
    (folder, found)
}

fn requirements(files: &[(&str, &str)]) -> Vec<String> {
    let (_folder, found) = declared(files);
    found
        .packages
        .into_iter()
        .map(|package| package.requirement)
        .collect()
}

#[test]
fn every_usual_declaration_is_read() {
    let list =
        "# ours\nsix==1.16 --hash=sha256:00\n\n-r more.txt\n--verbose\nb[c]>=1; python_version<'4' # why\n";
    assert_eq!(
        requirements(&[("requirements-dev.txt", list), ("more.txt", "a\\\n >1\n")]),
        ["six==1.16", "a  >1", "b[c]>=1; python_version<'4'"]
    );
    assert_eq!(requirements(&[("requirements/base.txt", "a\n")]), ["a"]);
    let project = "[project]\nname='x'\ndependencies=['a>1']\n[project.optional-dependencies]\nt=['b', 'x[t]']\n\
                   [dependency-groups]\ndev=['c', {include-group='t'}]\n[tool.poetry.dependencies]\npython='^3'\nd='^1.2'\n\
                   [tool.poetry.group.dev.dependencies]\ne={version='1'}\n";
    let found = requirements(&[("pyproject.toml", project)]);
    assert_eq!(
        found,
        ["a>1", "b", "c", "d>=1.2,<2", "e==1"],
        "and never the project itself"
    );
    let conda =
        "name: x\ndependencies:\n- python=3.11\n- numpy=1.2\n- pip\n- pip:\n  - f==1\n  - -r list.in\n";
    assert_eq!(
        requirements(&[("environment.yml", conda), ("list.in", "g")]),
        ["numpy", "f==1", "g"]
    );
    let setup =
        "setup(name='x', install_requires=[\n  'a>=1',\n  # 'old',\n  \"b\",\n], extras_require={})\n";
    assert_eq!(requirements(&[("setup.py", setup)]), ["a>=1", "b"]);
    let setup = "[options]\ninstall_requires =\n    a\n    b>1\npackages = find:\n";
    assert_eq!(requirements(&[("setup.cfg", setup)]), ["a", "b>1"]);
    let pipfile = "[packages]\na='*'\nb={version='==1'}\n[dev-packages]\nc='~=2'\n";
    assert_eq!(requirements(&[("Pipfile", pipfile)]), ["a", "b==1", "c~=2"]);
    assert!(requirements(&[("pyproject.toml", "not toml")]).is_empty());
}

/// Whoever registers a name of theirs in an index must not be imported.
#[test]
fn what_comes_from_elsewhere_is_never_asked_of_an_index() {
    for (file, text) in [
        ("requirements.txt", "-e ./lib\nours @ git+https://h.example/x\n"),
        ("requirements.txt", "./lib\nours @ file:///nowhere\n"),
        (
            "pyproject.toml",
            "[project]\nname='p'\ndependencies=['ours']\n[tool.uv.sources]\nours={path='lib'}\n",
        ),
        (
            "pyproject.toml",
            "[project]\nname='p'\ndependencies=['ours']\n[tool.uv.sources]\nours=[{git='x'}]\n",
        ),
        (
            "pyproject.toml",
            "[tool.poetry.dependencies]\nours={path='lib', develop=true}\n",
        ),
        ("pyproject.toml", "[tool.poetry.dependencies]\nours={git='x'}\n"),
        ("Pipfile", "[packages]\nours={git='x'}\n"),
    ] {
        let (_folder, found) = declared(&[(file, text), ("lib/ours/__init__.py", "")]);
        assert!(found.packages.is_empty(), "{text}: {found:?}");
    }
    let lock = "[[package]]\nname='ours'\nversion='1'\nsource={editable='.'}\n";
    let (_folder, found) = declared(&[("uv.lock", lock), ("requirements.txt", "ours\n")]);
    assert!(found.packages.is_empty() && found.pins.is_empty(), "{found:?}");
}

#[test]
fn local_packages_are_imported_from_their_folders() {
    let files = [
        ("requirements.txt", "-e ./lib\n"),
        ("lib/src/ours/__init__.py", ""),
        ("lib/setup.cfg", "[options]\ninstall_requires = six\n"),
    ];
    let (folder, found) = declared(&files);
    assert_eq!(found.folders, [folder.path().join("./lib").join("src")]);
    assert_eq!(found.packages[0].requirement, "six", "what it needs is needed");
    let project = "[tool.setuptools.package-dir]\n''='lib'\nours='.'\n";
    let (folder, found) = declared(&[("pyproject.toml", project)]);
    assert_eq!(found.folders, [folder.path().join("lib")]);
    assert_eq!(found.aliases["ours"], folder.path().join("."));
}

#[test]
fn indexes_are_those_of_the_project() {
    let (_folder, found) = declared(&[(
        "requirements.txt",
        "-i http://u:p@h/simple\n--extra-index-url=http://i\na\n",
    )]);
    assert_eq!(
        found.packages[0].places,
        ["--index-url=http://h/simple", "--extra-index-url=http://i"]
    );
    let uv = "[project]\ndependencies=['a','b']\n[[tool.uv.index]]\nname='o'\nurl='http://o'\nexplicit=true\n[tool.uv.sources]\na={index='o'}\n";
    let (_folder, found) = declared(&[("pyproject.toml", uv)]);
    assert_eq!(found.packages[0].places, ["--index-url=http://o"]);
    assert!(found.packages[1].places.is_empty());
}

#[test]
fn a_locked_package_keeps_its_index() {
    let lock = "[[package]]\nname='ours'\nversion='1'\nsource={registry='https://h.example/simple'}\n";
    let (_folder, found) = declared(&[("uv.lock", lock)]);
    let places = found.pinned("ours").unwrap().places;
    assert_eq!(places, ["--index-url=https://h.example/simple"]);
    assert_eq!(found.pinned("theirs"), None);
}

#[test]
fn versions_of_locks_and_lists_are_pins() {
    let lock = "version = 1\n[[package]]\nname = \"six\"\nversion = \"1.16.0\"\n[[package]]\nname = \"own\"\n\
                [[package]]\nname='f'\nversion='1'\n[[package]]\nname='f'\nversion='2'\n";
    let list = "Markup_Safe==2.1.5\n-c pins.txt\nz==1.*\n";
    let (_folder, found) = declared(&[
        ("uv.lock", lock),
        ("requirements.txt", list),
        ("pins.txt", "q==3\n"),
    ]);
    let pins: Vec<_> = found.pins.values().map(String::as_str).collect();
    assert_eq!(pins, ["markup-safe==2.1.5", "q==3", "six==1.16.0"]);
}

#[test]
fn versions_are_translated() {
    for (theirs, pips) in [
        ("^1.2.3", ">=1.2.3,<2"),
        ("^0.2.3", ">=0.2.3,<0.3"),
        ("^0.0.3", ">=0.0.3,<0.0.4"),
        ("~1.2.3", ">=1.2.3,<1.3"),
        ("~1", ">=1,<2"),
        ("~=1.2", "~=1.2"),
        ("1.2.*", "==1.2.*"),
        (">=1,<2", ">=1,<2"),
        ("*", ""),
    ] {
        assert_eq!(specifier(theirs), pips, "{theirs}");
    }
}
