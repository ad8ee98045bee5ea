"""What is asked of a network that a search proposes, before it becomes a trial."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.plugin_packages import write_package
from trainer.plugins import find_plugin, loading
from trainer.spec import BUILT_IN, InstalledPackage, JobSpec
from worker.execution.outcome import NetworkChecks
from worker.execution.recorder import NotPrepared


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstalledPackage]:
    """Installed on this host."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("NORMLAB_PLUGINS", "lab-nets")
    monkeypatch.setattr(loading, "_loaded", {})
    write_package(tmp_path)
    yield find_plugin("model", "tiny").installed
    sys.modules.pop("lab_nets", None)


def find_problems(package: InstalledPackage, width: int) -> Sequence[str]:
    """Asked, answered between two transactions, and asked again."""
    spec = JobSpec.model_validate(
        {
            "dataset": {"name": "digits"},
            "model": {
                "name": "plugin:tiny",
                "options": {"width": width},
                "installed": package.model_dump(),
            },
            "norm": {"kind": "batch"},
            "training": {"epochs": 1},
        }
    )
    checks = NetworkChecks()
    assert checks.find_problems(spec, BUILT_IN["digits"]) == ()
    with pytest.raises(NotPrepared) as asked:
        checks.ensure_answered()
    asked.value.prepare()
    checks.ensure_answered()
    return checks.find_problems(spec, BUILT_IN["digits"])


def test_a_model_of_a_package_is_looked_at_where_the_package_is(package: InstalledPackage) -> None:
    assert find_problems(package, 4) == []
    [problem] = find_problems(package, -4)
    assert "negative dimension" in problem


def test_a_host_without_the_package_refuses_no_setting_for_its_lack(
    package: InstalledPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_problems(package.model_copy(update={"digest": "0" * 32}), 4) == ()
    monkeypatch.setenv("NORMLAB_PLUGINS", "")
    assert find_problems(package, 4) == ()
