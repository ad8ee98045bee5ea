"""`python -m trainer`: one spec, no service, events as JSON lines."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.waiting import PATIENCE_SECONDS, wait_for
from trainer.__main__ import describe, main
from trainer.events import EpochFinished, Progressed
from trainer.spec.builtin import BUILT_IN
from trainer.spec.dataset import RecordEntry

SPEC = """
dataset: {name: digits, train_size: 200}
model: {name: mlp, hidden: [16]}
norm: {kind: batch}
optimizer: {kind: sgd, lr: 5e-2}
training: {epochs: 3, batch_size: 64}
"""


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs the command in this process; returns its exit status, its events and its complaints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(spec=SPEC, *options):
        (tmp_path / "spec.yaml").write_text(spec)
        status = main(["spec.yaml", *options])
        printed = capsys.readouterr()
        return status, [json.loads(line) for line in printed.out.splitlines()], printed.err

    return run


def kinds(events):
    return [one["event"] for one in events]


def test_events_are_printed_as_json_lines_without_steps(command, tmp_path):
    status, events, _ = command()
    assert status == 0
    # A checkpoint is announced when it is complete: its place depends on the disk.
    others = [kind for kind in kinds(events) if kind != "CheckpointSaved"]
    assert others == ["Started", *["EpochFinished"] * 3, "EvaluationFinished", "Finished"]
    assert kinds(events).count("CheckpointSaved") == 2
    assert events[-1]["metrics"]["steps"] == 12
    logged = (tmp_path / "runs/spec/events.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in logged] == events


@pytest.mark.usefixtures("preload")
def test_several_processes_train_one_spec(command, tmp_path):
    status, events, _ = command(SPEC + "resources: {devices: 2, device: cpu}", "--steps")
    assert status == 0
    assert [one["step"] for one in events if one["event"] == "Stepped"] == list(range(1, 13))
    assert (kinds(events)[0], kinds(events)[-1]) == ("Started", "Finished")
    assert len(list((tmp_path / "runs/spec/attempt-1").glob("*.pt"))) == 2


def test_steps_are_printed_on_demand(command):
    _, events, _ = command(SPEC, "--steps")
    assert kinds(events).count("Stepped") == 12


def test_only_two_checkpoints_of_each_kind_are_kept(command, tmp_path):
    often = SPEC.replace("epochs: 3", "epochs: 3, checkpoint_seconds: 1.0e-9")
    command(often, "--out", "out")
    names = sorted(path.name for path in (tmp_path / "out/attempt-1").glob("*.pt"))
    assert names == [
        "best-epoch-00002.pt",
        "best-epoch-00003.pt",
        "last-0011-step-00000011.pt",
        "last-0012-step-00000012.pt",
    ]


def test_a_finished_training_resumes_at_its_end(command):
    _, before, _ = command()
    status, after, _ = command(SPEC, "--resume")
    assert status == 0
    assert after[0]["first_step"] == 12
    assert after[-1] == before[-1]


def test_a_folder_with_a_training_is_not_overwritten(command):
    command()
    status, events, complaint = command()
    assert (status, events) == (2, [])
    assert "--resume" in complaint


def test_another_spec_is_not_resumed(command):
    command()
    status, _, complaint = command(SPEC.replace("5e-2", "6e-2"), "--resume")
    assert status == 2
    assert "another spec" in complaint


def test_there_must_be_something_to_resume(command):
    status, _, complaint = command(SPEC, "--resume")
    assert status == 2
    assert "holds no training" in complaint


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("model: [", "broken YAML at line 1"),
        (SPEC + "epochs: 3\n", f"spec.yaml:{SPEC.count(chr(10)) + 1}: /epochs: unknown key"),
        (SPEC.replace("epochs: 3", "epochs: -3"), "/training/epochs: "),
        (SPEC.replace("digits", "unknown"), "'unknown' is neither built in (digits, moons,"),
        (SPEC.replace("batch}", "group, groups: 7}"), "/norm/groups: "),
        ("- 1\n", "/: "),
    ],
)
def test_bad_specs_are_refused_with_the_field_before_anything_trains(command, spec, complaint):
    status, events, error = command(spec)
    assert (status, events) == (2, [])
    assert complaint in error
    assert "Traceback" not in error


def test_a_missing_file_is_refused(command, capsys):
    assert main(["nowhere.yaml"]) == 2
    assert "nowhere.yaml: No such file" in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for option in ("--out", "--data", "--source", "--resume", "--steps", "--device", "--threads"):
        assert option in shown


def test_a_folder_of_images_is_decoded_on_the_way(command, tmp_path):
    for label in range(2):
        for number in range(20):
            path = tmp_path / "images" / f"class-{label}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 100 * label + number).save(path)
    source = {"kind": "image_folder", "path": str(tmp_path / "images")}
    (tmp_path / "source.yaml").write_text(json.dumps(source))
    spec = SPEC.replace("digits, train_size: 200", "mine").replace(
        "batch_size: 64", "batch_size: 8"
    )
    status, events, error = command(spec, "--source", "source.yaml")
    assert status == 0, error
    assert events[-1]["event"] == "Finished"
    # Once it is decoded, its source need not be told again.
    assert command(spec, "--out", "again")[0] == 0


def test_numbers_that_are_not_finite_are_null_and_named():
    metrics = {"val_loss": float("nan"), "train_loss": float("inf"), "learning_rate": 0.1}
    described = describe(EpochFinished(1, 4, metrics, False, 0.5))
    assert described["metrics"] == {"val_loss": None, "train_loss": None, "learning_rate": 0.1}
    assert described["non_finite"] == {"val_loss": "nan", "train_loss": "inf"}
    json.dumps(described, allow_nan=False)


def test_what_decoding_mapped_or_left_out_is_told(command, monkeypatch):
    record = (
        RecordEntry(action="taken", what="train.parquet as train", count=1797),
        RecordEntry(action="skipped", what="files", count=2, why="they are no images"),
    )

    def decode(name, *_):
        yield Progressed("found 1797 train")
        return BUILT_IN["digits"].model_copy(update={"record": record})

    monkeypatch.setattr("trainer.data.decode", decode)
    (Path.cwd() / "source.yaml").write_text("{kind: parquet, path: /data}")
    spec = SPEC.replace("name: digits", "name: elsewhere")
    _, _, error = command(spec, "--source", "source.yaml", "--out", "out")
    assert "digits: skipped files: 2 (they are no images)\n" in error
    assert "taken" not in error


def test_an_interrupt_saves_and_stops_and_the_training_resumes(tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.replace("epochs: 3", "epochs: 100000"))
    arguments = [sys.executable, "-m", "trainer", str(spec), "--out", str(tmp_path / "out")]
    arguments += ["--data", str(tmp_path / "datasets")]
    first = start(arguments)
    events = tmp_path / "out/events.jsonl"
    wait_for(lambda: events.exists() and "EpochFinished" in events.read_text(), "an epoch ended")
    first.send_signal(signal.SIGINT)
    out, error = first.communicate(timeout=PATIENCE_SECONDS)
    assert first.returncode == 130, error
    saved = json.loads(out.splitlines()[-1])
    assert (saved["event"], saved["kind"]) == ("CheckpointSaved", "last")
    second = start([*arguments, "--resume"])
    assert second.stdout is not None
    started = json.loads(second.stdout.readline())
    second.terminate()
    second.communicate(timeout=PATIENCE_SECONDS)
    assert started["first_step"] == saved["step"]
    assert second.returncode == 143


def start(arguments: list[str]) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        arguments,
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


FINE_TUNED = SPEC.replace("epochs: 3", "epochs: 1") + "init_from: {job: 1}\n"


def test_a_spec_that_begins_from_another_job_takes_its_checkpoint_as_a_file(command):
    _, events, _ = command(SPEC, "--out", "source")
    saved = [one for one in events if one.get("kind") == "best"][-1]
    status, tuned, _ = command(FINE_TUNED, "--out", "tuned", "--weights", saved["path"])
    assert status == 0
    first, scratch = (
        next(one["metrics"]["val_loss"] for one in some if one["event"] == "EpochFinished")
        for some in (tuned, events)
    )
    assert first < scratch - 0.1
    pinned = FINE_TUNED.replace("job: 1", f"job: 1, digest: {saved['digest']}")
    _, tuned, _ = command(pinned, "--out", "pinned", "--weights", saved["path"])
    assert tuned[0]["facts"]["initial_weights"] == saved["digest"]


@pytest.mark.parametrize(
    ("more", "options", "words"),
    [
        ("", [], "give its checkpoint as a file with --weights"),
        ("", ["--weights", "nowhere.pt"], "nowhere.pt: No such file"),
        (", digest: " + "ab" * 16, ["--weights", "spec.yaml"], "its digest differs"),
    ],
)
def test_weights_that_are_not_given_or_are_others_are_refused(command, more, options, words):
    status, events, said = command(FINE_TUNED.replace("job: 1", f"job: 1{more}"), *options)
    assert (status, events) == (2, [])
    assert words in said
