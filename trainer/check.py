"""Checks a spec against its model and dataset, without weights and without data.

Everything is counted on the meta device: big models take seconds and no memory. `--serve` forks helpers
(`trainer.fork_server`) that answer JSON lines {id, spec, info} with {id, report}, or {id, error} for what is
not a spec at all; and {id, preview or classes, info, folder} with {id, picture} (base64) or {id, refused}.
"""

import base64
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import torch
from pydantic import ValidationError

from trainer.case import Case, examine
from trainer.check_augmentation import AUGMENTATION_CHECKS, AUGMENTATION_WARNINGS
from trainer.check_batches import BATCH_CHECKS, BATCH_WARNINGS
from trainer.check_data import DATA_CHECKS, DATA_WARNINGS
from trainer.check_dropping import DROPPING_WARNINGS
from trainer.check_model import MODEL_CHECKS, MODEL_WARNINGS
from trainer.check_norms import NORM_CHECKS, NORM_WARNINGS
from trainer.check_optimizer import OPTIMIZER_CHECKS
from trainer.check_regularizers import REGULARIZER_CHECKS, REGULARIZER_WARNINGS
from trainer.check_task import TASK_CHECKS
from trainer.class_pictures import draw_classes
from trainer.dependence import examine_dependence
from trainer.diagnostics import choose_layers
from trainer.errors import DataError, ModelError, SurgeryError
from trainer.fork_server import serve_forks
from trainer.library import model_names
from trainer.models import build_with_report, count_parameters
from trainer.order import Order
from trainer.preview import draw_preview
from trainer.spec import DatasetInfo, JobSpec
from trainer.spec.preview import ClassPictures, Preview
from trainer.spec.report import Examples, Layer, Problem, Report

log = logging.getLogger(__name__)

CHECKS: tuple[Callable[[Case], Iterator[Problem]], ...] = (
    *TASK_CHECKS,
    *MODEL_CHECKS,
    *DATA_CHECKS,
    *AUGMENTATION_CHECKS,
    *REGULARIZER_CHECKS,
    *OPTIMIZER_CHECKS,
    *NORM_CHECKS,
    *BATCH_CHECKS,
)
WARNINGS: tuple[Callable[[Case], Iterator[str]], ...] = (
    *MODEL_WARNINGS,
    *DATA_WARNINGS,
    *AUGMENTATION_WARNINGS,
    *REGULARIZER_WARNINGS,
    *DROPPING_WARNINGS,
    *NORM_WARNINGS,
    *BATCH_WARNINGS,
)


def check(spec: JobSpec, info: DatasetInfo) -> Report:
    """Never raises for what a spec says: whatever is wrong is in the report."""
    case = examine(spec, info)
    problems = [problem for find in CHECKS for problem in find(case)]
    parameters, notes = 0, case.notes
    if not problems:
        try:
            parameters, rehearsal_notes, problems = _rehearse(case)
            notes += rehearsal_notes
        except (ModelError, SurgeryError) as error:
            problems.append(as_problem(error))
    return Report(
        problems=tuple(problems),
        warnings=tuple(warning for find in WARNINGS for warning in find(case)),
        notes=notes,
        parameters=parameters,
        layers=tuple(
            Layer(name=s.name, kind=s.kind, channels=s.channels, positions=s.positions)
            for s in case.sites
        ),
        examples=Examples(train=case.sizes.train, val=case.sizes.val, test=case.sizes.test),
        steps=0 if problems or not case.batches else _count_steps(case),
    )


def _count_steps(case: Case) -> int:
    spec = case.spec
    return Order(spec.training, case.sizes.train, spec.seed, torch.device("cpu")).plan().total_steps


def _rehearse(case: Case) -> tuple[int, tuple[str, ...], list[Problem]]:
    """The real operation, on a model without weights: it finds what no single check knows. Then, whether
    the model that it made looks at its images. Gives the number of parameters, notes and problems."""
    with torch.device("meta"):
        model, surgery = build_with_report(case.spec, case.info, case.survey)
        choose_layers(model, case.spec.diagnostics)
    dependence = examine_dependence(case, model)
    problems = [dependence.blind] if dependence.blind else []
    return count_parameters(model), (*surgery.notes, *dependence.notes), problems


def as_problem(error: ModelError | SurgeryError) -> Problem:
    return Problem(pointer=error.pointer, layer=error.layer, detail=str(error), remedy=error.remedy)


def serve(questions: IO[bytes], answers: IO[str]) -> None:
    """One line in, one line out, until the questions end; no question ends it."""
    for line in questions:
        _say(answers, answer(line))


def _say(answers: IO[str], document: dict[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


def answer(line: bytes) -> dict[str, Any]:
    """The report for one question, or its error."""
    question: Any = None
    try:
        question = json.loads(line)
        if "preview" in question or "classes" in question:
            return {"id": question.get("id"), **_picture(question)}
        spec = JobSpec.model_validate(question["spec"])
        report = check(spec, DatasetInfo.model_validate(question["info"]))
        return {"id": question.get("id"), "report": report.model_dump(mode="json")}
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        log.warning("a question was refused", exc_info=True)
        return {"id": _id(question), "error": f"{type(error).__name__}: {error}"}
    except Exception as error:  # the helper outlives every question; the cause is in its log
        log.exception("a question failed")
        return {"id": _id(question), "error": f"{type(error).__name__}: {error}"}


def _picture(question: Any) -> dict[str, Any]:
    info, folder = DatasetInfo.model_validate(question["info"]), Path(question["folder"])
    try:
        if "preview" in question:
            picture = draw_preview(Preview.model_validate(question["preview"]), info, folder)
        else:
            wanted = ClassPictures.model_validate(question["classes"])
            picture = draw_classes(wanted, info, folder)
    except DataError as error:
        return {"refused": str(error)}
    return {"picture": base64.b64encode(picture).decode()}


def _id(question: Any) -> Any:
    return question.get("id") if isinstance(question, dict) else None


def main() -> None:
    if sys.argv[1:] != ["--serve"]:
        sys.exit("usage: python -m trainer.check --serve")
    logging.basicConfig(stream=sys.stderr)
    # Everything that a check needs is loaded, and nothing is computed: see `serve_forks`.
    torch.set_num_threads(1)
    for library in ("torchvision", "timm"):
        model_names(library)
    serve_forks(serve)


if __name__ == "__main__":
    main()
