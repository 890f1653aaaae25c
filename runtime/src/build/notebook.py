"""Executes the code cells of a notebook, as a part of compile.py.

A cell is executed on its own and in order, as Jupyter does it. What only IPython understands is found as IPython finds it,
by tokens, and left out; a cell that fails is noted, and the cells after it are executed all the same. Every code cell is a
file of its own for Python, `NOTEBOOK: cell 3`, so that tracebacks and `inspect.getsource` know its lines.
"""
import __future__
import ast
import asyncio
import collections
import importlib.abc
import importlib.machinery
import inspect
import json
import linecache
import os
import re
import runpy
import shlex
import sys
import textwrap
import tokenize
import types

# Cell magics whose cell is Python of the notebook, so that it is executed. The cells of all others are left out.
EXECUTED = ("capture", "debug", "memit", "prun", "time", "timeit")
WRITING = ("file", "writefile")
SHELLS = ("bash", "sh", "script", "system", "sx", "!")
# Words that IPython takes for a magic where they stand alone in a cell, without `%`.
AUTOMAGIC = ("autoreload", "cat", "cd", "clear", "conda", "cp", "ll", "load_ext", "ls", "mamba", "matplotlib", "mkdir",
             "mv", "pip", "pwd", "rm", "rmdir", "uv", "who", "whos")
STEPS = ("same-step-", "same_step_", "step:", "block:")
A_PIPELINE = re.compile(r"^[ \t]*@(?:\w+\.)*(?:pipeline|graph_component)\b.*?^[ \t]*def\s+(\w+)", re.MULTILINE | re.DOTALL)
# The longest text of an error that is shown of one cell, characters.
LONGEST = 400
# How many cells that failed are shown beside the one that is the reason.
MOST = 6


# A cell that failed, the line where it did, why, the module that is missing, and what the author can do.
Failed = collections.namedtuple("Failed", "cell line why missing hint")


class NotHere(Exception):
    """A cell uses what is not there while a notebook is compiled."""


class Output(list):
    """The output of a shell line, which is not executed: it is empty, and says so where it is used."""

    def __init__(self, command):
        super().__init__()
        self.command = command

    def __getitem__(self, _index):
        raise NotHere(f"there is no output of `{self.command}`: shell lines of a notebook are not executed")

    def __getattr__(self, _name):
        return self[0]


class Inert:
    """Stands for what IPython would show or do: every use of it is possible and does nothing."""

    def __init__(self, *_arguments, **_options):
        pass

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Inert()

    def __call__(self, *_arguments, **_options):
        return Inert()

    def __getitem__(self, _index):
        return Inert()

    def __iter__(self):
        return iter(())

    def __len__(self):
        return 0

    def __contains__(self, _item):
        return False

    def __enter__(self):
        return Inert()

    def __exit__(self, *_error):
        return False


class Shell(Inert):
    """What `get_ipython()` is: of the magics it has those on which later cells rely."""

    def __init__(self, names):
        super().__init__()
        self.user_ns = names

    def getoutput(self, command, *_arguments, **_options):
        return Output(command)

    def run_line_magic(self, name, line="", *_arguments):
        line = self.expanded(line.strip())
        if name in ("env", "set_env") and line:
            return self.environment(line)
        if name == "pwd":
            return os.getcwd()
        if name == "cd" and line:
            return os.chdir(os.path.expanduser(line.split(" ", 1)[1] if line.startswith("-q ") else line))
        if name == "run" and line:
            return self.run_file(line)
        return None

    def magic(self, line):
        name, _, rest = line.lstrip("%").partition(" ")
        return self.run_line_magic(name, rest)

    def expanded(self, line):
        """A magic's line with the values of `{expression}` and `$name`; what has no value stays as it is."""
        def value(found):
            expression = found.group(1) or found.group(2)
            try:
                return found.group(0)[0] if expression is None else str(eval(expression, self.user_ns))
            except Exception:
                return found.group(0)

        return re.sub(r"\{\{|\}\}|\{([^{}]+)\}|\$(\w+)", value, line)

    def environment(self, line):
        name, _, value = line.partition("=" if "=" in line else " ")
        if value:
            os.environ[name.strip()] = value.strip()
        return os.environ.get(name.strip())

    def run_file(self, line):
        words = [word for word in shlex.split(line) if not word.startswith("-")]
        if words and words[0].endswith(".ipynb"):
            raise NotHere(f"`%run {words[0]}` executes another notebook, which is not read; put what it defines into a .py")
        for word in words[:1]:
            self.user_ns.update(runpy.run_path(word if word.endswith(".py") else word + ".py"))


class Stand(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds inert modules for the packages that a notebook has of its kernel, where they are not installed."""

    def __init__(self, shell):
        self.shell = shell

    def find_spec(self, name, _path=None, _target=None):
        if name.split(".")[0] in ("IPython", "ipywidgets"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, _spec):
        return None

    def exec_module(self, module):
        def attribute(name):
            if name.startswith("__"):
                raise AttributeError(name)
            return Inert()

        module.__version__ = "9.0.0"
        module.version_info = (9, 0, 0)
        module.get_ipython = lambda: self.shell
        module.__getattr__ = attribute


def keep_from_clusters():
    """A client of Kubeflow can be made, but asks nothing: to compile a notebook must not start its run. What is asked of it
    fails, because a cell that waits for a run that was never started would wait for ever."""
    import kfp
    import kfp.client

    class Client:
        def __init__(self, *_arguments, **_options):
            pass

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            raise NotHere(f"Client.{name} is not called: a notebook that is compiled asks no cluster")

    kfp.Client = kfp.client.Client = Client


def keep_from_vertex():
    """The same for a pipeline job of Vertex AI, as soon as a cell has imported that."""
    job = getattr(sys.modules.get("google.cloud.aiplatform.pipeline_jobs"), "PipelineJob", None)

    def refuse(*_arguments, **_options):
        raise NotHere("the PipelineJob is not started: a notebook that is compiled starts no run")

    if job is not None:
        job.run = job.submit = job.create_schedule = refuse


class Code:
    """Makes Python of the lines of a cell, line by line: what only IPython understands is replaced."""

    def __init__(self, text):
        self.installed = []
        lines = cleaned(text.replace("\r\n", "\n").replace("\r", "\n"))
        filled = [line for line in lines if line.strip()]
        if len(filled) == 1 and is_automagic(filled[0].strip()):
            lines = [line if not line.strip() else "%" + line.strip() + "\n" for line in lines]
        self.text = "".join(self.python(lines))

    def python(self, lines):
        done, at = [], 0
        while at < len(lines):
            line = lines[at]
            inner = line.strip()
            if not inner or inner.startswith("#"):
                end, made = at + 1, line
            elif inner[0] in "!%?":
                end = continued(lines, at)
                made = indent_of(line) + self.statement(joined(lines[at:end])) + "\n"
            else:
                end, special = statement_end(lines, at)
                made = "".join(lines[at:end])
                if special == (None, None):
                    made = indent_of(line) + "pass\n"
                elif special is not None:
                    row, column = special
                    end = continued(lines, row)
                    first = lines[row]
                    command = joined([first[column:], *lines[row + 1:end]])
                    made = "".join(lines[at:row]) + first[:column] + self.value(command) + "\n"
            # The lines after it keep their numbers.
            done.append(made)
            done.append("\n" * (end - at - made.count("\n")))
            at = end
        return done

    def statement(self, command):
        """Python for a line that is a magic, a shell command or a question for help."""
        if command.endswith("?") or command.startswith(("?", "%%")):
            return "pass"
        if command.startswith("!"):
            self.installed += packages_of(command.lstrip("!"))
            return "pass"
        name, _, rest = command[1:].strip().partition(" ")
        rest = rest.strip()
        if name == "time" and rest:
            return "".join(self.python([rest + "\n"])).strip()
        self.installed += packages_of(command[1:])
        if name in ("cd", "env", "run", "set_env"):
            return f"get_ipython().run_line_magic({name!r}, {rest!r})"
        return "pass"

    def value(self, command):
        """Python for a magic or a shell command whose value is assigned."""
        if command.startswith("!"):
            return f"get_ipython().getoutput({command[1:].strip()!r})"
        name, _, rest = command[1:].strip().partition(" ")
        if name == "time":
            return rest.strip() or "None"
        return f"get_ipython().run_line_magic({name!r}, {rest.strip()!r})" if name in ("env", "pwd") else "None"


def lines_of(text):
    """The lines of a text, each with its end. Only a line feed ends a line of Python."""
    return [line + "\n" for line in text.split("\n")]


def cleaned(text):
    """The lines of a cell without the indentation or the prompts that all of them have."""
    lines = lines_of(text)
    first = next((line for line in lines if line.strip()), "")
    if first[:1] in (" ", "\t"):
        lines = lines_of(textwrap.dedent(text))
    for prompt, any_prompt in ((r">>>( |$)", r"(>>>|\.\.\.)( |$)"), (r"In \[\d+\]: ", r"(In \[\d+\]: |\s*\.{3,}: ?)")):
        if re.match(prompt, first.lstrip()):
            lines = [re.sub("^" + any_prompt, "", line, count=1) for line in lines]
    return lines


def is_automagic(line):
    if line.split()[0] not in AUTOMAGIC:
        return False
    try:
        ast.parse(line)
    except SyntaxError:
        return True
    return line in AUTOMAGIC


def indent_of(line):
    return line[:len(line) - len(line.lstrip())]


def continued(lines, at):
    """The end of a line that goes on after a backslash."""
    while at + 1 < len(lines) and lines[at].endswith("\\\n"):
        at += 1
    return at + 1


def joined(lines):
    return " ".join(line.rstrip().rstrip("\\").strip() for line in lines)


def statement_end(lines, at):
    """The line after the statement that begins at a line, and what of it only IPython understands: None, the line and column
    of the `!` or `%` that is assigned, or twice None for a question for help."""
    depth, assigned = 0, False
    is_help = False
    try:
        for token in tokenize.generate_tokens(iter(lines[at:]).__next__):
            text, row = token.string, at + token.start[0] - 1
            if token.type in (tokenize.NEWLINE, tokenize.ENDMARKER):
                asked = is_help and lines[row].rstrip().endswith("?")
                return min(row + 1, len(lines)), (None, None) if asked else None
            if token.type not in (tokenize.OP, tokenize.ERRORTOKEN):
                assigned = False
                continue
            if text.isspace():
                continue
            if assigned and text in ("!", "%"):
                return row + 1, (row, token.start[1])
            is_help = is_help or text == "?"
            depth += (text in "([{") - (text in ")]}")
            assigned = text == "=" and depth == 0
    except (tokenize.TokenError, SyntaxError):
        # The statement does not end. Python says what is wrong with it.
        pass
    return len(lines), None


def packages_of(command):
    """The released packages that a shell line installs."""
    found = []
    for part in re.split(r"&&|\|\||[;|\n]", command):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:
            words = part.split()
        at = next((at for at, word in enumerate(words) if re.fullmatch(r"(.*/)?pip[\d.]*", word)), None)
        if at is None or "install" not in words[at + 1:]:
            continue
        rest = iter(words[words.index("install", at) + 1:])
        for word in rest:
            if word in ("-r", "--requirement", "-c", "--constraint", "-i", "--index-url", "--extra-index-url", "-f",
                        "--find-links", "-t", "--target", "-e", "--editable", "--prefix", "--root", "--timeout",
                        "--trusted-host", "--proxy", "--progress-bar", "--upgrade-strategy", "--platform", ">", "2>"):
                next(rest, None)
            elif re.fullmatch(r"[A-Za-z][\w.-]*(\[[\w.,\s-]*\])?\s*([<>=!~]+\s*\d[^/]*)?", word):
                found.append(word)
    return found


class Cell:
    """A code cell: its number among the code cells, and what is executed of it."""

    def __init__(self, number, cell, shown, path):
        source = cell.get("source") or ""
        self.source = source if isinstance(source, str) else "".join(source)
        self.file, self.name = f"{path}: cell {number}", f"{shown}: cell {number}"
        self.number = number
        self.tags = tags_of(cell)
        # Some editors keep the language of a cell beside it.
        language = ((cell.get("metadata") or {}).get("vscode") or {}).get("languageId", "python")
        self.magic, self.argument, self.captured = None if language == "python" else language, "", None
        body = self.without_magic(self.source)
        self.is_left = self.magic is not None or "skip" in self.tags
        code = Code("" if self.is_left else body)
        self.text, self.installed = code.text, code.installed
        if self.magic in SHELLS:
            self.installed = [name for line in self.source.replace("\\\n", " ").split("\n") for name in packages_of(line)]

    def without_magic(self, source):
        """The source without the cell magics whose cell is executed; another one is kept in `magic`."""
        lines = source.split("\n")
        for at, line in enumerate(lines):
            if not line.strip():
                continue
            found = re.match(r"%%(\S+)\s*(.*)", line.strip())
            if found is None or found.group(1).endswith("?"):
                break
            if found.group(1) not in EXECUTED:
                self.magic, self.argument = found.groups()
                break
            words = [word for word in found.group(2).split() if not word.startswith("-")]
            if found.group(1) == "capture" and words:
                self.captured = words[0]
            lines[at] = ""
        return "\n".join(lines)

    def pipelines(self):
        return A_PIPELINE.findall(self.source)


def tags_of(cell):
    tags = cell.get("metadata", {}).get("tags", [])
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


class Notebook:
    """A notebook whose cells were executed."""

    def __init__(self, path, shown, refused, explain):
        self.path, self.shown, self.refused, self.explain = path, shown, refused, explain
        self.left_out = []
        self.cells = self.read()
        self.refuse_steps()
        self.module = types.ModuleType("__notebook__")
        self.module.__file__ = path
        sys.modules[self.module.__name__] = self.module
        self.names = self.module.__dict__
        self.flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)

    def read(self):
        try:
            with open(self.path, encoding="utf-8-sig") as file:
                notebook = json.load(file)
            cells = notebook["cells"]
            code = [cell for cell in cells if cell.get("cell_type") == "code"]
            metadata = notebook.get("metadata", {})
            language = (metadata.get("language_info", {}).get("name") or metadata.get("kernelspec", {}).get("language"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            at = f" (line {error.lineno}: {error.msg})" if isinstance(error, json.JSONDecodeError) else ""
            raise self.refused(f"it is not a notebook of version 4{at}; save it again with Jupyter, or convert it with "
                               "`jupyter nbconvert --to notebook`")
        if language not in (None, "python", "python3", "ipython"):
            raise self.refused(f"its language is {language}; only notebooks in Python are read")
        return [Cell(number, cell, self.shown, self.path) for number, cell in enumerate(code, 1)]

    def refuse_steps(self):
        """Refuses a notebook whose steps are made into a pipeline by another tool, and one that names no pipeline."""
        executed = [cell for cell in self.cells if not cell.is_left]
        tags = {tag for cell in self.cells for tag in cell.tags if tag.startswith(STEPS)}
        if any(cell.pipelines() for cell in executed):
            return
        if tags:
            raise self.refused(f"its cells are tagged as steps ({', '.join(sorted(tags))}); write the steps as components "
                               "of a @dsl.pipeline, or export the notebook as a pipeline with the tool that tags it, and "
                               "give that file")
        self.refuse_left()
        if not any("pipeline" in cell.text or "component" in cell.text for cell in executed):
            raise self.refused("none of its cells has a @dsl.pipeline; write its steps as components of a @dsl.pipeline")

    def refuse_left(self):
        """Refuses a notebook whose pipeline is in a cell that is not executed."""
        for cell in self.cells:
            if not cell.is_left or not cell.pipelines():
                continue
            if cell.magic in WRITING:
                file = next((word for word in cell.argument.split() if not word.startswith("-")), "a file")
                there = os.path.exists(os.path.join(os.path.dirname(self.path), file))
                first = "" if there else "execute that cell, and "
                raise self.refused(f"the cell writes the pipeline to {file} with `%%{cell.magic}`, which is not done here; "
                                   f"{first}give {file} in place of the notebook", [cell.name, 1])
            why = "is tagged `skip`" if "skip" in cell.tags else f"begins with `%%{cell.magic}`"
            raise self.refused(f"the pipeline is in a cell that {why}, and so is not executed; remove that", [cell.name, 1])

    def execute(self):
        """Executes the cells in the folder of the notebook, as Jupyter does it."""
        shell = Shell(self.names)
        self.names.update(get_ipython=lambda: shell, display=Inert())
        sys.meta_path.append(Stand(shell))
        sys.path.insert(0, "")
        # A window would wait for somebody who closes it.
        os.environ.setdefault("MPLBACKEND", "Agg")
        keep_from_clusters()
        before = os.getcwd()
        os.chdir(os.path.dirname(self.path))
        for cell in self.cells:
            try:
                self.execute_cell(cell)
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                self.left_out.append(self.failure(cell, error))
        os.chdir(before)
        return self.module

    def execute_cell(self, cell):
        linecache.cache[cell.file] = (len(cell.text), None, lines_of(cell.text), cell.file)
        if cell.captured:
            self.names[cell.captured] = types.SimpleNamespace(stdout="", stderr="", outputs=[], show=Inert())
        tree = compile(cell.text, cell.file, "exec", self.flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        for statement in tree.body:
            try:
                self.execute_statement(statement, cell.file)
            except ImportError as error:
                # One package that is not there does not keep the others of a cell from being imported.
                failed = self.failure(cell, error)
                if not isinstance(statement, (ast.Import, ast.ImportFrom)) or not failed.missing:
                    raise
                self.left_out.append(failed)

    def execute_statement(self, statement, file):
        code = compile(ast.Module([statement], []), file, "exec", self.flags, dont_inherit=True)
        for name in __future__.all_feature_names:
            self.flags |= code.co_flags & getattr(__future__, name).compiler_flag
        keep_from_vertex()
        done = eval(code, self.names)
        if inspect.iscoroutine(done):
            self.loop.run_until_complete(done)

    def failure(self, cell, error):
        told = self.explain(error)
        lines, trace = [], error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == cell.file:
                lines.append(trace.tb_lineno)
            trace = trace.tb_next
        line = lines[-1] if lines else 1
        if isinstance(error, SyntaxError) and error.filename == cell.file:
            line = error.lineno or 1
        text = str(error) if isinstance(error, NotHere) else told["refused"]
        why = " ".join(("it ends the program" if isinstance(error, SystemExit) else text).split()).rstrip(".")
        why = why if len(why) <= LONGEST else why[:LONGEST] + "…"
        place = told.get("place")
        if place and place[0] != cell.name:
            why += f" (in {placed(*place)})"
        for writer in self.cells:
            stem = os.path.splitext(os.path.basename(writer.argument.split(" ")[-1]))[0]
            if writer.magic in WRITING and stem and re.search(rf"\b{re.escape(stem)}\b", why):
                why += f" (cell {writer.number} writes it with `%%{writer.magic}`, which is not done here: execute it first)"
                return Failed(cell, line, why, None, "")
        return Failed(cell, line, why, told.get("missing"), told.get("hint", ""))

    def lost(self, wanted):
        """The failures because of which the pipeline (or the one of the wanted name) is not there."""
        found = []
        for failed in self.left_out:
            for name in failed.cell.pipelines():
                code = getattr(getattr(self.names.get(name), "pipeline_func", None), "__code__", None)
                number = next((one.number for one in self.cells if code and one.file == code.co_filename), 0)
                if number < failed.cell.number and wanted in (None, name):
                    found.append(failed)
        return found

    def check(self, wanted):
        if self.lost(wanted):
            self.refuse(wanted, "there is no pipeline")

    def has_pipeline(self):
        return any(hasattr(value, "pipeline_func") for value in list(self.names.values()))

    def reason(self, wanted):
        """The failure that the author mends first: where a name is missing, that of the cell that would have defined it."""
        reason = (self.lost(wanted) or self.left_out)[0]
        for earlier in reversed(self.left_out[:self.left_out.index(reason)]):
            missing = re.match(r"NameError: name '(\w+)'", reason.why)
            rest = "\n".join(earlier.cell.source.split("\n")[earlier.line - 1:])
            if missing and re.search(rf"\b{missing.group(1)}\b|import \*|^\s*%run ", rest):
                reason = earlier
        return reason

    def refuse(self, wanted, why):
        """Refuses the notebook because it has no pipeline."""
        if not self.left_out:
            self.refuse_left()
            raise self.refused(why)
        reason = self.reason(wanted)
        others = [f"cell {one.cell.number}, line {one.line}: {one.why}" for one in self.left_out if one is not reason]
        more = "; also failed: " + "; ".join(others[:MOST]) if others else ""
        more += f"; and {len(others) - MOST} more" if len(others) > MOST else ""
        skip = "tag the cell `skip` if the pipeline does not need it"
        text, further = f"{reason.why}{reason.hint}", f"; or {skip}{more}"
        if not reason.missing and not reason.hint:
            text += (f", so {why}; let the cell work without a cluster and its data, or {skip} (or let "
                     "SAMEBUNDLE_KFP_PYTHON name a Python that has what it imports)")
            further = more
        refusal = self.refused(text, [reason.cell.name, reason.line])
        refusal.missing, refusal.further = reason.missing, further
        raise refusal

    def told(self):
        """What the answer says of the notebook beside its pipeline."""
        names = [name for cell in self.cells for name in cell.installed]
        return {"installs": list(dict.fromkeys(names)),
                "left_out": [{"place": [one.cell.name, one.line], "why": one.why, "missing": one.missing}
                             for one in self.left_out]}


def placed(file, line):
    """A place as it is shown: the line of a cell is one of the cell."""
    return f"{file}, line {line}" if re.search(r": cell \d+$", file) else f"{file}:{line}"
