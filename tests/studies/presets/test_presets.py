"""Every file of the catalogue, and the rules by which a preset may change."""

from typing import Any

import pytest
from pydantic import ValidationError

from studies.presets import (
    CHAPTERS,
    SOURCES,
    NotOffered,
    Preset,
    UnknownPreset,
    find_preset,
    how_to_register,
    presets,
    read_preset,
)
from studies.spec.expand import expand
from studies.spec.study import ENOUGH_SEEDS
from trainer.spec.builtin import BUILT_IN

ALL = list(presets())
SIZES = [
    (name, scale, dataset)
    for name, preset in presets().items()
    for scale, size in preset.scales.items()
    for dataset in size.datasets
]

FILE = """
title: Does it?
topic: a lecture
paper: Somebody 2015
text: We try.
study:
  base: {model: {name: mlp}, training: {epochs: 3}}
  variants: {none: {norm: {kind: none}}, batch: {norm: {kind: batch}}}
  claims:
    - {name: better, says: It is better, statistic: test_accuracy, rising: [none, batch]}
scales:
  toy: {study: {seeds: 2}, datasets: {digits: {}}}
  small:
    study: {seeds: 10, base: {training: {steps: 30, eval_every: 10}}}
    datasets: {digits: {}, mnist: {base: {dataset: {train_size: 100}}}}
"""


def changed(**lines: str) -> str:
    text = FILE
    for old, new in lines.items():
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(("name", "scale", "dataset"), SIZES)
def test_every_size_of_every_preset_is_a_study(name: str, scale: str, dataset: str) -> None:
    study = find_preset(name).study_spec(scale, dataset)
    cells = expand(study)
    assert {cell.spec.dataset.name for cell in cells} == {dataset}
    assert study.claims
    if scale == "small":
        assert len(study.seed_list) >= ENOUGH_SEEDS


@pytest.mark.parametrize("name", ALL)
def test_a_preset_runs_from_pip_alone_at_its_defaults(name: str) -> None:
    for scale in ("toy", "small"):
        assert next(iter(find_preset(name).scales[scale].datasets)) in BUILT_IN


@pytest.mark.parametrize("name", ALL)
def test_what_does_not_come_with_normlab_says_how_to_get_it(name: str) -> None:
    for size in find_preset(name).scales.values():
        for dataset in size.datasets:
            assert (how_to_register(dataset) is None) == (dataset in BUILT_IN)


@pytest.mark.parametrize("name", ALL)
def test_a_preset_has_words(name: str) -> None:
    preset = find_preset(name)
    for text in (preset.title, preset.topic, preset.paper, preset.text):
        assert text.strip()
    assert preset.caveats
    assert preset.title.endswith("?")
    assert "not been run" in preset.scales["full"].takes


def test_scale_and_dataset_add_to_the_study() -> None:
    preset = read_preset("mine.yaml", FILE)
    document = preset.document("small", "mnist")
    assert document["base"] == {
        "dataset": {"name": "mnist", "train_size": 100},
        "model": {"name": "mlp"},
        "training": {"steps": 30, "eval_every": 10},
    }
    assert (document["seeds"], document["project"]) == (10, "presets")
    assert document["name"] == "mine · small · mnist"
    assert preset.document("small")["base"]["dataset"] == {"name": "digits"}


def test_what_is_not_offered_is_refused_with_what_is() -> None:
    preset = read_preset("mine.yaml", FILE)
    with pytest.raises(NotOffered, match="must be one of toy, small, but got 'full'") as refused:
        preset.document("full")
    assert refused.value.field == "scale"
    with pytest.raises(NotOffered, match="must be one of digits, mnist, but got 'cats'"):
        preset.document("small", "cats")
    with pytest.raises(UnknownPreset, match="there is no preset 'cats'"):
        find_preset("cats")


@pytest.mark.parametrize(
    ("old", "new", "differs"),
    [
        ("title: Does it?", "title: Does it, really?", False),
        ("text: We try.", "text: We try hard.", False),
        ("toy: {study: {seeds: 2}", "toy: {study: {seeds: 3}", False),
        ("claims:", "description: words\n  claims:", False),
        ("epochs: 3", "epochs: 4", True),
        ("rising: [none, batch]", "falling: [none, batch]", True),
        ("seeds: 10", "seeds: 11", True),
        ("train_size: 100", "train_size: 101", True),
    ],
)
def test_the_digest_is_of_what_verdicts_rest_on(old: str, new: str, differs: bool) -> None:
    assert old in FILE
    one, other = (read_preset("mine.yaml", text) for text in (FILE, FILE.replace(old, new)))
    digests = [preset.registration("small").digest for preset in (one, other)]
    assert (digests[0] != digests[1]) == differs


def test_a_change_after_the_first_run_must_be_told() -> None:
    first = read_preset("mine.yaml", FILE).registration("small").digest
    ran = f"{FILE}first_run: {first}\n"
    assert read_preset("mine.yaml", ran).changes == ()
    tuned = ran.replace("epochs: 3", "epochs: 30")
    with pytest.raises(ValidationError, match="add what and why to `changes`"):
        read_preset("mine.yaml", tuned)
    more = read_preset("mine.yaml", FILE.replace("epochs: 3", "epochs: 30"))
    now = more.registration("small").digest
    told = f"{tuned}changes:\n  - {{what: more epochs, why: it had not converged, digest: {now}}}\n"
    assert [one.what for one in read_preset("mine.yaml", told).changes] == ["more epochs"]


MEDIUM = "  medium: {study: {seeds: 9}, datasets: {mnist: {}}%s}\n"


def test_scale_medium_is_fixed_by_itself() -> None:
    first = read_preset("mine.yaml", FILE).registration("small").digest
    ran = f"{FILE}{MEDIUM % ''}first_run: {first}\n"
    preset = read_preset("mine.yaml", ran)
    assert preset.registration("small").digest == preset.registration("full").digest == first
    medium = preset.registration("medium")
    assert (medium.first_run, medium.digest == first) == (None, False)
    also_ran = ran.replace("mnist: {}}}", f"mnist: {{}}}}, first_run: {medium.digest}}}")
    assert read_preset("mine.yaml", also_ran).registration("medium").first_run == medium.digest
    with pytest.raises(ValidationError, match="since scale medium first ran"):
        read_preset("mine.yaml", also_ran.replace("seeds: 9", "seeds: 10"))
    # What only the other scales have is no change of medium.
    with pytest.raises(ValidationError, match="since the preset first ran"):
        read_preset("mine.yaml", also_ran.replace("seeds: 10", "seeds: 11"))
    with pytest.raises(ValidationError, match="scale toy has no first run of its own"):
        read_preset("mine.yaml", FILE.replace("toy: {", "toy: {first_run: beef, "))


def test_a_file_says_nothing_unknown() -> None:
    with pytest.raises(ValidationError, match="verdict"):
        read_preset("mine.yaml", f"{FILE}verdict: holds\n")


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "imagenet"])
def test_a_source_on_the_hub_is_pinned_by_its_commit(name: str) -> None:
    command = how_to_register(name)
    assert command is not None
    revision = command.split("@")[1].split()[0]
    assert len(revision) == 40
    assert set(revision) <= set("0123456789abcdef")


def test_every_preset_is_in_one_chapter() -> None:
    assert sorted(name for names in CHAPTERS.values() for name in names) == sorted(ALL)


def test_a_preset_is_data(tmp_path: Any) -> None:
    with pytest.raises(Exception, match="tags are not allowed"):
        read_preset("mine.yaml", "title: !!python/object/apply:os.system [true]\n")
    assert isinstance(read_preset("mine.yaml", FILE), Preset)
