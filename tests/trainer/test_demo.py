"""The demo's study: its verdict must not hang on how a processor rounds."""

from pathlib import Path

import pytest

from runtime.documents import read_document
from studies.spec.expand import expand
from studies.spec.study import read_study
from tests.support.trainings import epochs, run

DEMO = Path(__file__).parents[2] / "normlab" / "demo.yaml"


@pytest.mark.parametrize(
    ("variant", "low", "high"), [("none", 0.0, 0.3), ("batch", 0.7, 1.0), ("group", 0.45, 1.0)]
)
def test_a_short_demo_tells_the_variants_apart_by_far(
    variant: str, low: float, high: float, tmp_path: Path
) -> None:
    """Half of its epochs: about a second each."""
    document = read_document(DEMO.read_bytes())
    document["base"]["training"]["epochs"] = 10
    document["base"].pop("diagnostics")
    cells = expand(read_study(document))
    spec = next(cell.spec for cell in cells if (cell.variant, cell.seed) == (variant, 0))
    accuracy = epochs(run(spec, tmp_path))[-1].metrics["val_accuracy"]
    assert low <= accuracy <= high
