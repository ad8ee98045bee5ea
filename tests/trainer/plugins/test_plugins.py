"""Models of a package that the settings name: found, fingerprinted, loaded, built, and put through surgery."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.plugin_packages import NETS, write_package
from trainer.checks import check
from trainer.data import load
from trainer.errors import ModelError
from trainer.events import Finished
from trainer.models import build_model, build_with_report
from trainer.plugins import PluginError, find_plugin, list_offered, load_plugin
from trainer.spec import BUILT_IN, InstalledPackage, JobSpec
from trainer.training import train

DIGITS = BUILT_IN["digits"]
ROOT = Path(__file__).parents[3]


def make_spec(entry: str = "tiny", **parts: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "dataset": {"name": "digits"},
            "model": {"name": f"plugin:{entry}", **parts.pop("model", {})},
            "norm": {"kind": "batch"},
            "training": {"epochs": 1},
            **parts,
        }
    )


def problem_of(spec: JobSpec) -> tuple[str, str]:
    [problem] = check(spec, DIGITS).problems
    return problem.pointer, problem.detail


def problem_after(earlier: str, site: Path) -> str:
    """What a process that begins with the code `earlier` says of the package."""
    code = f"{earlier}\nfrom trainer.plugins import list_offered\nprint(list_offered()[0].problem)"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{site}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_model_of_a_package_trains(site: Path, tmp_path: Path) -> None:
    write_package(site)
    spec = make_spec(
        model={"options": {"width": 16, "depth": 2}},
        optimizer={"kind": "sgd", "lr": 0.1, "momentum": 0.9},
        training={"epochs": 3},
    )
    report = check(spec, DIGITS)
    assert not report.problems
    assert [layer.name for layer in report.layers] == ["1", "4"]
    data = load(spec.dataset, DIGITS, tmp_path / "datasets")
    *_, end = train(spec, data, tmp_path / "attempt-1")
    assert isinstance(end, Finished)
    assert end.metrics["test_accuracy"] > 0.3


@pytest.mark.parametrize(
    ("norm", "kind"),
    [
        ({"kind": "group", "groups": 4}, nn.GroupNorm),
        ({"kind": "batch"}, nn.BatchNorm2d),
        ({"kind": "none"}, nn.Identity),
    ],
)
def test_surgery_works_on_its_norms_and_shared_layers_begin_equal(
    site: Path, norm: dict[str, Any], kind: type[nn.Module]
) -> None:
    write_package(site)
    reference = build_model(make_spec(), DIGITS)
    model, _ = build_with_report(make_spec(norm=norm), DIGITS)
    assert isinstance(model, nn.Sequential)
    assert isinstance(model[1], kind)
    convolution, last = model[0], model[5]
    assert isinstance(convolution, nn.Conv2d)
    # Without a norm, the convolution before it gets a bias.
    assert (convolution.bias is not None) == (norm["kind"] == "none")
    theirs = reference.state_dict()
    assert torch.equal(convolution.weight, theirs["0.weight"])
    assert torch.equal(last.weight, theirs["5.weight"])


def test_a_model_that_computes_while_it_is_built_is_checked_too(site: Path) -> None:
    write_package(site)
    assert not check(make_spec("sized"), DIGITS).problems


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("number", "plugin:number must give a torch.nn.Module but gave a int"),
        ("broken", "plugin:broken cannot be built for inputs of 1×8×8: KeyError: 'no such width'"),
        ("lazy", "plugin:lazy has lazy layers"),
        ("three", "must be a function, but lab_nets:not_a_function is a int"),
        ("gone", "cannot be loaded from lab_nets:gone: AttributeError"),
        ("tine", "lab-nets (NORMLAB_PLUGINS) has no model plugin:tine; there is plugin:tiny"),
    ],
)
def test_what_is_wrong_with_a_model_is_a_problem_of_its_name(
    site: Path, entry: str, said: str
) -> None:
    write_package(site)
    pointer, detail = problem_of(make_spec(entry))
    assert pointer == "/model/name"
    assert said in detail


def test_an_option_that_the_function_does_not_take_is_told_with_its_signature(site: Path) -> None:
    write_package(site)
    pointer, detail = problem_of(make_spec(model={"options": {"widht": 8}}))
    assert pointer == "/model/options"
    assert "unexpected keyword argument 'widht'" in detail


def test_options_that_torch_refuses_are_a_problem(site: Path) -> None:
    write_package(site)
    pointer, detail = problem_of(make_spec(model={"options": {"width": -4}}))
    assert pointer == "/model/name"
    assert "negative dimension -4" in detail


def test_a_package_that_cannot_be_imported_says_why(site: Path) -> None:
    write_package(site, modules={"lab_nets": "import no_such_module\n"})
    assert "ModuleNotFoundError: No module named 'no_such_module'" in problem_of(make_spec())[1]


def test_a_package_that_the_setting_does_not_name_is_not_used(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(site)
    monkeypatch.setenv("NORMLAB_PLUGINS", "")
    with pytest.raises(
        PluginError, match=r"offered by the package lab-nets, which may not be used"
    ):
        find_plugin("model", "tiny")
    assert "lab_nets" not in sys.modules


def test_a_package_that_is_not_installed_is_named(site: Path) -> None:
    assert (
        list_offered()[0].problem == "lab-nets is named in NORMLAB_PLUGINS but not installed here"
    )
    assert "not installed here" in problem_of(make_spec())[1]


def test_a_name_that_two_packages_offer_is_refused(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(site)
    write_package(
        site,
        name="lab-more",
        modules={"lab_more": NETS},
        entries={"normlab.models": {"tiny": "lab_more:tiny"}},
    )
    monkeypatch.setenv("NORMLAB_PLUGINS", "lab-nets, lab_more")
    with pytest.raises(PluginError, match="offered by lab-nets and lab-more"):
        find_plugin("model", "tiny")


def test_the_digest_is_of_what_the_package_s_files_hold(site: Path) -> None:
    metadata = write_package(site)
    before = find_plugin("model", "tiny").installed
    assert (before.package, before.version) == ("lab-nets", "1.0")
    # How it was installed says nothing of its code.
    (metadata / "INSTALLER").write_text("uv\n")
    record = metadata / "RECORD"
    record.write_text(f"{record.read_text()}__pycache__/lab_nets.cpython-311.pyc,,\n")
    assert find_plugin("model", "tiny").installed == before
    (site / "lab_nets.py").write_text(NETS.replace("width=8", "width=9"))
    assert find_plugin("model", "tiny").installed.digest != before.digest


def test_a_job_does_not_run_other_code_than_it_was_submitted_with(site: Path) -> None:
    write_package(site)
    submitted = find_plugin("model", "tiny").installed
    load_plugin("model", "tiny", submitted)
    changed = submitted.model_copy(update={"digest": "0" * 32})
    with pytest.raises(PluginError, match=r"submitted with lab-nets 1.0 \(0+\), but lab-nets 1.0"):
        load_plugin("model", "tiny", changed)


def test_what_a_process_has_imported_stays_the_version_that_it_was(site: Path) -> None:
    write_package(site)
    load_plugin("model", "tiny", None)
    (site / "lab_nets.py").write_text(NETS.replace("width=8", "width=9"))
    spec = make_spec(model={"installed": find_plugin("model", "tiny").installed})
    with pytest.raises(ModelError, match="is what this process has loaded"):
        build_model(spec, DIGITS)


def test_an_editable_installation_is_refused(site: Path) -> None:
    metadata = write_package(site)
    origin = {"url": "file:///home/ada/nets", "dir_info": {"editable": True}}
    (metadata / "direct_url.json").write_text(json.dumps(origin))
    assert "editable mode" in str(list_offered()[0].problem)


@pytest.mark.parametrize(
    ("file", "text"),
    [("METADATA", "Metadata-Version: 2.1\nName: lab-nets\n"), ("direct_url.json", "{")],
)
def test_metadata_that_cannot_be_read_are_told(site: Path, file: str, text: str) -> None:
    metadata = write_package(site)
    (metadata / file).write_text(text)
    [offered] = list_offered()
    assert offered.installed is None
    assert "lab-nets has metadata that cannot be read" in str(offered.problem)


@pytest.mark.parametrize("earlier", ["", "import importlib_metadata"])
def test_a_package_without_a_version_is_told_whatever_the_process_has_imported(
    site: Path, earlier: str
) -> None:
    metadata = write_package(site)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-nets\n")
    assert "lab-nets has metadata that cannot be read" in problem_after(earlier, site)


@pytest.mark.parametrize("earlier", ["", "import importlib_metadata"])
def test_a_missing_file_is_told_whatever_the_process_has_imported(site: Path, earlier: str) -> None:
    """importlib_metadata, which MLflow imports, makes the standard library leave out such files."""
    write_package(site)
    (site / "lab_nets.py").unlink()
    assert "lab_nets.py of lab-nets cannot be read" in problem_after(earlier, site)


def test_a_module_in_the_package_s_place_is_refused(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(site)
    other = tmp_path / "other"
    other.mkdir()
    (other / "lab_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(other))
    with pytest.raises(PluginError, match="is no file of the package"):
        load_plugin("model", "tiny", None)


def test_the_hash_of_a_job_has_the_digest_in_it(site: Path) -> None:
    from trainer.spec import content_hash

    package = InstalledPackage(package="lab-nets", version="1.0", digest="0" * 32)
    other = package.model_copy(update={"digest": "1" * 32})
    hashes = {
        content_hash(make_spec(model={"installed": one}), "data") for one in (package, other, None)
    }
    assert len(hashes) == 3
