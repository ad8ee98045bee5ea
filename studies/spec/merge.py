"""How one part of a study's document is laid over another, and which of them a field came from."""

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.documents import pointer
from studies.spec.study import PRETRAINING, StudySpec

#: Fields of which a spec says only one or the other.
ALTERNATIVES = (
    ({"epochs"}, {"steps", "eval_every"}),
    ({"groups"}, {"channels_per_group"}),
)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge of documents; a tagged alternative of another kind replaces the one below, lists replace."""
    result = {key: value for key, value in below.items() if not _gives_way(key, above)}
    for key, value in above.items():
        result[key] = overlaid(result.get(key), value)
    return result


def _gives_way(key: str, above: Mapping[str, Any]) -> bool:
    """Whether what is said above is an alternative to this key: steps to epochs, for one."""
    return any(
        key in one and not above.keys().isdisjoint(other)
        for pair in ALTERNATIVES
        for one, other in (pair, pair[::-1])
    )


def overlaid(below: Any, above: Any) -> Any:
    """The one above, or the merge of two mappings of one kind."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    # `norm: {kind: batch, momentum: 0.2}` with `{kind: group}` above must not keep the momentum: options belong
    # to their kind.
    same = all(tag not in above or above[tag] == below.get(tag) for tag in ("kind", "name"))
    return merged(below, above) if same else above


def locate(study: StudySpec, variant: str, point: Mapping[str, Any], place: str) -> str:
    """Where in the study document a pointer into a cell's spec was written."""
    segments = place.strip("/").split("/") if place else []
    # What was set last comes first: tuning and search over the matrix, the matrix over the variant, the variant over the
    # base.
    # A range of a search is not there in arms without it.
    tuned = [path for path in study.tuned_paths if study.search is None or path in point]
    for path in (*tuned, *point):
        parts = path.split(".")
        is_above = segments and segments == parts[: len(segments)]
        if segments[: len(parts)] == parts or (
            is_above and not _is_written(study, variant, segments)
        ):
            return _place_of(study, point, path)
    patch, patch_place = find_patch(study, variant)
    inside: Any = patch
    for segment in segments:
        if not isinstance(inside, Mapping) or segment not in inside:
            break
        inside = inside[segment]
        if not isinstance(inside, Mapping):
            return patch_place + place
    first = segments[0] if segments else ""
    return (patch_place if first in patch else "/base") + place


def find_patch(study: StudySpec, variant: str) -> tuple[Mapping[str, Any], str]:
    """What a variant, or the pretraining, changes in the base, and where that stands in the study document."""
    if study.pretrain is not None and variant == PRETRAINING:
        return study.pretrain, "/pretrain"
    return study.variants[variant], pointer("variants", variant)


def _place_of(study: StudySpec, point: Mapping[str, Any], path: str) -> str:
    if path in study.tuned_paths:
        return pointer("tune", path) if study.search is None else search_place(path)
    return pointer("matrix", path) if path in study.matrix else _entry_with(study, point)


def _is_written(study: StudySpec, variant: str, segments: Sequence[str]) -> bool:
    """Whether the base or the variant has it: else a path has made it, as `optimizr.lr` makes `optimizr`."""
    for document in (study.base, study.variants[variant]):
        inside: Any = document
        for segment in segments:
            if isinstance(inside, list):
                return True
            if not isinstance(inside, Mapping) or segment not in inside:
                break
            inside = inside[segment]
        else:
            return True
    return False


def search_place(path: str) -> str:
    """Where the range of a search stands in the study document."""
    return pointer("search", "space", path)


def _entry_with(study: StudySpec, point: Mapping[str, Any]) -> str:
    entries = (index for index, entry in enumerate(study.include) if point.items() <= entry.items())
    return pointer("include", *entries)
