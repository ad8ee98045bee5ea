"""The examples in the documents are studies that can be; the page of results is of the presets as they are."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from studies.claims import Statistic
from studies.expansion import expand, expand_trials
from studies.panels import Panel
from studies.presets import presets
from studies.spec import is_study, read_study

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "claims.md").read_text()
EXAMPLES = [
    (file.name, document)
    for file in (ROOT / "README.md", ROOT / "docs" / "claims.md")
    for block in re.findall(r"```yaml\n(.*?)```", file.read_text(), flags=re.DOTALL)
    if is_study(document := yaml.safe_load(block))
]
STATISTICS: TypeAdapter[Any] = TypeAdapter(Statistic)
PANELS: TypeAdapter[Any] = TypeAdapter(Panel)


@pytest.mark.parametrize(("file", "document"), EXAMPLES)
def test_an_example_is_a_study(file: str, document: Any) -> None:
    study = read_study(document)
    assert expand(study)
    assert bool(expand_trials(study)) == (study.tune is not None)


def test_every_statistic_and_every_panel_is_explained() -> None:
    kinds = set(re.findall(r"\{kind: (\w+)", TEXT))
    assert kinds >= {
        "metric", "diverged", "curve", "steps_to_reach", "look", "spread", "difference", "ratio", "gain", "log10",
    }  # fmt: skip
    panels = {"curves", "over", "bars", "looks", "layers", "fans"}
    arrays = {"filters", "weights", "activations", "responses", "augmented", "grid", "mc_curve"}
    for name in panels:
        assert f"{{panel: {name}" in TEXT
    for name in arrays:
        assert name in TEXT


@pytest.mark.parametrize("written", re.findall(r"^\| `(\{kind: [^`]*\})`", TEXT, re.MULTILINE))
def test_a_statistic_as_written_is_one(written: str) -> None:
    if "…" not in written:
        STATISTICS.validate_python(yaml.safe_load(written))


@pytest.mark.parametrize("written", re.findall(r"^\| `(\{panel: [^`]*\})`", TEXT, re.MULTILINE))
def test_a_panel_as_written_is_one(written: str) -> None:
    PANELS.validate_python(yaml.safe_load(written))


@pytest.mark.parametrize("name", presets())
def test_the_results_are_of_the_preset_as_it_is(name: str) -> None:
    preset = presets()[name]
    page = (ROOT / "docs" / "lectures.md").read_text()
    section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert f"digest {preset.digest}.\n" in section
    assert f"(lectures/{name}.png)" in section
    assert (ROOT / "docs" / "lectures" / f"{name}.png").exists()
    said = [preset.text, *preset.caveats, preset.measured]
    said += [claim.says for claim in preset.study_spec("small").claims]
    for words in said:
        assert " ".join(words.split()) in " ".join(section.split())
