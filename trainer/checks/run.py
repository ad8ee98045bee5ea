"""Checks a spec against its model and dataset, without weights and without data.

Everything is counted on the meta device: big models take seconds and no memory.
"""

from collections.abc import Callable, Iterator

import torch

from trainer.checks.augmentation import AUGMENTATION_CHECKS, AUGMENTATION_WARNINGS
from trainer.checks.batches import BATCH_CHECKS, BATCH_WARNINGS
from trainer.checks.context import Case, examine
from trainer.checks.data import DATA_CHECKS, DATA_WARNINGS
from trainer.checks.dropout import DROPPING_WARNINGS
from trainer.checks.input_dependence import examine_dependence
from trainer.checks.model import MODEL_CHECKS, MODEL_WARNINGS
from trainer.checks.norms import NORM_CHECKS, NORM_WARNINGS
from trainer.checks.optimizer import OPTIMIZER_CHECKS
from trainer.checks.regularizers import REGULARIZER_CHECKS, REGULARIZER_WARNINGS
from trainer.checks.task import TASK_CHECKS
from trainer.errors import ModelError, SurgeryError
from trainer.evaluation import choose_layers
from trainer.models import build_with_report, count_parameters
from trainer.spec import (
    DatasetInfo,
    Examples,
    JobSpec,
    Layer,
    Problem,
    Report,
)
from trainer.training import Order

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
