"""Datasets and parts of specs for the tests of the checks, and what each case of a check must satisfy."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.trainer_specs import DIGITS, make_info, make_spec
from trainer.checks import context as context_module
from trainer.checks import run as module
from trainer.checks.context import CheckContext, build_context
from trainer.checks.run import check
from trainer.spec.builtin import BUILT_IN
from trainer.spec.dataset import DatasetInfo
from trainer.spec.job import JobSpec
from trainer.spec.report import Problem

COLOUR = make_info(name="colour", shape=(3, 224, 224), mean=(0.5,) * 3, std=(0.25,) * 3)
SMALL = make_info(name="colour", shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
POINTS, VALUES = BUILT_IN["moons"], BUILT_IN["polynomial_noise"]

MLP: dict[str, Any] = {"name": "mlp", "hidden": [8, 8]}
VIT: dict[str, Any] = {"name": "vit_small", "patch": 4, "width": 8, "depth": 1, "heads": 2}
REGRESSION: dict[str, Any] = {"model": {"name": "polynomial"}, "task": {"kind": "regression"}}
RECONSTRUCTION: dict[str, Any] = {"task": {"kind": "reconstruction"}}


def forget_networks() -> None:
    """The next check tries its network anew: after a patch of what it is made of."""
    context_module._survey.cache_clear()
    module._try_network.cache_clear()


def group(count: int) -> dict[str, Any]:
    return {"kind": "group", "groups": count}


def data(**options: Any) -> dict[str, Any]:
    return {"dataset": {"name": "digits", **options}}


def batch(size: int, **options: Any) -> dict[str, Any]:
    return {"training": {"batch_size": size, **options}}


def dropout(where: str = "hidden", p: float = 0.5) -> dict[str, Any]:
    return {"regularization": [{"kind": "dropout", "p": p, "where": where}]}


def name_case(case: tuple[Any, ...]) -> str | None:
    """The name of the case's check, or of its model."""
    first = case[0]
    return first.model.name if isinstance(first, JobSpec) else getattr(first, "__name__", None)


def assert_refused_by_this_check_alone(
    monkeypatch: pytest.MonkeyPatch,
    find: Callable[[CheckContext], Iterator[Problem]],
    spec: JobSpec,
    info: DatasetInfo,
    pointer: str,
    layer: str | None,
    words: str,
) -> None:
    context = build_context(spec, info)
    monkeypatch.setattr(module, "build_context", lambda *_: context)
    problems = [
        problem
        for problem in check(spec, info).problems
        if problem.pointer == pointer and problem.layer == layer
    ]
    assert problems
    assert any(words in f"{problem.detail} {problem.remedy}" for problem in problems)
    # The dry run after the checks would find some of it too, in less useful words.
    others = tuple(other for other in module.CHECKS if other is not find)
    monkeypatch.setattr(module, "CHECKS", others)
    monkeypatch.setattr(module, "_dry_run", lambda context: (0, 0, (), []))
    assert not [problem for problem in check(spec, info).problems if problem in problems]


def assert_accepted(spec: JobSpec, info: DatasetInfo) -> None:
    report = check(spec, info)
    assert report.problems == ()
    assert report.parameters > 0


def assert_warned_about_by_this_check_alone(
    monkeypatch: pytest.MonkeyPatch,
    find: Callable[[CheckContext], Iterator[str]],
    options: dict[str, Any],
    info: DatasetInfo,
    words: str,
) -> None:
    spec = make_spec(**{"model": "cnn", "norm": "batch", **options})
    context = build_context(spec, info)
    monkeypatch.setattr(module, "build_context", lambda *_: context)
    assert any(words in warning for warning in check(spec, info).warnings)
    monkeypatch.setattr(module, "_dry_run", lambda context: (0, 0, (), []))
    others = tuple(other for other in module.WARNINGS if other is not find)
    monkeypatch.setattr(module, "WARNINGS", others)
    assert not any(words in warning for warning in check(spec, info).warnings)


def assert_no_warnings(options: dict[str, Any]) -> None:
    spec = make_spec(**{"model": "cnn", "norm": "batch", **options})
    assert check(spec, DIGITS).warnings == ()
