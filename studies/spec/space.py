"""The settings that an arm may try in a search: which ranges it has, the first ones, and those at their ends."""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from runtime.documents import pointer
from studies.spec.arms import Arm, build_document, read_spec
from studies.spec.search import AnyRange, Search
from studies.spec.study import StudySpec, arm_name
from studies.spec.tuning import Setting, overlap
from trainer.spec import Problem

_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)
#: Of a small space, points are passed over that come to a setting seen before.
_POINTS_PER_TRIAL = 1000
#: Of a study, and of each of its arms.
_POINTS, _FEWEST_POINTS, _MOST_POINTS = 5_000, 5, 1000
#: Of a space with fewer settings than so many beyond its trials each is read, and so many in a study.
_MORE_READ, _MOST_READ = 100, 5_000


@dataclass(frozen=True, slots=True)
class ArmSpace:
    """What one arm of a study searches."""

    study: StudySpec
    arm: Arm

    @property
    def search(self) -> Search:
        assert self.study.search is not None
        return self.study.search

    def draw(self, suggest: Callable[[str, AnyRange], Any]) -> dict[str, Any]:
        """A setting, of a value for each range that the arm has at the values before."""
        setting: dict[str, Any] = {}
        for path, searched in self.search.ranges:
            if self._holds(searched.when, setting):
                setting[path] = suggest(path, searched)
        return setting

    def list_first(self, count: int) -> list[dict[str, Any]]:
        """Quasi-random settings, no two of them equal: as many, or all that there are."""
        settings: list[dict[str, Any]] = []
        for setting in itertools.islice(self.walk_points(), _POINTS_PER_TRIAL * count):
            if len(settings) == count:
                break
            if setting not in settings:
                settings.append(setting)
        return settings

    def walk_points(self) -> Iterator[dict[str, Any]]:
        """Of the quasi-random sequence, without an end."""
        return map(self._at, itertools.count())

    def list_extremes(self, most_points: int) -> list[dict[str, Any]]:
        """Settings that have, one after the other, each range at its ends, and at each of few values: so that what
        can't be trained is refused before anything is. Ranges that none of so many points has are left out."""
        points = self.find_points(most_points)
        return [
            self.draw(partial(self._value_beside, points[path], path, value))
            for path, searched in self.search.ranges
            if path in points
            for value in searched.list_extremes()
        ]

    def find_points(self, most: int) -> dict[str, int]:
        """By range the first of so many points that has it."""
        points: dict[str, int] = {}
        # What rests on no other range is there at each point or at none.
        waiting = {path for path, _ in self.search.ranges if self._rests_on_ranges(path)}
        for number in range(most):
            for path in self._at(number):
                points.setdefault(path, number)
            if waiting <= points.keys():
                break
        return points

    def walk_settings(self, most: int) -> Iterator[Setting]:
        """All that there are, or as many as asked for, one beside the other."""
        return itertools.islice(self._walk(self.search.ranges, {}, most), most)

    def count(self, most: int) -> int:
        """How many settings there are, or as many as asked for."""
        return sum(1 for _ in self.walk_settings(most))

    def count_readable(self, most: int) -> int:
        """How many of the settings, of as many as asked for, can be read as a spec."""
        specs = (
            read_spec(self.study, replace(self.arm, setting=setting))
            for setting in self.walk_settings(most)
        )
        return sum(not read.problems for read in specs)

    def _at(self, number: int) -> dict[str, Any]:
        return self.draw(partial(self._value_at, number))

    def _value_at(self, number: int, path: str, searched: AnyRange) -> Any:
        """Of a point of the sequence. A range has its own dimension in every arm, so that what arms share is tried alike."""
        dimension = [path for path, _ in self.search.ranges].index(path)
        return searched.value_at(_share(number, dimension, self.search.sampler.seed))

    def _value_beside(self, number: int, path: str, value: Any, at: str, searched: AnyRange) -> Any:
        """Of a point of the sequence, but for one range."""
        return value if at == path else self._value_at(number, at, searched)

    def _rests_on_ranges(self, path: str) -> bool:
        return any(
            overlap(asked, other)
            for asked in self.search.space[path].when
            for other in self.search.space
        )

    def _walk(
        self,
        ranges: Sequence[tuple[str, AnyRange]],
        setting: Setting,
        most: int,
    ) -> Iterator[Setting]:
        if not ranges:
            yield setting
            return
        (path, searched), *rest = ranges
        if not self._holds(searched.when, setting):
            yield from self._walk(rest, setting, most)
            return
        for value in searched.list_values(most):
            yield from self._walk(rest, {**setting, path: value}, most)

    def _holds(self, condition: Mapping[str, Any], setting: Setting) -> bool:
        if not condition:
            return True
        arm = replace(self.arm, setting=setting)
        # As it is written: a part whose other fields are still to be drawn can't be read as a spec.
        documents = [build_document(self.study, arm)]
        if any(_value(documents[0], path) is _NOTHING for path in condition):
            spec = read_spec(self.study, arm).spec
            documents += [] if spec is None else [spec.model_dump(mode="json")]
        return all(
            _first_value(documents, path) in (asked if isinstance(asked, list) else [asked])
            for path, asked in condition.items()
        )


def count_points(arms: int) -> int:
    """At how many points of each of so many arms conditions are tried: a condition that holds nowhere is tried at all."""
    return min(max(_POINTS // arms, _FEWEST_POINTS), _MOST_POINTS) if arms else 0


def refuse_narrow(spaces: Sequence[ArmSpace]) -> Iterator[Problem]:
    """A budget of more settings than an arm has can't be equal; a range that no arm has is a slip."""
    if not spaces:
        return
    search = spaces[0].search
    most = search.trials + _MORE_READ
    for space in spaces:
        # Of a large space not all are read: what can't be trained in it is passed over.
        count = space.count(most)
        if count < most and len(spaces) * most <= _MOST_READ:
            # Where none can be read, why is told of each.
            count = space.count_readable(most) or count
        if count < search.trials:
            name = arm_name(space.arm.variant, space.arm.point)
            detail = f"{name!r} has {count} settings to try, but trials is {search.trials}"
            yield Problem(pointer="/search/trials", detail=detail)
    most = count_points(len(spaces))
    there = {path for space in spaces for path in space.find_points(most)}
    for path, searched in search.space.items():
        if searched.when and path not in there:
            place = pointer("search", "space", path, "when")
            yield Problem(pointer=place, detail="is true in no arm of the study")


def _share(number: int, dimension: int, seed: int) -> float:
    """Of the Halton sequence (1960), shifted (Cranley & Patterson 1976): in [0, 1)."""
    digest = hashlib.blake2b(f"{seed} {dimension}".encode(), digest_size=8).digest()
    shift = int.from_bytes(digest, "big") / 2**64
    return (_radical_inverse(number + 1, _PRIMES[dimension]) + shift) % 1.0


def _radical_inverse(number: int, base: int) -> float:
    """The number's digits, mirrored behind the point."""
    inverse, unit = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        unit /= base
        inverse += digit * unit
    return inverse


def _first_value(documents: Sequence[Any], path: str) -> Any:
    """Of the first that has one."""
    values = (_value(document, path) for document in documents)
    return next((value for value in values if value is not _NOTHING), _NOTHING)


def _value(document: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(document, Mapping) or part not in document:
            return _NOTHING
        document = document[part]
    return document


#: Equals nothing that a document may say.
_NOTHING = object()
