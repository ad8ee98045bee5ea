"""The examples in the documents are studies that can be; the page of results is of the presets as they are."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel, TypeAdapter

from runtime.documents import read_document
from studies.presets import presets
from studies.spec.claims import Statistic
from studies.spec.expand import expand
from studies.spec.panels import Panel
from studies.spec.study import StudySpec, is_study, read_study
from studies.spec.trials import expand_trials
from trainer.spec.job import JobSpec

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "claims.md").read_text()
BLOCKS = [
    (file.name, read_document(text))
    for file in sorted((ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    for block in re.findall(r"```yaml\n(.*?)```", file.read_text(), flags=re.DOTALL)
    # Also with what stands there as a comment: a key that may be added.
    for text in {block, re.sub(r"^# (?=\w+: )", "", block, flags=re.MULTILINE)}
]
EXAMPLES = [(file, document) for file, document in BLOCKS if is_study(document)]
PRESETS = [
    (f"{name} · {scale} · {dataset}", preset.document(scale, dataset))
    for name, preset in presets().items()
    for scale, size in preset.scales.items()
    for dataset in size.datasets
]
TUNED = [
    ("settings beside seeds", {"optimizer.lr": [0.01, 0.1], "seeds": [100, 101], "budget": 2}),
    ("settings in their own place", {"settings": {"optimizer.lr": [0.01, 0.1]}, "seeds": [100, 101]}),
]  # fmt: skip
STATISTICS: TypeAdapter[Any] = TypeAdapter(Statistic)
PANELS: TypeAdapter[Any] = TypeAdapter(Panel)


@cache
def published(model: type[BaseModel]) -> Any:
    return jsonschema_rs.validator_for(model.model_json_schema())


@pytest.mark.parametrize(
    ("name", "document"),
    [*BLOCKS, *PRESETS, *((name, {**EXAMPLES[0][1], "tune": tune}) for name, tune in TUNED)],
)
def test_what_is_documented_is_valid_by_the_published_schema(name: str, document: Any) -> None:
    validator = published(StudySpec if is_study(document) else JobSpec)
    assert list(validator.iter_errors(document)) == []


@pytest.mark.parametrize("tune", [{"optimizer.lr": 0.1}, {"seeds": ["a"]}, {"budget": 0}])
def test_the_published_schema_refuses_a_tuning_that_is_none(tune: Any) -> None:
    assert not published(StudySpec).is_valid({**EXAMPLES[0][1], "tune": tune})


@pytest.mark.parametrize(("file", "document"), EXAMPLES)
def test_an_example_is_a_study(file: str, document: Any) -> None:
    study = read_study(document)
    assert expand(study)
    follows = bool(study.tuned_paths) or study.pretrain is not None
    assert bool(expand_trials(study)) == follows


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
        STATISTICS.validate_python(read_document(written))


@pytest.mark.parametrize("written", re.findall(r"^\| `(\{panel: [^`]*\})`", TEXT, re.MULTILINE))
def test_a_panel_as_written_is_one(written: str) -> None:
    PANELS.validate_python(read_document(written))


RUN = [
    (name, scale)
    for name, preset in presets().items()
    for scale in ("small", "medium")
    if scale in preset.scales and preset.registration(scale).first_run
]


@pytest.mark.parametrize(("name", "scale"), RUN)
def test_the_results_are_of_the_preset_as_it_is(name: str, scale: str) -> None:
    preset = presets()[name]
    page = (ROOT / "docs" / "lectures.md").read_text()
    entry = name if scale == "small" else f"{name}-{scale}"
    section = page.partition(f"\n## {entry}\n")[2].partition("\n## ")[0]
    assert f"digest {preset.registration(scale).digest}.\n" in section
    assert f"(lectures/{entry}.png)" in section
    assert (ROOT / "docs" / "lectures" / f"{entry}.png").exists()
    said = [preset.text, *preset.caveats, preset.measured]
    said += [claim.says for claim in preset.study_spec(scale).claims]
    for words in said:
        assert " ".join(words.split()) in " ".join(section.split())


@pytest.mark.parametrize("name", presets())
def test_every_preset_has_run(name: str) -> None:
    assert (name, "small") in RUN
