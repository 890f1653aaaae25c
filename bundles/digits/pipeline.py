"""Handwritten digits: load, split, train, evaluate, report.

An ordinary Kubeflow pipeline: each component installs what it needs with pip when it runs. Equal parameters give equal
output bytes: seeds are parameters, training is one thread, and what is written holds no time, no host name and no pickle.
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

BASE = "python:3.11"
SKLEARN = ["scikit-learn==1.5.2"]


@dsl.component(base_image=BASE, packages_to_install=SKLEARN)
def load(digits: Output[Dataset]):
    """Write scikit-learn's bundled digits: a line each, 64 pixels (0 to 16), then the digit."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    with open(digits.path, "w") as file:
        for row, label in zip(pixels, labels):
            file.write(",".join(str(int(value)) for value in [*row, label]) + "\n")
    digits.metadata["rows"] = len(labels)
    digits.metadata["classes"] = 10


@dsl.component(base_image=BASE, packages_to_install=SKLEARN)
def split(
    digits: Input[Dataset],
    test_fraction: float,
    seed: int,
    train_rows: Output[Dataset],
    test_rows: Output[Dataset],
):
    """Put a part of the rows aside for the test, the same share of every digit."""
    from sklearn.model_selection import train_test_split

    with open(digits.path) as file:
        rows = file.readlines()
    labels = [row.rsplit(",", 1)[1] for row in rows]
    train, test = train_test_split(rows, test_size=test_fraction, random_state=seed, stratify=labels)
    for artifact, part in ((train_rows, train), (test_rows, test)):
        with open(artifact.path, "w") as file:
            file.writelines(part)
        artifact.metadata["rows"] = len(part)


@dsl.component(base_image=BASE, packages_to_install=SKLEARN)
def train(train_rows: Input[Dataset], epochs: int, learning_rate: float, seed: int, model: Output[Model]) -> int:
    """Train a linear classifier, one pass over the rows an epoch; the model is JSON. Returns the steps taken."""
    import json
    import os

    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import numpy as np
    from sklearn.linear_model import SGDClassifier

    rows = np.loadtxt(train_rows.path, delimiter=",")
    pixels, labels = rows[:, :-1] / 16.0, rows[:, -1].astype(int)
    classifier = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=learning_rate, random_state=seed)
    order = np.random.default_rng(seed)
    for epoch in range(epochs):
        shuffled = order.permutation(len(labels))
        classifier.partial_fit(pixels[shuffled], labels[shuffled], classes=np.arange(10))
        print(f"epoch {epoch + 1}/{epochs}: accuracy on the training rows {classifier.score(pixels, labels):.4f}")
    with open(model.path, "w") as file:
        json.dump({"coefficients": classifier.coef_.tolist(), "intercepts": classifier.intercept_.tolist()}, file)
    model.metadata["framework"] = "scikit-learn"
    model.metadata["epochs"] = epochs
    return epochs * len(labels)


@dsl.component(base_image=BASE, packages_to_install=SKLEARN)
def evaluate(
    test_rows: Input[Dataset],
    model: Input[Model],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
) -> float:
    """Measure the model on the rows put aside. Returns the accuracy."""
    import json
    import os

    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import numpy as np
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

    rows = np.loadtxt(test_rows.path, delimiter=",")
    pixels, labels = rows[:, :-1] / 16.0, rows[:, -1].astype(int)
    with open(model.path) as file:
        learned = json.load(file)
    scores = pixels @ np.array(learned["coefficients"]).T + np.array(learned["intercepts"])
    found = scores.argmax(axis=1)
    accuracy = float(accuracy_score(labels, found))
    metrics.log_metric("accuracy", accuracy)
    metrics.log_metric("f1_macro", float(f1_score(labels, found, average="macro")))
    metrics.log_metric("rows", len(labels))
    confusion.log_confusion_matrix([str(digit) for digit in range(10)], confusion_matrix(labels, found).tolist())
    return accuracy


@dsl.component(base_image=BASE)
def report(
    title: str,
    epochs: int,
    accuracy: float,
    metrics: Input[Metrics],
    confusion: Input[ClassificationMetrics],
    page: Output[HTML],
):
    """Write the page that a person reads."""
    from html import escape

    matrix = confusion.metadata["confusionMatrix"]
    names = [spec["displayName"] for spec in matrix["annotationSpecs"]]
    lines = [f"<!doctype html><html><head><meta charset=utf-8><title>{escape(title)}</title></head><body>"]
    lines.append(f"<h1>{escape(title)}</h1><p>{epochs} epochs, accuracy {accuracy:.4f}</p><table>")
    for name in sorted(metrics.metadata):
        if isinstance(metrics.metadata[name], (int, float)):
            lines.append(f"<tr><th>{escape(name)}</th><td>{metrics.metadata[name]:.4f}</td></tr>")
    lines.append("</table><h2>Confusion matrix</h2><table><tr><th></th>")
    lines.extend(f"<th>{escape(name)}</th>" for name in names)
    lines.append("</tr>")
    for name, row in zip(names, matrix["rows"]):
        cells = "".join(f"<td>{int(value)}</td>" for value in row["row"])
        lines.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    lines.append("</table></body></html>")
    with open(page.path, "w") as file:
        file.write("\n".join(lines) + "\n")


class Outputs(NamedTuple):
    """What a run of the pipeline gives."""

    accuracy: float
    steps: int
    model: Model
    metrics: Metrics
    confusion: ClassificationMetrics
    page: HTML


@dsl.pipeline(name="digits", description="Train a classifier of handwritten digits and say how good it is.")
def digits(
    epochs: int = 10,
    learning_rate: float = 0.01,
    test_fraction: float = 0.25,
    seed: int = 7,
    title: str = "Handwritten digits",
) -> Outputs:
    """The pipeline: every parameter has a default and can be set for a run."""
    loaded = load()
    parts = split(digits=loaded.outputs["digits"], test_fraction=test_fraction, seed=seed)
    trained = train(
        train_rows=parts.outputs["train_rows"], epochs=epochs, learning_rate=learning_rate, seed=seed
    )
    trained.set_cpu_limit("2").set_memory_limit("1Gi")
    judged = evaluate(test_rows=parts.outputs["test_rows"], model=trained.outputs["model"])
    told = report(
        title=title,
        epochs=epochs,
        accuracy=judged.outputs["Output"],
        metrics=judged.outputs["metrics"],
        confusion=judged.outputs["confusion"],
    )
    return Outputs(
        accuracy=judged.outputs["Output"],
        steps=trained.outputs["Output"],
        model=trained.outputs["model"],
        metrics=judged.outputs["metrics"],
        confusion=judged.outputs["confusion"],
        page=told.outputs["page"],
    )
