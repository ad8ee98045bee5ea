"""What two jobs must have in common to be a pair: the seed, what is measured, and all settings that are not compared.

What changes nothing of what is learned (project, resources other than the number of devices, diagnostics) may differ. What decides how the metric is
measured never may, whatever is compared: values of different examples are no pair.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from store.query import spec_fields
from store.results import ComparedJob
from studies.comparison import is_covered
from studies.spec import leaves
from trainer.spec import Evaluation

#: The values of a spec by path; a list is one value.
Settings: TypeAlias = frozenset[tuple[str, str]]

#: The evaluation that the metric is of, among the settings.
EVALUATION = "evaluations"
_MEASURED = (
    "task",
    "dataset.name",
    "dataset.split_seed",
    "dataset.val_fraction",
    "dataset.label_noise",
    "dataset.binarize",
    "dataset.image_size",
    "dataset.shift",
    EVALUATION,
)
#: Besides what `is_covered` leaves out anyway.
_NOT_LEARNED = "training.checkpoint_seconds"
#: What a study may let follow the job's seed: they are no settings.
_CUT = ("split_seed", "subset_seed")


class Key(NamedTuple):
    """Equal where two jobs are a pair; `cut`: the seeds that cut the data."""

    settings: Settings
    seed: int
    cut: tuple[Any, ...]


#: Of a job, and the paths in which jobs may differ.
KeyReader: TypeAlias = Callable[[ComparedJob, tuple[str, ...]], Key]


def make_key_reader(metric: str) -> KeyReader:
    """Reads keys for one comparison: each spec once, and its settings once for each choice of paths."""
    texts: dict[int, str] = {}
    read_spec = cache(lambda text: _read_spec(text, metric))
    # Thousands of specs have the same hundred paths.
    covers = cache(lambda free: cache(_make_cover(free)))
    select = cache(lambda text, free: _select(read_spec(text), covers(free)))

    def read_key(job: ComparedJob, free: tuple[str, ...]) -> Key:
        text = texts.get(job.job_id)
        if text is None:
            text = texts[job.job_id] = _write_seedless(job.spec)
        is_on_train = read_spec(text).is_on_train
        cut = (
            job.spec["dataset"].get(name)
            for name in _CUT
            if is_on_train or is_measured(f"dataset.{name}") or f"dataset.{name}" not in free
        )
        return Key(select(text, free), job.seed, tuple(cut))

    return read_key


def group_by_key(
    jobs: Iterable[ComparedJob], free: tuple[str, ...], read_key: KeyReader
) -> Mapping[Key, Sequence[ComparedJob]]:
    grouped: dict[Key, list[ComparedJob]] = defaultdict(list)
    for job in jobs:
        grouped[read_key(job, free)].append(job)
    return grouped


def is_measured(path: str) -> bool:
    """Whether the field decides how a metric is measured, and on which examples."""
    return any(path == name or path.startswith(f"{name}.") for name in _MEASURED)


def find_free(names: Iterable[str]) -> tuple[str, ...]:
    """The paths of a spec in which jobs may differ that are grouped by these fields of a query.

    Of a list each option has a path of its own: `regularization.dropout`.
    """
    return tuple(path for name in names if name in spec_fields() for path in _find_paths(name))


def list_declared(jobs: Iterable[ComparedJob]) -> set[str]:
    """The paths in which their variants differ from the base of their study, and those that it tuned."""
    documents = {(job.study_id, job.variant): (job.declared, job.tuned) for job in jobs}
    paths: set[str] = set()
    for declared, tuned in documents.values():
        paths |= set(leaves(declared or {})) | set(tuned or {})
    return paths - {""}


def _find_paths(name: str) -> Iterator[str]:
    head, is_list, inside = spec_fields()[name].path.partition("[*]")
    path = ".".join(re.findall(r'"([^"]+)"', head))
    if not is_list or name in (path, f"{path}.kind"):
        yield path if is_list else name
    elif kind := re.search(r'"kind" == "([^"]+)"', inside):
        yield f"{path}.{kind[1]}"
    else:
        # `regularization.p`: of every kind that has it.
        option = name.removeprefix(path)
        for field in spec_fields():
            if field.startswith(f"{path}.") and field.endswith(option) and field != name:
                yield field.removesuffix(option)


class _Value(NamedTuple):
    """`name` is the path of the list that it is in, else its own."""

    name: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class _Spec:
    """`evaluation`: how the metric was measured after training, as JSON; `is_on_train`: on the training examples."""

    values: tuple[_Value, ...]
    evaluation: str
    is_on_train: bool


def _write_seedless(spec: Mapping[str, Any]) -> str:
    """The same for all seeds of an arm."""
    dataset = {name: value for name, value in spec["dataset"].items() if name not in _CUT}
    return json.dumps({**spec, "seed": None, "dataset": dataset})


def _read_spec(text: str, metric: str) -> _Spec:
    spec = json.loads(text)
    evaluation = _find_evaluation(spec, metric)
    is_on_train = evaluation is not None and evaluation.split == "train"
    measure = evaluation and evaluation.model_dump(mode="json", exclude={"name", "outputs"})
    examples = spec["dataset"].get("train_size") if is_on_train else None
    # Evaluations of other metrics may differ.
    settings = {name: value for name, value in spec.items() if name != EVALUATION}
    return _Spec(
        tuple(_list_values(settings, "")),
        json.dumps([measure, examples], sort_keys=True),
        is_on_train,
    )


def _find_evaluation(spec: Mapping[str, Any], metric: str) -> Evaluation | None:
    """None of a metric that is measured during training."""
    evaluations = map(Evaluation.model_validate, spec.get("evaluations") or ())
    fitting = [one for one in evaluations if metric.startswith(f"{one.prefix}_")]
    # `test` begins the metrics of an evaluation named `test_again`, too.
    return max(fitting, key=lambda evaluation: len(evaluation.prefix), default=None)


def _list_values(value: Any, path: str, inside: str | None = None) -> Iterator[_Value]:
    """In an order that depends on nothing but the values; `inside`: of which list."""
    name = inside or path
    match value:
        case dict():
            yield _Value(name, path, "{}")
            for key in sorted(value):
                yield from _list_values(value[key], f"{path}.{key}" if path else key, inside)
        case list():
            yield _Value(name, path, "[]")
            for element in value:
                kind = element.get("kind") if isinstance(element, dict) else None
                yield from _list_values(element, f"{path}.{kind}" if kind else path, name)
        case _:
            yield _Value(name, path, json.dumps(value))


def _make_cover(free: tuple[str, ...]) -> Callable[[str], bool]:
    open_paths = (_NOT_LEARNED, *(path for path in free if not is_measured(path)))
    return lambda path: not is_measured(path) and is_covered(path, open_paths)


def _select(spec: _Spec, is_free: Callable[[str], bool]) -> Settings:
    """Without what lies at free paths."""
    chosen: dict[str, list[str]] = defaultdict(list)
    for name, path, text in spec.values:
        if not is_free(path):
            chosen[name].append(text if path == name else f"{path}={text}")
    settings = {name: " ".join(texts) for name, texts in chosen.items()}
    return frozenset({**settings, EVALUATION: spec.evaluation}.items())
