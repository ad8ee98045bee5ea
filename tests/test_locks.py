"""The lock files name exactly what is installed, in the versions of constraints.txt, and no place it comes from."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {
    "image": re.findall(
        r"\['optional-dependencies'\]\['(\w+)'\]", (ROOT / "Dockerfile").read_text()
    ),
    "all": list(PROJECT["optional-dependencies"]),
}
#: Parts of CUDA, which torch pins itself.
OF_TORCH = re.compile(r"(nvidia|cuda)-.*|triton")

Environment = dict[str, str]


def environments() -> Iterator[Environment]:
    """Those that the locks are for."""
    for python in ("3.11", "3.12"):
        for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")):
            yield {
                **{name: str(value) for name, value in default_environment().items()},
                "python_version": python,
                "python_full_version": f"{python}.4",
                "sys_platform": system,
                "platform_system": system.capitalize(),
                "platform_machine": machine,
            }


def requirements(path: Path) -> list[tuple[Requirement, list[str]]]:
    """With the hashes of each."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(" --hash=") for line in text.splitlines() if line.strip()]
    return [(Requirement(first), [one.strip() for one in hashes]) for first, *hashes in lines]


def pinned(requirements: Iterable[Requirement], environment: Environment) -> dict[str, str]:
    """Name → version, where the marker holds."""
    return {
        canonicalize_name(one.name): str(one.specifier)
        for one in requirements
        if one.marker is None or one.marker.evaluate(environment)
    }


def closure(needed: Iterable[str]) -> set[str]:
    """What these bring along here, by what the installed packages say of themselves."""
    names: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = [Requirement(one) for one in needed]
    while queue:
        one = queue.pop()
        key = canonicalize_name(one.name), frozenset(one.extras)
        if key in seen:
            continue
        seen.add(key)
        names.add(key[0])
        for text in distribution(one.name).requires or ():
            further = Requirement(text)
            extras = one.extras or {""}
            if further.marker is None or any(
                further.marker.evaluate({"extra": extra}) for extra in extras
            ):
                queue.append(further)
    return names


@pytest.mark.parametrize("lock", EXTRAS)
def test_a_lock_has_the_hash_of_every_file_and_no_address(lock: str) -> None:
    path = ROOT / "locks" / f"{lock}.txt"
    assert "://" not in path.read_text()
    for requirement, hashes in requirements(path):
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), requirement


@pytest.mark.parametrize("lock", EXTRAS)
def test_a_lock_has_the_versions_of_the_constraints(lock: str) -> None:
    locked = [one for one, _ in requirements(ROOT / "locks" / f"{lock}.txt")]
    allowed = [one for one, _ in requirements(ROOT / "constraints.txt")]
    for environment in environments():
        versions, pins = pinned(locked, environment), pinned(allowed, environment)
        free = {name for name in versions if name not in pins and not OF_TORCH.fullmatch(name)}
        assert free == set(), environment
        assert different(versions, pins) == {}, environment


def different(versions: Mapping[str, str], pins: Mapping[str, str]) -> dict[str, str]:
    return {name: one for name, one in versions.items() if pins.get(name, one) != one}


@pytest.mark.parametrize("lock", EXTRAS)
def test_a_lock_names_what_is_installed_and_nothing_else(lock: str) -> None:
    """`make lock` writes it anew after a change of pyproject.toml or constraints.txt."""
    extras = [one for extra in EXTRAS[lock] for one in PROJECT["optional-dependencies"][extra]]
    locked = [one for one, _ in requirements(ROOT / "locks" / f"{lock}.txt")]
    here = {name: str(value) for name, value in default_environment().items()}
    assert set(pinned(locked, here)) == closure([*PROJECT["dependencies"], *extras])
