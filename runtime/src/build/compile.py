"""Compiles one pipeline of an author's project with the kfp SDK.

    compile.py REQUEST ANSWER

REQUEST and ANSWER are JSON files. The project's code runs as its author runs it: in the project's folder, with that
folder and the pipeline's on the path. What went wrong is written to ANSWER with its place in the author's file, and the
exit code is 0; another exit code means that this program itself failed.
"""
import ast
import contextlib
import importlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback

FOLDER = os.path.dirname(os.path.abspath(__file__))
REQUEST = json.load(open(sys.argv[1]))
ANSWER = sys.argv[2]
PROJECT = REQUEST["project"]
PIPELINE = REQUEST["pipeline"]
TASKS = {}
GROUPS = []
CALLED = set()
CONSTRAINTS = []
HASHES = {}
COMMITS = {}
NOTES = []
SAID = io.StringIO()
NOTEBOOKS = []


class Refused(Exception):
    """The author's sources cannot be compiled, and this says why."""

    def __init__(self, why, place=None):
        super().__init__(why)
        self.place = place
        self.missing = self.further = None


def shown(path):
    """A path as the author knows it: relative to the project's folder."""
    path = os.path.abspath(path)
    return os.path.relpath(path, PROJECT) if path.startswith(PROJECT + os.sep) else path


def is_authors(path):
    """Tells whether a file is of the project, and not of a package that is installed in it."""
    if path.startswith("<"):
        # Frozen modules and generated code have no file.
        return False
    path = os.path.abspath(path)
    return path.startswith(PROJECT + os.sep) and not any(
        part in ("site-packages", "dist-packages") for part in path.split(os.sep))


def place_of_caller():
    """The innermost line of the author's that is being executed."""
    frame = sys._getframe(1)
    while frame is not None:
        if is_authors(frame.f_code.co_filename):
            return [shown(frame.f_code.co_filename), frame.f_lineno]
        frame = frame.f_back
    return None


def watch():
    """Notes for each task and each group of tasks (a loop, a condition) the line that makes it."""
    from kfp.dsl import base_component, pipeline_context

    def add_task(self, task, add_to_group, inner=pipeline_context.Pipeline.add_task):
        name = inner(self, task, add_to_group)
        TASKS.setdefault(self.name, {})[name] = place_of_caller()
        return name

    def push(self, group, inner=pipeline_context.Pipeline.push_tasks_group):
        GROUPS.append((self.name, group, place_of_caller()))
        return inner(self, group)

    def call(self, *args, inner=base_component.BaseComponent.__call__, **kwargs):
        CALLED.add(id(self))
        return inner(self, *args, **kwargs)

    pipeline_context.Pipeline.add_task = add_task
    pipeline_context.Pipeline.push_tasks_group = push
    base_component.BaseComponent.__call__ = call


def requirement_lines(path, place, seen=()):
    """The lines of a file of requirements, with those of the files that it names."""
    if path in seen:
        return
    if "://" in path:
        raise Refused(f"a component installs what {path} lists: a list at an address may say something else each time; "
                      "put it into the project", place)
    try:
        text = open(path, encoding="utf-8-sig").read()
    except OSError as error:
        raise Refused(f"a component installs what {shown(path)} lists, which cannot be read: {error.strerror}", place)
    except UnicodeDecodeError:
        raise Refused(f"a component installs what {shown(path)} lists, which is not in UTF-8", place)
    for line in text.replace("\\\n", " ").splitlines():
        line = re.split(r"(?:^|\s)#", line)[0].strip()
        if not line:
            continue
        given = re.findall(r"\s--hash[= ](\S+)", line)
        line = re.split(r"\s--hash[= ]", line)[0].strip()
        if given:
            known = [digest for digest in given if digest.startswith("sha256:")]
            if not known:
                raise Refused(f"{shown(path)} gives no sha256 digest of {line}, and no other one is checked", place)
            HASHES.setdefault(line, []).extend(known)
        name, _, value = line.partition(" ")
        if "=" in name and name.startswith("--"):
            name, value = name.split("=", 1)
        elif name[:2] in ("-r", "-c", "-e", "-i", "-f") and len(name) > 2 and not name.startswith("--"):
            name, value = name[:2], name[2:]
        value = value.strip()
        name = {"-i": "--index-url", "-f": "--find-links"}.get(name, name)
        if name == "--find-links" and os.path.isdir(os.path.join(os.path.dirname(path), value)):
            value = os.path.abspath(os.path.join(os.path.dirname(path), value))
        if name in ("-r", "--requirement", "-c", "--constraint"):
            kind = "-c" if name in ("-c", "--constraint") else None
            inner = value if "://" in value else os.path.join(os.path.dirname(path), value)
            for found in requirement_lines(inner, place, (*seen, path)):
                yield (kind or found[0], found[1])
        elif name in ("-e", "--editable"):
            yield ("", os.path.join(os.path.dirname(path), value) if value.startswith(".") else value)
        elif name.startswith("-"):
            yield ("option", f"{name}={value}" if value else name)
        else:
            yield ("", line)


def project_file(word, place):
    """A file that a component names: beside the component, or in the project's folder."""
    folder = os.path.dirname(os.path.join(PROJECT, place[0])) if place else PROJECT
    beside = os.path.join(folder, word)
    return beside if os.path.exists(beside) else os.path.join(PROJECT, word)


def is_source(word, place):
    """Tells whether a requirement is a folder, a file or an address, and no released package."""
    path = word.split("[")[0]
    return (word.startswith(("git+", "hg+", "svn+", "bzr+")) or " @ " in word or "://" in word
            or word.startswith((".", "/")) or path.endswith((".whl", ".tar.gz", ".zip"))
            or ("/" in path and os.path.isdir(project_file(path, place))))


def pinned(word, place):
    """An address of a git repository with its commit in place of a branch or tag; other addresses as they are."""
    if "git+" not in word:
        return word
    before, rest = word.split("git+", 1)
    address, hash_mark, fragment = rest.partition("#")
    at = address.rfind("@")
    has_version = at > address.find("/", address.find("://") + 3)
    address, version = (address[:at], address[at + 1:]) if has_version else (address, "HEAD")
    commit = REQUEST["commits"].get(word)
    if commit is None and len(version) == 40 and all(letter in "0123456789abcdef" for letter in version):
        commit = version
    if commit is None:
        # Of a tag that is an object of its own, the second answer is the commit.
        done = subprocess.run(["git", "ls-remote", address, version, version + "^{}"], capture_output=True, text=True,
                              env={**os.environ, "GIT_TERMINAL_PROMPT": "0"})
        answers = done.stdout.split("\n")[:-1]
        if done.returncode != 0 or not answers:
            why = done.stderr.strip() or f"the repository has no {version}"
            raise Refused(f"{word!r}, which a component installs, cannot be had: {why}", place)
        commit = answers[-1].split()[0]
    COMMITS[word] = commit
    return f"{before}git+{address}@{commit}{hash_mark}{fragment}"


def wheel_of(word, place):
    """Makes a wheel of a folder, file or address, and returns the requirement that the wheel satisfies."""
    spec, extras = word, ""
    if not ("://" in word or " @ " in word):
        path, bracket, rest = word.partition("[")
        extras = bracket + rest
        spec = os.path.abspath(project_file(path, place))
        if not os.path.exists(spec):
            raise Refused(f"a component installs {word!r}, and there is no such file or folder in the project", place)
    known = REQUEST["built"].get(word)
    if known is not None and word in REQUEST["commits"]:
        COMMITS[word] = REQUEST["commits"][word]
    if known is None:
        if "://" in word:
            spec = pinned(word, place)
        with tempfile.TemporaryDirectory() as folder:
            command = [REQUEST["python"], "-m", "pip", "wheel", "--quiet", "--no-input", "--disable-pip-version-check",
                       "--no-deps", "--wheel-dir", folder, *REQUEST["pip"], spec]
            environment = {**os.environ, "SOURCE_DATE_EPOCH": "315532800"}
            environment.pop("PYTHONPATH", None)
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode != 0:
                said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
                raise Refused(f"no wheel can be made of {word!r}, which a component installs:\n{said}", place)
            known = os.listdir(folder)[0]
            if not known.endswith("-none-any.whl"):
                raise Refused(f"{word!r}, which a component installs, is not pure Python: its wheel would be for this "
                              "machine only; install a released package", place)
            shutil.move(os.path.join(folder, known), os.path.join(REQUEST["wheels"], known))
        REQUEST["built"][word] = known
    name, version = known.split("-")[:2]
    return f"{name}{extras}=={version}"


def known_to_the_project(words):
    """The words of a component's `pip install` with what only the project has replaced by released packages."""
    place = place_of_caller()
    rewritten, constraints = [], []
    # One string may hold an option and its value.
    flat = []
    for word in words:
        parts = word.split(None, 1) if word.startswith("-") else [word]
        if word[:2] in ("-r", "-c", "-e") and len(parts) == 1 and len(word) > 2 and not word.startswith("--"):
            parts = [word[:2], word[2:].lstrip("=")]
        elif word.startswith(("--requirement=", "--constraint=", "--editable=")):
            parts = word.split("=", 1)
        flat.extend(parts)
    todo = iter(flat)
    for word in todo:
        if word in ("-r", "--requirement", "-c", "--constraint"):
            found = list(requirement_lines(project_file(next(todo, ""), place), place))
            if word in ("-c", "--constraint"):
                found = [("-c", line) for kind, line in found if kind != "option"]
            constraints += [line for kind, line in found if kind == "-c"]
            rewritten += [line for kind, line in found if kind in ("", "option")]
        elif word not in ("-e", "--editable"):
            rewritten.append(word)
    rewritten = [wheel_of(word, place) if is_source(word, place) and not word.startswith("-") else word
                 for word in rewritten]
    if constraints:
        CONSTRAINTS.append({"requirements": [word for word in rewritten if not word.startswith("-")],
                            "constraints": constraints})
    return rewritten


def read_requirements_of_the_project():
    """What a component installs from a file or folder of the project is not in a container: it is replaced."""
    from kfp.dsl import component_factory
    inner = component_factory.make_pip_install_command

    def make(install_parts, index_url_options):
        return inner(known_to_the_project(install_parts), index_url_options)

    component_factory.make_pip_install_command = make


def module_name():
    """The dotted name of the pipeline's module, and the folder from which that name counts.

    A file in a package (a folder with __init__.py) is imported as a part of it, so that relative imports work."""
    folder, file = os.path.split(PIPELINE)
    parts = [os.path.splitext(file)[0]]
    while os.path.exists(os.path.join(folder, "__init__.py")) and folder.startswith(PROJECT + os.sep):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    return parts, folder


class Aliases:
    """Finds packages of the project whose folder has another name."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        folder = REQUEST["aliases"].get(name)
        start = folder and os.path.join(folder, "__init__.py")
        if not start or not os.path.exists(start):
            return None
        return importlib.util.spec_from_file_location(name, start, submodule_search_locations=[folder])


class NoServer:
    """Stands in for a client of a Kubeflow server: many pipelines submit themselves where they are imported."""

    def __init__(self, *args, **kwargs):
        place = place_of_caller()
        at = f"{place[0]}:{place[1]}: " if place else ""
        NOTES.append(at + "kfp.Client does nothing while a pipeline is compiled")

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args, **kwargs):
        return self

    def __getitem__(self, key):
        return self

    def __iter__(self):
        return iter(())

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        return False


def load():
    """Imports the pipeline's module."""
    parts, root = module_name()
    folder = os.path.dirname(PIPELINE)
    sys.meta_path.append(Aliases)
    given = [path for path in sys.path[1:] if path]
    # A module of a package is not the package of the same name.
    own = [root, PROJECT, folder]
    source = os.path.join(PROJECT, "src")
    if os.path.isdir(source):
        own.append(source)
    # What the author's PYTHONPATH names comes first, as it does without this program.
    named = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    rest = [path for path in given if path not in named]
    sys.path[:] = list(dict.fromkeys([*named, *own, *rest, *REQUEST["packages"]]))
    if PIPELINE.endswith(".ipynb"):
        return from_notebook()
    dotted = [".".join(parts)]
    # Without __init__.py a folder can be a package all the same.
    below = os.path.relpath(PIPELINE, PROJECT)
    if not below.startswith(".."):
        dotted.append(os.path.splitext(below)[0].replace(os.sep, "."))
    name = dotted[0]
    if len(parts) == 1 and not name.isidentifier() or name in sys.modules or shadows(name):
        return from_file("pipeline")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if "relative import" in str(error) and dotted[-1] != name:
            return importlib.import_module(dotted[-1])
        raise


def shadows(name):
    """Tells whether a module's name is that of a module of Python or of a package that comes before it."""
    if "." in name:
        return False
    spec = importlib.util.find_spec(name) if name not in sys.builtin_module_names else None
    return spec is None or spec.origin is None or os.path.abspath(spec.origin) != PIPELINE


def from_file(name):
    spec = importlib.util.spec_from_file_location(name, PIPELINE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def from_notebook():
    """Executes the cells of a notebook as a module."""
    spec = importlib.util.spec_from_file_location("samebundle_notebook", os.path.join(FOLDER, "notebook.py"))
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    NOTEBOOKS.append(program.Notebook(PIPELINE, shown(PIPELINE), Refused, answer_to))
    return NOTEBOOKS[0].execute()


def place_of(function):
    code = getattr(function, "__code__", None)
    return [shown(code.co_filename), code.co_firstlineno] if code else None


def choose(module):
    """Picks the pipeline (or the only component) of a module."""
    from kfp.dsl import base_component, graph_component
    graphs, components = {}, {}
    for attribute in dir(module):
        found = getattr(module, attribute)
        if isinstance(found, graph_component.GraphComponent):
            graphs.setdefault(id(found), (attribute, found))
        elif isinstance(found, base_component.BaseComponent):
            components.setdefault(id(found), (attribute, found))
    wanted = REQUEST["function"]
    every = [*graphs.values(), *components.values()]
    if wanted is not None:
        for attribute, found in every:
            if wanted == attribute or wanted == found.name:
                return found
        made = made_by(module, wanted)
        if made is not None:
            return made
        named = graphs.values() or components.values()
        names = ", ".join(sorted(attribute for attribute, _ in named)) or "none"
        raise Refused(f"there is no pipeline {wanted!r} in it; there are: {names}", [shown(PIPELINE), 1])
    candidates = list(graphs.values())
    if len(candidates) > 1:
        # Those that others are made of, and those that are imported from elsewhere, are parts.
        own = [one for one in candidates if place_of(one[1].pipeline_func)
               and os.path.join(PROJECT, place_of(one[1].pipeline_func)[0]).split(": cell ")[0] == PIPELINE]
        candidates = own or candidates
        tops = [one for one in candidates if id(one[1]) not in CALLED]
        candidates = tops or candidates
    factories = factories_of()
    if not candidates and factories:
        names = ", ".join(factories)
        raise Refused(f"its pipeline is made by a function ({names}): call it at the end of the file and keep what it "
                      "returns (`pipeline = make()`), choose it with --pipeline NAME if it needs no arguments, or "
                      "compile to YAML and give that file", [shown(PIPELINE), 1])
    if not candidates and len(components) == 1:
        candidates = list(components.values())
    if len(candidates) == 1:
        return candidates[0][1]
    if candidates:
        names = ", ".join(sorted(attribute for attribute, _ in candidates))
        raise Refused(f"it has several pipelines: {names}; choose one with --pipeline NAME, or with "
                      "`program: {function: NAME}` in samebundle.yaml", [shown(PIPELINE), 1])
    raise Refused("there is no function with @dsl.pipeline in it", [shown(PIPELINE), 1])


def factories_of():
    """Names of the functions of the pipeline's file that make a pipeline when they are called."""
    try:
        tree = ast.parse(open(PIPELINE, encoding="utf-8").read())
    except (SyntaxError, UnicodeDecodeError):
        return []

    def is_pipeline(decorator):
        call = decorator.func if isinstance(decorator, ast.Call) else decorator
        return getattr(call, "attr", getattr(call, "id", None)) == "pipeline"

    return [outer.name for outer in tree.body if isinstance(outer, ast.FunctionDef)
            and any(isinstance(inner, ast.FunctionDef) and any(map(is_pipeline, inner.decorator_list))
                    for inner in ast.walk(outer) if inner is not outer)]


def made_by(module, name):
    """What a function of the pipeline's file returns, if that is a pipeline and the function needs no arguments."""
    from kfp.dsl import graph_component
    function = getattr(module, name, None)
    if name not in factories_of() or not callable(function):
        return None
    try:
        made = function()
    except TypeError as error:
        raise Refused(f"{name}() needs arguments: {error}; call it at the end of the file, and keep what it returns",
                      place_of(function))
    return made if isinstance(made, graph_component.GraphComponent) else None


# What the SDK had in version 1 only.
VERSION_1 = re.compile(r"\b(ContainerOp|ResourceOp|VolumeOp|func_to_container_op|create_component_from_func\w*"
                       r"|get_pipeline_conf|PipelineConf|kfp\.v2|kfp\.onprem|kfp\.gcp|kfp\.aws|components\.InputPath"
                       r"|components\.OutputPath|python_component|add_pvolumes|use_k8s_secret)\b")


def hint(error, place):
    """What the author can do about an error, where its text does not say it."""
    frames = traceback.extract_tb(error.__traceback__)
    inner = frames[-1].filename if frames else ""
    if isinstance(error, KeyError) and (inner == "<frozen os>" or os.path.basename(inner) == "os.py"):
        return f"; the environment variable {error.args[0]} is not set: set it where you build, or give it a default"
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, str) and not os.path.isabs(error.filename):
        beside = os.path.join(os.path.dirname(PIPELINE), error.filename)
        if os.path.exists(beside):
            return (f"; it lies beside the pipeline ({shown(beside)}), and pipelines are compiled in the folder of "
                    "samebundle.yaml: build the path from __file__, or put samebundle.yaml beside the pipeline")
    for file in {PIPELINE, *([os.path.join(PROJECT, place[0])] if place else [])}:
        try:
            text = open(file, encoding="utf-8").read()
        except (OSError, UnicodeDecodeError):
            continue
        found = VERSION_1.search(text)
        if found:
            return (f"; {shown(file)} is written for version 1 of the SDK ({found.group()}), whose pipelines are not "
                    "read: Kubeflow's guide to migrate to version 2 says how to write it")
    return ""


def chosen_of(module):
    """The pipeline of a module. Of a notebook it may be missing because a cell failed, which is said then."""
    for notebook in NOTEBOOKS:
        notebook.check(REQUEST["function"])
    try:
        return choose(module)
    except Refused as refusal:
        for notebook in NOTEBOOKS:
            if REQUEST["function"] is not None or not notebook.has_pipeline():
                notebook.refuse(REQUEST["function"], str(refusal))
        raise


def compile_pipeline():
    from kfp import compiler
    import kfp
    kfp.Client = kfp.client.Client = NoServer
    watch()
    read_requirements_of_the_project()
    # The file sees the command line of its own name.
    sys.argv = [PIPELINE]
    with contextlib.redirect_stderr(SAID):
        module = load()
    chosen = chosen_of(module)
    # The name by which a group is known is final only after its pipeline is.
    for pipeline, group, place in GROUPS:
        TASKS.setdefault(pipeline, {}).setdefault(group.name, place)
    compiler.Compiler().compile(pipeline_func=chosen, package_path=REQUEST["output"])
    tasks = {}
    for pipeline in [name for name in TASKS if name != chosen.name] + [chosen.name]:
        tasks.update({name: place for name, place in TASKS.get(pipeline, {}).items() if place})
    return {"tasks": tasks, "pipeline": place_of(getattr(chosen, "pipeline_func", None)), "constraints": CONSTRAINTS,
            "notes": NOTES, "hashes": HASHES,
            "built": {word: {"file": file, "commit": COMMITS.get(word)} for word, file in REQUEST["built"].items()}}


def place_of_error(error):
    """The author's innermost line in a traceback; of a syntax error, its own."""
    if isinstance(error, SyntaxError) and error.filename and is_authors(error.filename):
        return [shown(error.filename), error.lineno or 1]
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if is_authors(frame.filename)]
    return [shown(lines[-1].filename), lines[-1].lineno] if lines else None


def answer_to(error):
    """What is answered where the author's code fails; `hint` says what to do about it."""
    place = place_of_error(error)
    if isinstance(error, Refused):
        advice = hint(error, None) if error.further is None else ""
        return {"refused": str(error), "hint": advice, "place": error.place, "missing": error.missing,
                "further": error.further}
    if isinstance(error, ModuleNotFoundError):
        advice = hint(error, place) if (error.name or "").split(".")[0] == "kfp" else ""
        return {"missing": error.name or str(error), "refused": str(error), "hint": advice, "place": place}
    if isinstance(error, ImportError):
        # `from kfp import kubernetes` fails so if the package is not there, and so does every part of a namespace.
        part = re.match(r"cannot import name '([^']+)' from '([^']+)'", str(error))
        is_namespace = part and getattr(sys.modules.get(part.group(2)), "__file__", None) is None
        is_missing = part and (is_namespace or part.groups() == ("kubernetes", "kfp"))
        missing = ".".join(reversed(part.groups())) if is_missing else None
        advice = hint(error, place) if missing is None else ""
        return {"missing": missing, "refused": f"ImportError: {error}", "hint": advice, "place": place}
    if isinstance(error, SystemExit):
        said = SAID.getvalue().strip().splitlines()
        why = f": {said[-1]}" if said else ""
        return {"refused": f"it ends the program with exit code {error.code} where it is imported{why}; put what is not "
                           "the pipeline below `if __name__ == \"__main__\":`", "place": place}
    if isinstance(error, KeyboardInterrupt):
        return {"refused": "it interrupts the program where it is imported", "place": place}
    if isinstance(error, SyntaxError):
        return {"refused": f"{type(error).__name__}: {error.msg}", "place": place}
    text = "".join(traceback.format_exception_only(type(error), error)).strip()
    return {"refused": text, "hint": hint(error, place), "place": place}


def main():
    try:
        answer = compile_pipeline()
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        answer = answer_to(error)
        answer["refused"] += answer.pop("hint", "")
    for notebook in NOTEBOOKS:
        answer.update(notebook.told())
    with open(ANSWER, "w") as file:
        json.dump(answer, file)
    if NOTEBOOKS:
        # A thread that a cell has started does not keep this program alive.
        sys.stdout.flush()
        os._exit(0)


main()
