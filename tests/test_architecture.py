"""The import rules hold, and each of them can fail: import-linter judges a graph with one import more."""

import ast
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

LAYERS = "api and worker stand on studies, studies on store, store on the trainer's words, all on runtime"
WORDS = "Only the worker imports the trainer beyond its words"
PURE = "The trainer and runtime import no queue, tracker, database or HTTP"
LIGHT = "No torch and no mlflow outside trainer and worker"
DRAWN = "In the service, only figures are drawn with matplotlib"
REMOTE = "What a person imports speaks HTTP only"

#: For each contract: the package that gets an import, and what it must not import.
FORBIDDEN = [
    (LAYERS, "trainer", "store"),
    (LAYERS, "store", "studies"),
    (LAYERS, "api", "worker"),
    (LAYERS, "runtime", "trainer"),
    ("Rooms of the trainer", "trainer.models", "trainer.training"),
    ("Rooms of the trainer's data", "trainer.data.sources", "trainer.data.decoding"),
    ("Rooms of studies", "studies.comparison", "studies.report"),
    ("The way of a comparison", "studies.comparison.evidence", "studies.comparison.verdict"),
    ("Rooms of the store", "store.db", "store.jobs"),
    ("Rooms of the API", "api.http", "api.routes"),
    ("Rooms of the worker", "worker.execution", "worker.mirror"),
    ("Rooms of normlab", "normlab.client", "normlab.cli"),
    (WORDS, "studies", "trainer.training"),
    (PURE, "trainer", "sqlalchemy"),
    (LIGHT, "api", "torch"),
    (LIGHT, "store", "mlflow"),
    (DRAWN, "studies.report", "matplotlib"),
    ("Optuna proposes the settings of a search, and does nothing else", "worker.sweep", "optuna"),
    (REMOTE, "normlab", "store"),
]

PACKAGES = {name: ROOT / name for name in (*RULES["root_packages"], "migrations")}
#: More than this no room holds.
MOST_MODULES = 15


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
    program = "import sys; from normlab.client.documents import read_input; read_input('a: 1\\n'); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "yaml" in loaded
    assert not loaded & {"torch", "pydantic", "sqlalchemy", "mlflow", "celery", "numpy"}


def test_every_contract_has_an_import_that_breaks_it() -> None:
    assert {contract for contract, _, _ in FORBIDDEN} == set(CONTRACTS)


def rooms() -> dict[str, Path]:
    """Every folder with modules, below those of the packages, by its name."""
    return {
        ".".join(path.parent.relative_to(ROOT).parts): path.parent
        for folder in PACKAGES.values()
        for path in folder.rglob("__init__.py")
        if path.parent != folder and path.parent.parent.name != "migrations"
    }


def test_no_room_is_crowded() -> None:
    counts = {name: len(list(room.glob("[!_]*.py"))) for name, room in rooms().items()}
    assert {name: count for name, count in counts.items() if count > MOST_MODULES} == {}


def test_every_room_says_what_it_is_for() -> None:
    assert [
        name
        for name, room in rooms().items()
        if not ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
    ] == []


def exported(room: Path) -> set[str] | None:
    """What the room's `__all__` lists; None where it has none."""
    for node in ast.parse((room / "__init__.py").read_text()).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                return set(ast.literal_eval(value))
    return None


def test_other_rooms_import_only_what_a_room_exports() -> None:
    public = {name: names for name, room in rooms().items() if (names := exported(room))}
    strays = []
    for folder in PACKAGES.values():
        for path in sorted(folder.rglob("*.py")):
            own = ".".join(path.parent.relative_to(ROOT).parts)
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.ImportFrom) or node.module is None:
                    continue
                room = max(
                    (r for r in public if f"{node.module}.".startswith(f"{r}.")),
                    key=len,
                    default=own,
                )
                if f"{own}.".startswith(f"{room}."):
                    continue
                if node.module != room or not {alias.name for alias in node.names} <= public[room]:
                    strays.append(f"{path.relative_to(ROOT)}: {ast.unparse(node)}")
    assert strays == []
