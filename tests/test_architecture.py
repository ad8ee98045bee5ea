"""The import rules hold, and each of them can fail: import-linter judges a graph with one import more."""

import subprocess
import sys
import tomllib
from copy import deepcopy
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from grimp import ImportGraph, build_graph
from importlinter.api import read_configuration
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.layers import LayersContract

ROOT = Path(__file__).parents[1]
RULES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS: dict[str, list[str]] = {
    contract["name"]: contract.get("forbidden_modules", []) for contract in RULES["contracts"]
}

CONTRACT_TYPES = {"forbidden": ForbiddenContract, "layers": LayersContract}

LAYERS = "api and worker stand on studies, studies on store, store on the trainer's words"
WORDS = "Only the worker imports the trainer beyond its words"
PURE = "The trainer knows no queues, trackers, databases or HTTP"
LIGHT = "No torch and no mlflow outside trainer and worker"
REMOTE = "What a person imports speaks HTTP only"

#: For each contract: the package that gets an import, and what it must not import.
FORBIDDEN = [
    (LAYERS, "trainer", "store"),
    (LAYERS, "store", "studies"),
    (LAYERS, "api", "worker"),
    (WORDS, "studies", "trainer.train"),
    (PURE, "trainer", "sqlalchemy"),
    (LIGHT, "api", "torch"),
    (LIGHT, "store", "mlflow"),
    (REMOTE, "normlab", "store"),
]

#: The trainer's modules that every package may import: they load no torch.
TRAINER_WORDS = {
    "trainer.documents",
    "trainer.events",
    "trainer.places",
    "trainer.problems",
    "trainer.roots",
    "trainer.schema_walk",
    "trainer.spec",
    "trainer.suggestions",
}


@cache
def imports() -> ImportGraph:
    """Who imports whom in this checkout, read from its files as `lint-imports` does; takes seconds."""
    return build_graph(
        *RULES["root_packages"],
        include_external_packages=RULES["include_external_packages"],
        cache_dir=None,
    )


def broken_contracts(*more: tuple[str, str]) -> set[str]:
    """The contracts that don't hold, were there these imports as well."""
    configuration = read_configuration(str(ROOT / "pyproject.toml"))
    broken = set()
    for options in configuration["contracts_options"]:
        made = CONTRACT_TYPES[options["type"]](
            options["name"], configuration["session_options"], options
        )
        graph = deepcopy(imports())
        for importer, imported in more:
            graph.add_import(importer=importer, imported=imported)
        if not made.check(graph, verbose=False).kept:
            broken.add(made.name)
    return broken


def test_the_packages_keep_every_contract() -> None:
    # The graph is of the packages that Python finds: they must be this checkout's.
    for package in RULES["root_packages"]:
        specification = find_spec(package)
        assert specification is not None
        assert specification.submodule_search_locations == [str(ROOT / package)]
    assert broken_contracts() == set()


@pytest.mark.parametrize(("contract", "package", "module"), FORBIDDEN)
def test_a_forbidden_import_breaks_its_contract(contract: str, package: str, module: str) -> None:
    assert contract in broken_contracts((package, module))


def test_the_command_reads_documents_without_what_the_service_needs() -> None:
    program = "import sys; from normlab.documents import read_input; read_input('a: 1\\n'); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "yaml" in loaded
    assert not loaded & {"torch", "pydantic", "sqlalchemy", "mlflow", "celery", "numpy"}


def test_every_contract_has_an_import_that_breaks_it() -> None:
    assert {contract for contract, _, _ in FORBIDDEN} == set(CONTRACTS)


def test_every_module_of_the_trainer_is_one_of_its_words_or_forbidden() -> None:
    names = {path.stem for path in (ROOT / "trainer").iterdir() if path.suffix == ".py"}
    modules = {f"trainer.{name}" for name in names if not name.startswith("__")} | {"trainer.spec"}
    assert modules - TRAINER_WORDS == set(CONTRACTS[WORDS])
