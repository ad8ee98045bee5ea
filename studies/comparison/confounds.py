"""The confound guard: what differs between a variant and the baseline besides what was declared.

Jobs are compared pair by pair, at the same seed and point, by their specs, by what their trainings turned
out to be (`trainer.training.facts`) and by what they ran in. A difference that follows from a declared field of the
spec (the norm's own parameters, a bias that surgery gave) is a consequence; one that follows from none
withholds the ranking, until it is declared.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeAlias

from runtime.documents import pointer
from store.results import ResultRow
from studies.comparison.schemas import Confound
from studies.spec import ALTERNATIVES, StudyError, StudySpec, leaves, list_differences
from trainer.code_versions import with_generation
from trainer.problems import did_you_mean
from trainer.spec import Problem


class Training(Protocol):
    """What two jobs may differ in: their specs, what their trainings turned out to be, and what they ran in."""

    @property
    def spec(self) -> Mapping[str, Any]: ...
    @property
    def facts(self) -> Mapping[str, Any] | None: ...
    @property
    def environment(self) -> Mapping[str, Any] | None: ...


#: The jobs of an arm and of the baseline at its point, of one seed each.
Pairs: TypeAlias = Sequence[tuple[Training, Training]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One way in which two trainings may differ. `read` gives what is compared, None where there is
    nothing to compare; `parts` are the parts of a spec, or fields of them, that may be the cause, `only_if` says
    between which two jobs the norm may be."""

    name: str
    what: str
    read: Callable[[Training], Any]
    parts: frozenset[str] = frozenset()
    only_if: Callable[[Training, Training], bool] = lambda row, other: True


def find_confounds(
    study: StudySpec,
    pairs: Iterable[tuple[str, Sequence[tuple[ResultRow, ResultRow]]]],
    declared: Mapping[str, str],
) -> Iterator[Confound]:
    """In the order of the arms; `pairs`: each arm's name with its jobs beside the baseline's; `declared`: kind →
    why it doesn't matter."""
    for arm, both in pairs:
        # Nothing can differ at a seed that only one of the two has.
        if not both:
            continue
        paths = _list_declared_paths(study, both[0][0].variant)
        yield from find_differing(arm, both, paths, declared)
        yield from _find_undeclared_fields(arm, both, paths, declared)


def find_differing(
    arm: str, both: Pairs, paths: Sequence[str], declared: Mapping[str, str]
) -> Iterator[Confound]:
    """What differs besides the specs; `paths`: the fields of the spec that may be its cause."""
    # The same for all kinds, and needed only where one differs.
    find_changed = cache(lambda: _select_changed(paths, both))
    for kind in KINDS:
        yield from _find_differing(kind, arm, both, find_changed, declared)


def find_varying(rows: Iterable[Training]) -> Iterator[tuple[str, int]]:
    """What nothing in a spec could explain and that isn't the same in all jobs, paired or not; and how
    many values it has."""
    rows = list(rows)
    for kind in KINDS:
        if kind.parts:
            continue
        # By their text, as a mapping can't be in a set. All jobs are looked at here, not pairs: if the even seeds
        # of every variant ran on another host, no pair differs, and still a reader should know.
        values = {repr(value) for row in rows if (value := kind.read(row)) is not None}
        if len(values) > 1:
            yield kind.what, len(values)


def _find_differing(
    kind: Kind,
    arm: str,
    both: Pairs,
    find_changed: Callable[[], Sequence[str]],
    declared: Mapping[str, str],
) -> Iterator[Confound]:
    # None of a job that hasn't started, or that an older version recorded less of: it differs from nothing.
    found = [
        (one, other)
        for row, reference in both
        if (one := kind.read(row)) is not None
        and (other := kind.read(reference)) is not None
        and one != other
    ]
    if found:
        # A field is a cause only where it differs: what both variants declare alike explains nothing.
        changed = find_changed()
        # The norm explains a difference in biases only between jobs of which one needs them and the other doesn't.
        parts = kind.parts if all(kind.only_if(*pair) for pair in both) else kind.parts - {"norm"}
        causes = tuple(path for path in changed if {path, path.split(".")[0]} & parts)
        yield _make_confound(kind.name, kind.what, arm, found, causes, declared)


def _select_changed(paths: Sequence[str], both: Pairs) -> list[str]:
    """Of what is declared, what isn't the same in both variants after all."""
    # Rows without a spec can't show that a declared field is the same after all, so that it stays a possible cause.
    known = [(row.spec, other.spec) for row, other in both if row.spec and other.spec]
    return [
        path
        for path in paths
        if not known or any(_leaf(mine, path) != _leaf(theirs, path) for mine, theirs in known)
    ]


def _leaf(spec: Mapping[str, Any], path: str) -> Any:
    """One of the spec's `leaves`, without reading the others; None where there is none."""
    value: Any = spec
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return None if isinstance(value, Mapping) else value


def _find_undeclared_fields(
    arm: str, both: Pairs, paths: Sequence[str], declared: Mapping[str, str]
) -> Iterator[Confound]:
    """Fields of the jobs' specs that differ although the study document doesn't say so."""
    found: dict[str, list[tuple[Any, Any]]] = {}
    for row, reference in both:
        if not row.spec or not reference.spec:
            continue
        # The jobs' specs, as they were trained, and not the study's document: a default that has changed since the first
        # seeds were submitted shows in them alone.
        for field in list_differences(row.spec, reference.spec):
            if not is_covered(field.path, paths):
                found.setdefault(field.path, []).append((field.left, field.right))
    for path, values in found.items():
        yield _make_confound("spec", path, arm, values, (), declared)


def _make_confound(
    kind: str,
    what: str,
    arm: str,
    found: Sequence[tuple[Any, Any]],
    causes: tuple[str, ...],
    declared: Mapping[str, str],
) -> Confound:
    """The first pair's values represent all; of several at once, those that differ."""
    mine, theirs = found[0]
    # Of a dozen versions of libraries only those that differ are shown: torch 2.15.0 and torch 2.14.1.
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        names = [name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)]
        mine, theirs = ({name: one.get(name) for name in sorted(names)} for one in (mine, theirs))
    return Confound(
        kind=kind,
        what=what,
        variant=arm,
        baseline_value=theirs,
        variant_value=mine,
        seeds=len(found),
        causes=causes,
        declared=declared.get(kind),
    )


def _list_declared_paths(study: StudySpec, variant: str) -> list[str]:
    """What the variant, or the baseline, says of itself in the study document, and what is tuned for each:
    dotted paths."""
    # The baseline's own settings count as well: what it alone sets differs in every other variant.
    documents = (
        study.variants[name] for name in (study.baseline, variant) if name in study.variants
    )
    # What is tuned differs because every arm got as good a setting as any.
    return sorted(
        {*study.tuned_paths, *(path for document in documents for path in leaves(document))}
    )


def is_covered(path: str, declared: Sequence[str]) -> bool:
    """Whether a field is what is declared, inside of it, or of an option whose kind is declared."""
    for one in declared:
        parent, _, last = one.rpartition(".")
        # Whoever declares `optimizer.kind` declares another optimizer, with all options that come with it.
        scope = parent if last in ("kind", "name") else one
        if path == scope or path.startswith(f"{scope}.") or _gives_way(path, parent, last):
            return True
    return path.split(".")[0] in _NOT_LEARNED and path != "resources.devices"


def _gives_way(path: str, parent: str, declared: str) -> bool:
    """Whether the field is an alternative to the declared one, as epochs are to steps."""
    above, _, last = path.rpartition(".")
    # Declaring steps also removes the base's epochs. Both fields then differ from the baseline's, and the second
    # only follows from the first.
    return above == parent and any(
        (declared in one and last in other) or (declared in other and last in one)
        for one, other in ALTERNATIVES
    )


#: Parts of a spec that change nothing of what is learned; but batch statistics may be those of each device.
_NOT_LEARNED = frozenset({"seed", "project", "resources", "version", "evaluations", "diagnostics"})


def _read_fact(name: str) -> Callable[[Training], Any]:
    return lambda row: (row.facts or {}).get(name)


def _read_decay(part: str) -> Callable[[Training], Any]:
    """Whether weight decay reaches them; None where there are none."""

    def read(row: Training) -> bool | None:
        facts = row.facts or {}
        if not facts.get(f"{part}_parameters"):
            return None
        # Not how many: the number of decayed parameters follows from the number of parameters, which is a kind of
        # its own. The question is whether the rule is the same.
        return bool(facts.get(f"decayed_{part}_parameters"))

    return read


def _one_needs_biases(row: Training, other: Training) -> bool:
    """Surgery gives biases to the layers before a norm that shifts nothing, or that comes too late to."""
    specs = [one.spec for one in (row, other)]
    # A row without its spec can't rule the norm out as the cause.
    if not all(specs):
        return True
    needs = [
        spec["norm"]["kind"] in _SHIFTLESS or spec["norm"].get("placement") == "after"
        for spec in specs
    ]
    return needs[0] != needs[1]


_SHIFTLESS = ("none", "lrn", "rms")


def _read_environment(*names: str, only_on: str | None = None) -> Callable[[Training], Any]:
    def read(row: Training) -> dict[str, Any] | None:
        environment = row.environment or {}
        # The processor's instruction set decides how sums are rounded where the training ran on it. Two hosts
        # with the same GPU are no confound for having different processors.
        if only_on is not None and environment.get("device") != only_on:
            return None
        # Digests of code that gives equal results are one value.
        environment = with_generation(environment)
        return {name: environment[name] for name in names if name in environment} or None

    return read


# Which parts of a spec may explain a difference. A kind without any (code, libraries, device) is in no spec, so
# that only a person can acknowledge it.
_MODEL = frozenset({"model", "dataset", "task", "weights"})
_LENGTH = frozenset({"training", "dataset", "early_stopping"})
_DECAY = frozenset({"regularization"})

KINDS = (
    Kind("weight_parameters", "the number of weights", _read_fact("weight_parameters"), _MODEL),
    Kind("norm_parameters", "the number of parameters of norms", _read_fact("norm_parameters"), _MODEL | {"norm"}),
    Kind("bias_parameters", "the number of biases", _read_fact("bias_parameters"), _MODEL | {"norm"}, _one_needs_biases),
    Kind("norm_decay", "weight decay on the parameters of norms", _read_decay("norm"), _DECAY),
    Kind("bias_decay", "weight decay on biases", _read_decay("bias"), _DECAY),
    Kind("effective_batch", "the examples of a step", _read_fact("examples_per_step"), _LENGTH),
    Kind("steps", "the number of steps", _read_fact("total_steps"), _LENGTH),
    Kind("schedule", "the learning rate over the training", _read_fact("schedule"), _LENGTH | {"schedule", "optimizer"}),
    Kind("data", "the digest of the data", _read_fact("data"), frozenset({"dataset"})),
    Kind("split", "the cut of the data", _read_fact("split"), frozenset({"dataset"})),
    Kind("code", "the code of the trainer", _read_environment("code")),
    Kind("libraries", "the versions of libraries", _read_environment("python", "torch", "torchvision", "timm", "numpy", "cuda", "cudnn")),
    Kind("device", "the device", _read_environment("device", "device_name")),
    Kind("processor", "the processor", _read_environment("cpu", "cpu_capability", "platform", only_on="cpu")),
    Kind("threads", "the number of threads", _read_environment("threads")),
    Kind("precision", "the precision", _read_environment("precision"), frozenset({"training.precision"})),
    Kind("compiled", "compilation", _read_environment("compiled"), frozenset({"training.compile"})),
    Kind("numerics", "memory format or determinism", _read_environment("memory_format", "deterministic")),
)  # fmt: skip

#: What a person may declare: beside these kinds, that fields of the specs differ.
KIND_NAMES = (*(kind.name for kind in KINDS), "spec")


def refuse_unknown_kinds(study: StudySpec) -> None:
    """A declaration of what there is not would withhold nothing and explain nothing; raises `StudyError`."""
    unknown = [kind for kind in study.declared if kind not in KIND_NAMES]
    allowed = f"must be one of {', '.join(KIND_NAMES)}"
    found = tuple(
        Problem(
            pointer=pointer("declared", kind),
            detail=f"{allowed}, but got {kind!r}{did_you_mean(kind, KIND_NAMES)}",
        )
        for kind in unknown
    )
    if found:
        raise StudyError(found)
