"""The digest of the trainer's code changes with what the code does, not with where or how it is written."""

import ast
import shutil
from pathlib import Path

import pytest

from tests.support.pin_code import with_entry
from trainer.code_versions import GENERATIONS
from trainer.training.code_digest import code_digest

TRAINER = Path(__file__).parents[3] / "trainer"

MODULE = '''"""A module."""

import torch

from trainer.layers import norms

#: How much.
SHARE = 0.5


class Layer(torch.nn.Module):
    """Halves."""

    pitfalls = ("a trap",)
    share: float = Field(SHARE, description="how much")

    def forward(self, x):
        """x: N, C."""
        if x.ndim != 2:
            raise ValueError(f"must be of two dimensions but has {x.ndim}")
        return x * self.share


def build(*, channels, share=SHARE):
    return Layer(share)
'''


def digest(folder: Path, **modules: str) -> str:
    """Of a trainer with these modules; a `__` in a name parts folder and file."""
    for name, text in modules.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return code_digest(folder)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A module.", "Another sentence."),
        ("#: How much.\n", "# Half of it, since\n# the paper says so.\n\n\n"),
        ("x * self.share", "(\n            x\n            * self.share\n        )"),
        ("from trainer.layers import norms", "from trainer.norms import layers as norms"),
        ("x: N, C.", "Of x."),
        ("must be of two dimensions", "needs two dimensions"),
        ('("a trap",)', '("a trap", "another")'),
        ('"how much"', '"the share"'),
        ("SHARE = 0.5", 'SHARE = 0.50\n__all__ = ["SHARE"]'),
    ],
)
def test_words_and_layout_change_nothing(tmp_path: Path, before: str, after: str) -> None:
    assert before in MODULE
    rewritten = digest(tmp_path / "after", layers=MODULE.replace(before, after))
    assert rewritten == digest(tmp_path / "before", layers=MODULE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("SHARE = 0.5", "SHARE = 0.25"),
        ("x * self.share", "x / self.share"),
        ("x * self.share", "x @ self.share"),
        ("ndim != 2", "ndim != 3"),
        ("channels, share=SHARE", "channels=SHARE, share"),
        ("raise ValueError", "raise TypeError"),
        ("(SHARE, ", "(0.5, "),
    ],
)
def test_a_statement_that_does_something_else_is_seen(
    tmp_path: Path, before: str, after: str
) -> None:
    assert before in MODULE
    changed = digest(tmp_path / "after", layers=MODULE.replace(before, after))
    assert changed != digest(tmp_path / "before", layers=MODULE)


def test_statements_may_move_to_another_file(tmp_path: Path) -> None:
    head, build = MODULE.split("\n\n\ndef build", 1)
    halves = {"layers__halving": head, "models__build": f"def build{build}"}
    assert digest(tmp_path / "halves", **halves) == digest(tmp_path / "whole", layers=MODULE)


def test_a_statement_counts_as_often_as_it_is_there(tmp_path: Path) -> None:
    assert digest(tmp_path / "twice", a=MODULE, b=MODULE) != digest(tmp_path / "once", a=MODULE)


@pytest.mark.parametrize(
    "name", ["checks__norms", "conversion", "problems__explain", "ranks__launch", "__main__"]
)
def test_what_only_refuses_explains_or_calls_changes_nothing(tmp_path: Path, name: str) -> None:
    alone = digest(tmp_path / "alone", layers=MODULE)
    (tmp_path / "more").mkdir()
    path = (
        tmp_path
        / "more"
        / (f"{name}.py" if name == "__main__" else name.replace("__", "/") + ".py")
    )
    path.parent.mkdir(exist_ok=True)
    path.write_text("LIMIT = 3")
    assert digest(tmp_path / "more", layers=MODULE) == alone


def test_the_trainer_written_out_anew_in_one_file_has_its_digest(tmp_path: Path) -> None:
    """`ast.unparse` drops comments, and quotes and breaks lines in its own way."""
    modules = [path for path in TRAINER.rglob("*.py") if path != TRAINER / "code_versions.py"]
    rooms = ("checks", "conversion.py", "problems", "ranks", "__main__.py")
    without_effect = [TRAINER / room for room in rooms]
    texts = [
        ast.unparse(ast.parse(path.read_text()))
        for path in sorted(modules, reverse=True)
        if not any(path.is_relative_to(place) for place in without_effect)
    ]
    assert digest(tmp_path, everything="\n".join(texts)) == code_digest()


def test_bytecode_and_other_files_change_nothing(tmp_path: Path) -> None:
    copy = tmp_path / "trainer"
    shutil.copytree(TRAINER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "notes.txt").write_text("x = 1")
    assert code_digest(copy) == code_digest()


def test_the_digest_of_todays_code_is_known() -> None:
    run = "python -m tests.support.pin_code"
    assert code_digest() == list(GENERATIONS)[-1], (
        "The trainer's code has changed, and a study with jobs of before and after would be withheld for it. "
        "If every result (weights, losses, metrics) is equal digit by digit to that of the code before, run "
        f"`{run} same`; if some result has changed, run `{run} new`. Then commit trainer/code_versions.py."
    )


def test_generations_only_grow() -> None:
    generations = list(GENERATIONS.values())
    assert generations == sorted(generations)


def test_a_digest_is_recorded_once_at_the_end() -> None:
    module = 'TABLE = {\n    # The first.\n    "a": 1,\n    "b": 1,\n}\n\nx = 1\n'
    assert with_entry(module, "a", 2) == (
        'TABLE = {\n    # The first.\n    "b": 1,\n    "a": 2,\n}\n\nx = 1\n'
    )
