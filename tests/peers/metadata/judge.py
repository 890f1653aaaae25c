#!/usr/bin/env python3
"""What the programs of others say about runs that were sent to them; prints one JSON document.

    judge.py mlflow URL              all runs of a tracking server, read back by MLflow's client
    judge.py mlflow-table URL ID PATH  a table of a run, as MLflow's client loads it
    judge.py crate DIR               what roc-validator finds, at the severity "required"
    judge.py openlineage FILE        the events of a file, each made again with the classes of OpenLineage's client

Nothing is fetched. The two contexts of a crate, which the validator would ask w3id.org for, are made here of the terms
that are used, so that a term that is missing here is missing to the validator too.
"""
import hashlib
import json
import math
import os
import sys
import tempfile

SCHEMA = "http://schema.org/"
BIOSCHEMAS = "https://bioschemas.org/"
RUN = "https://w3id.org/ro/terms/workflow-run#"
PLAIN = """ComputerLanguage ControlAction CreateAction CreativeWork Dataset HowTo HowToStep OrganizeAction PropertyValue
    SoftwareApplication SoftwareSourceCode about actionStatus additionalType alternateName contentSize datePublished
    description encodingFormat endTime error exampleOfWork hasPart identifier instrument license mainEntity mentions name
    object position programmingLanguage propertyID result softwareVersion startTime step url value valueRequired version
    workExample"""
CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": {
        **{term: SCHEMA + term for term in PLAIN.split()},
        "File": SCHEMA + "MediaObject",
        "conformsTo": "http://purl.org/dc/terms/conformsTo",
        "ComputationalWorkflow": BIOSCHEMAS + "ComputationalWorkflow",
        "FormalParameter": BIOSCHEMAS + "FormalParameter",
        "input": BIOSCHEMAS + "ComputationalWorkflow#input",
        "output": BIOSCHEMAS + "ComputationalWorkflow#output",
    },
    "https://w3id.org/ro/terms/workflow-run/context": {
        term: RUN + term for term in "ContainerImage DockerImage containerImage registry sha256".split()
    },
}


def mlflow(url):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(url)
    found = []
    for experiment in client.search_experiments():
        page = None
        while True:
            runs = client.search_runs([experiment.experiment_id], page_token=page)
            for run in runs:
                found.append(read_back(client, experiment.name, run))
            page = runs.token
            if not page:
                break
    return found


def read_back(client, experiment, run):
    run_id = run.info.run_id
    with tempfile.TemporaryDirectory() as folder:
        # A few hundred runs are counted, not downloaded.
        artifacts = {}
        if os.environ.get("ARTIFACTS"):
            client.download_artifacts(run_id, "", folder)
            for top, _, names in os.walk(folder):
                for name in names:
                    path = os.path.join(top, name)
                    with open(path, "rb") as file:
                        artifacts[os.path.relpath(path, folder)] = hashlib.sha256(file.read()).hexdigest()
    history = {}
    for name in run.data.metrics if os.environ.get("ARTIFACTS") else []:
        history[name] = [[number(m.value), m.timestamp, m.step] for m in client.get_metric_history(run_id, name)]
    return {
        "experiment": experiment,
        "id": run_id,
        "name": run.info.run_name,
        "status": run.info.status,
        "start": run.info.start_time,
        "end": run.info.end_time,
        "params": run.data.params,
        "metrics": history,
        "tags": run.data.tags,
        "artifacts": artifacts,
    }


def number(value):
    """A number as JSON can hold it."""
    return value if math.isfinite(value) else {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]


def mlflow_table(url, run_id, path):
    import mlflow as library
    from mlflow.tracking import MlflowClient

    library.set_tracking_uri(url)
    client = MlflowClient(url)
    table = client.load_table(client.get_run(run_id).info.experiment_id, path, [run_id])
    return {"columns": list(table.columns), "rows": table.values.tolist()}


class Answer:
    """The answer of a server that has a context."""

    status_code = 200
    headers = {"Content-Type": "application/ld+json"}

    def __init__(self, context):
        self.context = context
        self.text = json.dumps(context)

    def json(self):
        return self.context


def crate(folder):
    import rdflib.plugins.parsers.jsonld as parser
    import rdflib.plugins.shared.jsonld.context as context
    import rdflib.plugins.shared.jsonld.util as util

    fetch = util.source_to_json

    def source_to_json(source, *more, **options):
        if isinstance(source, str) and source in CONTEXTS:
            return {"@context": CONTEXTS[source]}, None
        return fetch(source, *more, **options)

    for module in (parser, context, util):
        if hasattr(module, "source_to_json"):
            module.source_to_json = source_to_json

    from rocrate_validator import models, services
    from rocrate_validator.utils.http import HttpRequester

    HttpRequester.get = lambda self, url, **_: Answer({"@context": CONTEXTS[url]})
    with open(os.path.join(folder, "ro-crate-metadata.json"), encoding="utf-8") as file:
        profiles = json.dumps(json.load(file)["@graph"])
    profile = "provenance-run-crate" if "wfrun/provenance/" in profiles else "workflow-run-crate"
    settings = services.ValidationSettings(
        rocrate_uri=folder, profile_identifier=profile, requirement_severity=models.Severity[LEVEL]
    )
    result = services.validate(settings)
    issues = [[issue.check.identifier, issue.message, issue.violatingEntity] for issue in result.get_issues()]
    checked = len(result.executed_checks)
    return {"profile": profile, "issues": issues, "checks": checked}


LEVEL = os.environ.get("LEVEL", "REQUIRED")


def openlineage(path):
    from openlineage.client import event_v2 as events
    from openlineage.client import facet_v2 as facets
    from openlineage.client.serde import Serde

    known = {
        "parent": facets.parent_run.ParentRunFacet,
        "nominalTime": facets.nominal_time_run.NominalTimeRunFacet,
        "processing_engine": facets.processing_engine_run.ProcessingEngineRunFacet,
        "errorMessage": facets.error_message_run.ErrorMessageRunFacet,
        "jobType": facets.job_type_job.JobTypeJobFacet,
        "version": facets.dataset_version_dataset.DatasetVersionDatasetFacet,
        "outputStatistics": facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
    }

    def made(facets):
        result = {}
        for name, facet in facets.items():
            if not (facet.get("_producer") and facet.get("_schemaURL")):
                raise ValueError(f"facet {name} names no producer or schema")
            fields = {key: value for key, value in facet.items() if not key.startswith("_")}
            if name in known:
                if name == "parent":
                    fields = {
                        "run": facets_of_parent.Run(**fields["run"]),
                        "job": facets_of_parent.Job(**fields["job"]),
                    }
                facet_made = known[name](**fields)
                if facet_made._get_schema() != facet["_schemaURL"]:
                    raise ValueError(f"facet {name} names {facet['_schemaURL']}")
                result[name] = facet_made
            elif not name.startswith("samebundle_"):
                raise ValueError(f"facet {name} is neither known nor ours")
        return result

    facets_of_parent = facets.parent_run
    found = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            event = json.loads(line)
            run = events.Run(runId=event["run"]["runId"], facets=made(event["run"]["facets"]))
            job = events.Job(
                namespace=event["job"]["namespace"], name=event["job"]["name"], facets=made(event["job"]["facets"])
            )
            sets = {}
            for side, kind in (("inputs", events.InputDataset), ("outputs", events.OutputDataset)):
                sets[side] = []
                for one in event[side]:
                    extra = {}
                    if "outputFacets" in one:
                        extra["outputFacets"] = made(one["outputFacets"])
                    sets[side].append(
                        kind(namespace=one["namespace"], name=one["name"], facets=made(one["facets"]), **extra)
                    )
            again = events.RunEvent(
                eventTime=event["eventTime"],
                producer=event["producer"],
                run=run,
                job=job,
                eventType=events.RunState(event["eventType"]),
                **sets,
            )
            if again._get_schema() != event["schemaURL"]:
                raise ValueError(f"the event names {event['schemaURL']}")
            Serde.to_json(again)
            found.append(event)
    return found


def main():
    kind, *arguments = sys.argv[1:]
    # What these programs print of themselves is not the document.
    shown, sys.stdout = sys.stdout, sys.stderr
    kinds = {"mlflow": mlflow, "mlflow-table": mlflow_table, "crate": crate, "openlineage": openlineage}
    json.dump(kinds[kind](*arguments), shown)


main()
