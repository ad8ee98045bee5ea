"""The import rules hold, and each of them can fail: import-linter runs over a copy with one import more."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RULES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS: dict[str, list[str]] = {
    contract["name"]: contract.get("forbidden_modules", []) for contract in RULES["contracts"]
}

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


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and their rules in a folder of their own."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in RULES["root_packages"]:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    return tmp_path


def lint(folder: Path) -> tuple[int, str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_packages_keep_every_contract(copy: Path) -> None:
    status, said = lint(copy)
    assert status == 0, said
    assert f"{len(CONTRACTS)} kept, 0 broken" in said


@pytest.mark.parametrize(("contract", "package", "module"), FORBIDDEN)
def test_a_forbidden_import_breaks_its_contract(
    copy: Path, contract: str, package: str, module: str
) -> None:
    with (copy / package / "__init__.py").open("a") as source:
        source.write(f"\nimport {module}\n")
    status, said = lint(copy)
    assert status == 1, said
    assert f"{contract} BROKEN" in said


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
