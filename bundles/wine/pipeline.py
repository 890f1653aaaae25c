# An ordinary pipeline, as the README shares it: pandas and scikit-learn, a loop and a condition, no samebundle.yaml yet.
from typing import List

from kfp import dsl
from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output

PACKAGES = ["pandas==2.2.3", "scikit-learn==1.5.2"]


@dsl.component(base_image="python:3.11", packages_to_install=PACKAGES)
def load(rows: int, table: Output[Dataset], summary: Output[Dataset]):
    import pandas as pd
    from sklearn.datasets import load_wine

    wine = load_wine(as_frame=True)
    frame = wine.frame.sample(n=rows, random_state=0)
    frame.to_csv(table.path, index=False)
    frame.groupby("target")[["alcohol", "ash"]].mean().round(3).reset_index().to_csv(summary.path, index=False)


@dsl.component(base_image="python:3.11", packages_to_install=PACKAGES)
def train(
    table: Input[Dataset],
    trees: int,
    depth: int,
    model: Output[Model],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    roc: Output[ClassificationMetrics],
) -> float:
    import joblib
    import pandas as pd
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, roc_curve
    from sklearn.model_selection import train_test_split

    frame = pd.read_csv(table.path)
    x, y = frame.drop(columns="target"), frame["target"]
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0)
    forest = RandomForestClassifier(n_estimators=trees, max_depth=depth, random_state=0).fit(x_train, y_train)
    predicted, odds = forest.predict(x_test), forest.predict_proba(x_test)
    print("training rows:", len(x_train))
    joblib.dump(forest, model.path)
    model.metadata["framework"] = "scikit-learn"
    metrics.log_metric("accuracy", accuracy_score(y_test, predicted))
    metrics.log_metric("log_loss", log_loss(y_test, odds))
    confusion.log_confusion_matrix(["barolo", "grignolino", "barbera"], confusion_matrix(y_test, predicted).tolist())
    fpr, tpr, thresholds = roc_curve(y_test == 0, odds[:, 0])
    roc.log_roc_curve(fpr.tolist(), tpr.tolist(), thresholds.clip(max=1).tolist())
    return accuracy_score(y_test, predicted)


@dsl.component(base_image="python:3.11")
def choose(depths: List[int], accuracies: List[float]) -> float:
    for depth, accuracy in zip(depths, accuracies):
        print(f"depth {depth}: {accuracy:.3f}")
    return max(accuracies)


@dsl.component(base_image="python:3.11")
def praise(accuracy: float, report: Output[HTML], notes: Output[Markdown]):
    with open(report.path, "w") as file:
        file.write(f"<!doctype html><h1>Wine</h1><p>{accuracy:.3f} of the bottles are told apart</p>")
    with open(notes.path, "w") as file:
        file.write(f"# Notes\n\n* accuracy {accuracy:.3f}\n")


@dsl.pipeline(name="wine")
def wine(rows: int = 178, trees: int = 20, depths: List[int] = [1, 3], wanted: float = 0.9):
    loaded = load(rows=rows)
    with dsl.ParallelFor(depths) as depth:
        trained = train(table=loaded.outputs["table"], trees=trees, depth=depth)
    best = choose(depths=depths, accuracies=dsl.Collected(trained.outputs["Output"]))
    with dsl.If(best.output >= wanted):
        praise(accuracy=best.output)
