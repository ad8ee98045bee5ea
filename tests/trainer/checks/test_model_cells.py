"""The table of models and norms: its cells are what the check says, held against a training step."""

from dataclasses import replace

import pytest

from bench.models import cells
from bench.models.__main__ import Results
from bench.models.cells import Model, measure_cells
from bench.models.table import explain_failure, write_table
from trainer.spec.report import Report

CNN = Model("cnn", 8, 1)
VIT = Model("vit_small", 8, 1)


def test_an_accepted_cell_trains_and_counts_its_norms():
    (cell,) = measure_cells(CNN, ["group"])
    assert cell.accepted
    assert cell.norms == 3
    assert cell.gradient is not None
    assert cell.gradient > 0
    assert explain_failure(cell) is None


def test_a_refused_cell_carries_layer_and_reason():
    (cell,) = measure_cells(VIT, ["instance"])
    assert not cell.accepted
    assert cell.layer == "blocks.0.norm1"
    assert "not defined on a sequence of tokens" in str(cell.reason)


def test_a_cell_that_the_check_accepts_and_training_refuses_shows(monkeypatch, tmp_path):
    monkeypatch.setattr(cells, "check", lambda *args: Report())
    (cell,) = measure_cells(VIT, ["instance"])
    assert cell.accepted
    assert "not defined on a sequence of tokens" in str(explain_failure(cell))
    write_table(tmp_path / "models.md", [VIT], {("vit_small", "instance"): cell}, [])
    assert "**fails**" in (tmp_path / "models.md").read_text()


def test_class_scores_that_do_not_differ_are_a_failure():
    (cell,) = measure_cells(CNN, ["none"])
    assert explain_failure(cell) is None
    assert "differ by 1e-12" in str(explain_failure(replace(cell, spread=1e-12)))


@pytest.mark.parametrize("count", [0, 1])
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path, count):
    results = Results.read(tmp_path / "models.jsonl")
    for _ in range(count):
        results.add('{"model": "cnn", "norm": "layer", "accepted": true}')
    again = Results.read(tmp_path / "models.jsonl")
    assert ("layer" in again.missing("cnn")) == (count == 0)
    assert "batch" in again.missing("cnn")
