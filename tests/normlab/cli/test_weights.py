"""What `download --weights` says about loading is what loads it."""

import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from normlab.cli.render.weights import say_how_to_load
from normlab.client.ids import Reference
from tests.support.trainings import save_weights
from trainer.models.build import build_model
from trainer.spec.builtin import BUILT_IN
from trainer.spec.job import JobSpec


class FakeClient:
    """Answers for one job on digits."""

    spec = JobSpec.model_validate(
        {
            "dataset": {"name": "digits", "image_size": 16},
            "model": {"name": "cnn"},
            "norm": {"kind": "batch"},
        }
    )

    def show(self, name: str) -> dict[str, Any]:
        assert name == "j12"
        return {"spec": self.spec.model_dump(mode="json")}

    def dataset(self, name: str) -> dict[str, Any]:
        return {"info": BUILT_IN[name].model_dump(mode="json")}


def test_the_recipe_for_a_downloaded_checkpoint_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "best.pt"
    original = build_model(FakeClient.spec, BUILT_IN["digits"]).eval()
    save_weights(original, path)
    say_how_to_load(Reference.parse("j12"), path)
    said = capsys.readouterr().out
    code = "\n".join(line for line in said.splitlines() if line.startswith("  "))
    monkeypatch.setattr("normlab.Client", FakeClient)
    loaded: dict[str, Any] = {}
    exec(textwrap.dedent(code), loaded)
    assert loaded["weights"].keys() == original.state_dict().keys()
    inputs = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(loaded["model"](inputs), original(inputs))
