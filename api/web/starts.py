"""What the page to submit from opens with: a template, a preset, or what was submitted before."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml
from sqlalchemy.orm import Session

from api.http import NotFound
from api.routes.jobs import find_job
from api.routes.reports import write_document
from api.routes.studies import find_study
from api.web.catalog import find_choice, write_template
from store.db import Job
from store.studies import studies
from studies.presets import NotOffered, UnknownPreset, find_preset
from studies.report import spec_text
from studies.spec import read_study
from trainer.spec import JobSpec


@dataclass(frozen=True, slots=True)
class Template:
    """A file of the command's, to start from."""

    title: str
    file: str


TEMPLATES = {
    "study": Template("A first study, with comments", "template.yaml"),
    "demo": Template("The demo: norms in a network of sigmoids, on digits", "demo.yaml"),
    "job": Template("A single job", "job.yaml"),
}


@dataclass(frozen=True, slots=True)
class Start:
    """The text that the page opens with, and what to know about it. `address`: the page that it comes from."""

    title: str
    text: str
    note: str
    address: str | None = None


def from_template(name: str, dataset: str | None) -> Start:
    """`dataset`: one in place of the digits."""
    if name not in TEMPLATES:
        raise NotFound(f"there is no template {name!r}; the templates are {', '.join(TEMPLATES)}")
    text = _read_template(TEMPLATES[name].file)
    if dataset:
        # A text of JSON is one of YAML as well, whatever the name holds.
        text = text.replace("{name: digits}", f"{{name: {json.dumps(dataset)}}}")
    note = (
        "A study compares variants; a job is a single training. Change the document as you like, and see what "
        "it would train before you submit it."
    )
    return Start(TEMPLATES[name].title, text, note)


@cache
def _read_template(file: str) -> str:
    return (resources.files("normlab") / file).read_text(encoding="utf-8")


def from_preset(name: str, scale: str | None, dataset: str | None) -> Start:
    try:
        preset = find_preset(name)
        document = preset.document(scale or preset.usual_scale, dataset)
    except (UnknownPreset, NotOffered) as error:
        raise NotFound(str(error)) from error
    note = (
        "Submitted from here, it is your own study, with the preset's claims. To count it among the preset's runs, run it "
        "unchanged from the preset's page."
    )
    text = spec_text(document, tuple(document["variants"]))
    return Start(f"Preset {preset.name}", text, note, f"/presets/{preset.name}")


def from_catalog(address: str) -> Start:
    """`address`: `norms/group`."""
    found = find_choice(address)
    if found is None:
        raise NotFound(f"the catalogue has no template {address!r}")
    section, choice = found
    note = (
        f"A study that compares {choice.kind} with not using it, all else being equal. Change the model, the dataset and "
        "whatever else you like."
    )
    return Start(
        f"Catalogue: {choice.kind}", write_template(section, choice), note, f"/catalog#{section}"
    )


def from_study(session: Session, study_id: int) -> Start:
    study = find_study(session, study_id)
    spec = read_study(study.spec)
    # What a study was given by itself was part of it when it was written.
    if spec.until is not None or sorted(spec.seed_list) == study.planned_seeds:
        text = write_document(session, study)
    else:
        # Seeds were added to it since it was written.
        text = spec_text(study.spec, tuple(studies.variants_of(session, study_id)))
    return Start(study.name, text, _again("study"), f"/studies/{study_id}")


def from_job(session: Session, job_id: int) -> Start:
    job = _find_training(session, job_id)
    return Start(job.name, _write_spec(job.spec), _again("job"), f"/jobs/{job_id}")


def from_weights(session: Session, job_id: int) -> Start:
    """Its spec, with its weights to begin from in place of those that it began from itself."""
    job = _find_training(session, job_id)
    note = (
        "A job that starts from the best weights of this one: change the dataset, the learning rate or anything else. "
        "With reset_head: true it initializes the last layer again, for other classes."
    )
    text = _write_spec({**job.spec, "init_from": {"job": job_id}})
    return Start(job.name, text, note, f"/jobs/{job_id}")


def _find_training(session: Session, job_id: int) -> Job:
    job = find_job(session, job_id)
    if job.kind != "training":
        raise NotFound(f"job {job_id} is not a training: it decoded a dataset")
    return job


def _write_spec(spec: Mapping[str, Any]) -> str:
    """Through its class, for the order in which one writes it: the database keeps none."""
    ordered = JobSpec.model_validate(spec).model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(
        ordered, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )


def _again(kind: str) -> str:
    return f"Change what you like: you submit a new {kind}, and this one stays unchanged."
