//! Notebooks: what of their cells is executed, what a cell that fails does, and where faults are.

use samebundle_tests::{Sandbox, Test, skip, tests};
use serde_json::{Value, json};

use crate::projects::{Project, UNPREPARED};

pub(crate) const TESTS: &[Test] = tests![
    what_only_a_notebook_understands_is_left_out,
    a_cell_that_fails_is_left_out_with_a_note,
    a_notebook_without_its_pipeline_is_refused_at_the_cell_that_failed,
    faults_of_a_notebook_point_into_its_cells,
    a_package_that_a_shell_line_installs_is_fetched
];

/// A pipeline in a cell of its own, whose parameter has the value of a name as its default.
fn pipeline(value: &str) -> String {
    format!(
        "from kfp import dsl\n\n@dsl.component(base_image='python:3.11')\ndef add(a: int, b: int) -> int:\n    return a + b\n\n\
         @dsl.pipeline(name='train')\ndef train(a: int = {value}) -> int:\n    return add(a=a, b=2).output\n"
    )
}

fn code(source: &str) -> Value {
    json!({"cell_type": "code", "metadata": {}, "source": source})
}

fn tagged(source: &str, tag: &str) -> Value {
    json!({"cell_type": "code", "metadata": {"tags": [tag]}, "source": source})
}

fn notebook(cells: &[Value]) -> String {
    json!({"nbformat": 4, "metadata": {}, "cells": cells}).to_string()
}

fn project(sandbox: &Sandbox) -> Option<Project> {
    Project::new(sandbox, &[("pipeline.ipynb", notebook(&[code(&pipeline("1"))]))])
}

fn what_only_a_notebook_understands_is_left_out() {
    let sandbox = Sandbox::new();
    let Some(project) = project(&sandbox) else {
        return skip(UNPREPARED);
    };
    let of = |cell: &str| notebook(&[code(cell), code(&pipeline("A"))]);
    for (cell, why) in [
        (
            "! pip install kfp \\\n    six\nA = 1",
            "a shell line of two lines",
        ),
        ("if True:\n    %matplotlib inline\n    !ls\nA = 1", "in a block"),
        ("A = !git config user.name\nA = len(A)", "an output, assigned"),
        ("b = %magic it's\nA = 1 if b is None else b", "a magic, assigned"),
        ("?print\nprint??\nprint?\n??\nA = 1", "questions for help"),
        (
            "A = (7\n% 4)\nassert A == 3\nA = A \\\n% 2\nassert A == 1",
            "no magic",
        ),
        (
            "T = '''\n%name\n!note\nx?\n'''\nassert len(T) == 16\nA = 1  # !no",
            "in a string",
        ),
        ("%%capture out\n%%time\nA = 1", "cell magics of Python"),
        (
            "A = 1\n%time A = 2\nassert A == 2\nA = %time len('x')",
            "a timed statement",
        ),
        (
            "%env ROOT=x{1 + 1}\nimport os\nassert os.environ['ROOT'] == 'x2'\nA = 1",
            "the environment",
        ),
        (
            "get_ipython().system('false')\nfrom IPython.display import HTML\ndisplay(HTML('x'))\nA = 1",
            "IPython",
        ),
        (
            "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 1\nA = await f()",
            "await",
        ),
        (">>> def f():\n...     return 1\n>>> A = f()", "prompts"),
        ("\n    A = 1\n    B = 2", "an indented cell"),
        (
            "def f():\n    !ls \\\n      -l\n    return 1\r\nA = f()",
            "in a function",
        ),
    ] {
        project.write("pipeline.ipynb", &of(cell));
        let ran = project.call(&["lint"]).ok();
        assert!(
            ran.stdout.contains("0 notes"),
            "{why}: {}{}",
            ran.stdout,
            ran.stderr
        );
    }
    let cells = [
        json!({"cell_type": "markdown", "metadata": {}, "source": ["# A text"]}),
        code("pip install kfp"),
        code("%%bash\nexit 1"),
        code("%%html\n<p>"),
        tagged("raise ValueError()", "skip"),
        code(&pipeline("1")),
    ];
    project.write("pipeline.ipynb", &notebook(&cells));
    let ran = project.call(&["lint"]).ok();
    assert!(ran.stdout.contains("0 notes"), "{}", ran.stderr);
    let _ = project.call(&["build"]).ok();
}

fn a_cell_that_fails_is_left_out_with_a_note() {
    let sandbox = Sandbox::new();
    let Some(project) = project(&sandbox) else {
        return skip(UNPREPARED);
    };
    for (cell, wanted) in [
        (
            "x = 1\nopen('data.csv')",
            "cell 2, line 2: the cell failed and was left out from there on: FileNotFoundError",
        ),
        (
            "import os, nosuchmodule",
            "cell 2, line 1: the cell failed and was left out from there on: No module named",
        ),
        (
            "def f(:\n  pass",
            "cell 2, line 1: the cell failed and was left out from there on: SyntaxError",
        ),
        (
            "import sys\nsys.exit(1)",
            "cell 2, line 2: the cell failed and was left out from there on: it ends the program",
        ),
        (
            "import sys, types\nm = sys.modules['google.cloud.aiplatform.pipeline_jobs'] = types.ModuleType('m')\n\
             class PipelineJob: pass\nm.PipelineJob = PipelineJob\nPipelineJob().submit()",
            "cell 2, line 5: the cell failed and was left out from there on: the PipelineJob is not started",
        ),
        (
            "import kfp\nclient = kfp.Client(host='http://127.0.0.1:1')\nrun = client.create_run_from_pipeline_func(train)\n\
             while run.state != 'SUCCEEDED':\n    pass",
            "cell 2, line 3: the cell failed and was left out from there on: Client.create_run_from_pipeline_func",
        ),
    ] {
        let cells = [code(&pipeline("1")), code(cell), code("y = 1\nassert y == 2")];
        project.write("pipeline.ipynb", &notebook(&cells));
        let ran = project.call(&["lint"]).ok();
        assert!(
            ran.stderr.contains(&format!("pipeline.ipynb: {wanted}")),
            "{}",
            ran.stderr
        );
        assert!(
            ran.stderr.contains("; so was cell 3, line 2: AssertionError"),
            "{}",
            ran.stderr
        );
        assert!(ran.stdout.contains("1 notes"), "{}", ran.stdout);
    }
    // A package that is missing does not keep the others of its cell from being imported.
    let cells = [
        code("import nosuchmodule\nimport os\nA = 1"),
        code(&pipeline("A")),
    ];
    project.write("pipeline.ipynb", &notebook(&cells));
    let ran = project.call(&["lint"]).ok();
    assert!(ran.stderr.contains("cell 1, line 1: "), "{}", ran.stderr);
}

fn a_notebook_without_its_pipeline_is_refused_at_the_cell_that_failed() {
    let sandbox = Sandbox::new();
    let Some(project) = project(&sandbox) else {
        return skip(UNPREPARED);
    };
    let good = pipeline("1");
    let written = format!("%%writefile train.py\n{good}");
    for (cells, wanted) in [
        (
            vec![code("x = 1\nA = undefined"), code(&pipeline("A"))],
            vec![
                "pipeline.ipynb: cell 1, line 2: NameError: name 'undefined' is not defined, so there is no pipeline",
                "tag the cell `skip`",
                "SAMEBUNDLE_KFP_PYTHON",
                "; also failed: cell 2, line 8: NameError: name 'A' is not defined",
            ],
        ),
        (
            vec![
                code("import nosuchmodule\nA = nosuchmodule.A"),
                code(&pipeline("A")),
            ],
            vec![
                "pipeline.ipynb: cell 1, line 1: No module named 'nosuchmodule': the project declares no packages",
                "requirements.txt",
                "or tag the cell `skip`",
            ],
        ),
        // An older pipeline of the name is not taken for the one whose cell failed.
        (
            vec![code(&good), code(&format!("1 / 0\n{good}"))],
            vec![
                "pipeline.ipynb: cell 2, line 1: ZeroDivisionError: division by zero, so there is no pipeline",
            ],
        ),
        (
            vec![code(&written)],
            vec![
                "pipeline.ipynb: cell 1, line 1: the cell writes the pipeline to train.py",
                "give train.py in place",
            ],
        ),
        (
            vec![tagged(&good, "skip")],
            vec!["pipeline.ipynb: cell 1, line 1: the pipeline is in a cell that is tagged `skip`"],
        ),
        (
            vec![tagged("x = 1", "same-step-1"), tagged("y = 1", "block:b")],
            vec!["pipeline.ipynb: its cells are tagged as steps (block:b, same-step-1)"],
        ),
        (
            vec![code(&good), code(&good.replace("train", "predict"))],
            vec!["pipeline.ipynb: it has several pipelines: predict, train"],
        ),
    ] {
        project.write("pipeline.ipynb", &notebook(&cells));
        let refused = project.call(&["lint"]).exits(1);
        for wanted in wanted {
            assert!(refused.stderr.contains(wanted), "{wanted}: {}", refused.stderr);
        }
    }
    project.write("pipeline.ipynb", "{\"cells\": [\n<<<<<<<");
    let refused = project.call(&["lint"]).exits(1);
    assert!(
        refused
            .stderr
            .contains("it is not a notebook of version 4 (line 2"),
        "{}",
        refused.stderr
    );
}

fn faults_of_a_notebook_point_into_its_cells() {
    let sandbox = Sandbox::new();
    let Some(project) = project(&sandbox) else {
        return skip(UNPREPARED);
    };
    let good = pipeline("1");
    let wanted = "pipeline.ipynb: cell 2, line 10: TypeError: add() got an unexpected keyword argument";
    let text = format!("!ls\n{}", good.replace("b=2", "c=2"));
    project.write("pipeline.ipynb", &notebook(&[code("x = 1\n\n"), code(&text)]));
    let refused = project.call(&["lint"]).exits(1);
    assert!(refused.stderr.contains(wanted), "{wanted}: {}", refused.stderr);
}

fn a_package_that_a_shell_line_installs_is_fetched() {
    let sandbox = Sandbox::new();
    let Some(project) = project(&sandbox) else {
        return skip(UNPREPARED);
    };
    let cells = [
        code("!pip install --quiet 'python-dotenv==1.0.1' -r none.txt > /dev/null 2>&1"),
        code("import dotenv"),
        code(&pipeline("1 if dotenv.find_dotenv else 2")),
    ];
    project.write("pipeline.ipynb", &notebook(&cells));
    let _ = project.call(&["build"]).ok();
    let lock = project.lock();
    let wheel = &lock["compile"][0]["wheels"][0]["file"];
    assert_eq!(wheel, "python_dotenv-1.0.1-py3-none-any.whl");
    let _ = project.call(&["build"]).ok();
    assert_eq!(project.lock(), lock, "the choice was not kept");
    // One that cannot be had matters only to a pipeline that needs it.
    let wrong = code("!pip install python-dotenv==0.0.999");
    let cells = [wrong.clone(), code("import dotenv"), code(&pipeline("1"))];
    project.write("pipeline.ipynb", &notebook(&cells));
    let ran = project.call(&["lint"]).ok();
    assert!(
        ran.stderr.contains("cell 2, line 1: the cell failed"),
        "{}",
        ran.stderr
    );
    let cells = [wrong, code("import dotenv"), code(&pipeline("dotenv.A"))];
    project.write("pipeline.ipynb", &notebook(&cells));
    let refused = project.call(&["lint"]).exits(1);
    let wanted =
        "pipeline.ipynb: cell 2, line 1: dotenv is imported, and what the project declares cannot be fetched";
    assert!(refused.stderr.contains(wanted), "{}", refused.stderr);
}
