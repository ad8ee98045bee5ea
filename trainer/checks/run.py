"""Checks a spec against its model and dataset, without weights and without data.

Everything is counted on the meta device: big models take seconds and no memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch

from trainer.checks.augmentation import AUGMENTATION_CHECKS, AUGMENTATION_WARNINGS
from trainer.checks.batches import BATCH_CHECKS, BATCH_WARNINGS
from trainer.checks.context import CheckContext, build_context, describe_network
from trainer.checks.data import DATA_CHECKS, DATA_WARNINGS, count_rows, warn_many_rows
from trainer.checks.dropout import DROPOUT_WARNINGS
from trainer.checks.initial_weights import Source, check_initial_weights
from trainer.checks.input_dependence import check_input_dependence, is_batch_of_one
from trainer.checks.model import MODEL_CHECKS, MODEL_WARNINGS
from trainer.checks.norms import NORM_CHECKS, NORM_WARNINGS
from trainer.checks.optimizer import (
    OPTIMIZER_CHECKS,
    OPTIMIZER_WARNINGS,
    check_muon_has_matrices,
)
from trainer.checks.regularizers import REGULARIZER_CHECKS, REGULARIZER_WARNINGS
from trainer.checks.task import TASK_CHECKS
from trainer.errors import ModelError, SurgeryError
from trainer.evaluation import choose_layers
from trainer.models import build_with_report, count_parameters, hidden_matrices
from trainer.spec import (
    DatasetInfo,
    Examples,
    JobSpec,
    Layer,
    Muon,
    Problem,
    Report,
)
from trainer.surgery import on_meta
from trainer.training import BatchSampler

CHECKS: tuple[Callable[[CheckContext], Iterator[Problem]], ...] = (
    *TASK_CHECKS,
    *MODEL_CHECKS,
    *DATA_CHECKS,
    *AUGMENTATION_CHECKS,
    *REGULARIZER_CHECKS,
    *OPTIMIZER_CHECKS,
    *NORM_CHECKS,
    *BATCH_CHECKS,
)
WARNINGS: tuple[Callable[[CheckContext], Iterator[str]], ...] = (
    *MODEL_WARNINGS,
    *DATA_WARNINGS,
    *AUGMENTATION_WARNINGS,
    *REGULARIZER_WARNINGS,
    *OPTIMIZER_WARNINGS,
    *DROPOUT_WARNINGS,
    *NORM_WARNINGS,
    *BATCH_WARNINGS,
)


def check(spec: JobSpec, info: DatasetInfo, source: Source | None = None) -> Report:
    """Never raises for what a spec says: whatever is wrong is in the report. `source`: what the job trained whose weights
    the spec begins from."""
    context = build_context(spec, info)
    problems = [problem for find in CHECKS for problem in find(context)]
    parameters, measured, notes = 0, 0, context.notes
    if not problems:
        try:
            parameters, measured, dry_run_notes, problems = _dry_run(context)
            notes += dry_run_notes
            problems += () if problems else check_initial_weights(spec, info, source)
        except (ModelError, SurgeryError) as error:
            problems.append(as_problem(error))
    rows = 0 if problems else count_rows(context.spec, measured)
    return Report(
        problems=tuple(problems),
        warnings=(
            *(warning for find in WARNINGS for warning in find(context)),
            *warn_many_rows(context.spec, rows),
        ),
        notes=notes,
        parameters=parameters,
        layers=tuple(
            Layer(name=s.name, kind=s.kind, channels=s.channels, positions=s.positions)
            for s in context.sites
        ),
        examples=Examples(
            train=context.sizes.train, val=context.sizes.val, test=context.sizes.test
        ),
        steps=0 if problems or not context.batches else _count_steps(context),
        rows=rows,
    )


def _count_steps(context: CheckContext) -> int:
    spec = context.spec
    return (
        BatchSampler(spec.training, context.sizes.train, spec.seed, torch.device("cpu"))
        .plan()
        .total_steps
    )


def _dry_run(context: CheckContext) -> tuple[int, int, tuple[str, ...], list[Problem]]:
    """The real operation, on a model without weights: it finds what no single check knows. Then, whether
    the model that it made depends on its images. Gives the numbers of parameters and of layers that diagnostics measure,
    notes and problems."""
    network = describe_network(context.spec, is_batch_of_one=is_batch_of_one(context))
    tried = _try_network(network, context.info.model_dump_json())
    notes, problems = tried.notes, list(tried.problems)
    if isinstance(context.spec.optimizer, Muon):
        notes += (f"muon moves {tried.matrices} of {tried.parameters} parameters, adamw the rest",)
        problems += check_muon_has_matrices(context.spec, tried.matrices)
    return tried.parameters, tried.measured, notes, problems


@dataclass(frozen=True, slots=True)
class _TriedNetwork:
    """Counts of its parameters, of those in hidden matrices, and of the layers that diagnostics measure."""

    parameters: int
    matrices: int
    measured: int
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]


@lru_cache(maxsize=1024)
def _try_network(network: str, info: str) -> _TriedNetwork:
    """Kept: the arms of a study that differ in the settings of the training alone all ask this."""
    context = build_context(
        JobSpec.model_validate_json(network), DatasetInfo.model_validate_json(info)
    )
    with on_meta():
        model, surgery = build_with_report(context.spec, context.info, context.survey)
        measured = len(choose_layers(model, context.spec.diagnostics))
    dependence = check_input_dependence(context, model)
    return _TriedNetwork(
        parameters=count_parameters(model),
        matrices=sum(weight.numel() for weight in hidden_matrices(model)),
        measured=measured,
        notes=(*surgery.notes, *dependence.notes),
        problems=(dependence.blind,) if dependence.blind else (),
    )


def as_problem(error: ModelError | SurgeryError) -> Problem:
    return Problem(pointer=error.pointer, layer=error.layer, detail=str(error), remedy=error.remedy)
