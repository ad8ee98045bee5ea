"""What a verdict rests on besides the differences themselves, and why there may be none. Says no verdict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from studies.comparison.arms import Arm, baselines
from studies.comparison.differences import overlap
from studies.comparison.planned_seeds import Analysis
from studies.comparison.schemas import Confound
from studies.comparison.scoring import has_direction
from studies.spec import StudySpec
from studies.stats import listed


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a verdict rests on besides the differences themselves."""

    study: StudySpec
    metric: str
    arms: tuple[Arm, ...]
    analysis: Analysis
    confounds: tuple[Confound, ...]

    def obstacles(self) -> tuple[str, ...]:
        """Why the verdict, and with it the ranking, is withheld."""
        return (*self._undirected(), *self._missing(), *self._unmeasured(), *self._unexplained())

    @property
    def family(self) -> int:
        """How many comparisons there are: arms at a point that has the baseline, without it."""
        references = baselines(self.arms, self.study.baseline)
        return sum(
            arm.variant != self.study.baseline and arm.place in references for arm in self.arms
        )

    def unfinished(self) -> tuple[int, int]:
        """Jobs at the analysed seeds that haven't ended, and all jobs there."""
        seeds = self.analysis.seeds
        rows = [arm.rows[seed] for arm in self.arms for seed in seeds if seed in arm.rows]
        return sum(row.status in _FATES["not finished"] for row in rows), len(rows)

    def _undirected(self) -> Iterator[str]:
        if not has_direction(self.metric):
            yield f"{self.metric} is neither an accuracy nor a loss: no value of it is the better one"

    def _unmeasured(self) -> Iterator[str]:
        if self.study.splits == "resampled":
            for arm in self.arms:
                if arm.values and overlap(self.study, arm) == 0:
                    yield (
                        f"{arm.name}: the sizes of its splits aren't recorded, so that the overlap of "
                        "resampled splits can't be allowed for"
                    )

    def _missing(self) -> Iterator[str]:
        if self.study.tune is not None and not self.arms:
            yield (
                "its tuning isn't over: the study's own jobs are made once every trial has succeeded; "
                "failed and cancelled ones go on with `retry`"
            )
            return
        there = {arm.variant for arm in self.arms}
        for variant in self.study.variants:
            if variant not in there:
                yield f"{variant}: no jobs"
        for arm in self.arms:
            if seeds := [seed for seed in self.analysis.seeds if seed not in arm.values]:
                yield f"{arm.name}: {_why_missing(arm, seeds)}"

    def _unexplained(self) -> Iterator[str]:
        found: dict[tuple[str, str], list[Confound]] = {}
        for one in self.confounds:
            if one.is_open:
                found.setdefault((one.kind, one.what), []).append(one)
        for (kind, _), same in found.items():
            yield (
                f"{listed([one.variant for one in same])} and {self.study.baseline} differ in "
                f"{same[0].what}, which nothing declared explains: train anew, or declare {kind!r} "
                "with a reason"
            )


def _why_missing(arm: Arm, seeds: Sequence[int]) -> str:
    """`1 failed, to be retried (j12), 2 not finished (j13 and j14)`."""
    said = []
    for words, statuses in _FATES.items():
        jobs = [
            f"j{arm.rows[seed].job_id}"
            for seed in seeds
            if seed in arm.rows and arm.rows[seed].status in statuses
        ]
        if jobs:
            said.append(f"{len(jobs)} {words} ({listed(jobs)})")
    if absent := [str(seed) for seed in seeds if seed not in arm.rows]:
        said.append(f"no job at {'seeds' if len(absent) > 1 else 'seed'} {listed(absent)}")
    return ", ".join(said)


_FATES = {
    "failed, to be retried": ("failed",),
    "cancelled, to be retried": ("cancelled",),
    "not finished": ("queued", "running", "paused"),
    "succeeded without a finite value": ("succeeded",),
}
