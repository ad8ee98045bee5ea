"""Bad documents: each is a problem+json that names the field, stores nothing and hurts nobody."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from api import admission
from api.http import body as body_module
from api.http import error_responses
from api.processes.spec_checker import Checker
from api.routes import datasets
from store.db.models import Dataset, IdempotencyKey, Job, Project, Study
from studies.spec.parts import read_job_parts, read_study_parts
from tests.support.documents import JOB, STUDY, Document, job, study
from trainer.spec.report import Report

JSON = "application/json"
YAML = "application/yaml"
INFINITE = "__infinite__"


@dataclass(frozen=True)
class Bad:
    """A request that must be refused: where to, what, and what the answer must say."""

    what: str
    body: bytes | Document
    pointer: str | None
    says: str
    route: str = "jobs"
    status: int = 422
    content_type: str = JSON
    settings: tuple[str, ...] = ()

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        # JSON has no infinity, but a number too large for a double is one when read.
        return json.dumps(self.body).replace(f'"{INFINITE}"', "1e999").encode()


def bad_setting(what: str, setting: str, says: str, pointer: str | None = None) -> Bad:
    return Bad(what, job(), pointer, says, settings=(setting,))


def bad_study(what: str, pointer: str, says: str, **changes: Any) -> Bad:
    return Bad(what, study(**changes), pointer, says, route="studies")


def bad_dataset(what: str, pointer: str, says: str, **document: Any) -> Bad:
    return Bad(what, document, pointer, says, route="datasets")


TEXTS = [
    Bad("an empty body", b"", None, "empty", status=400),
    Bad("an empty YAML body", b"  \n", None, "empty", status=400, content_type=YAML),
    Bad("broken JSON", b'{"dataset": ', None, "line 1, column", status=400),
    Bad("JSON that goes on", b'{"a": 1} x', None, "line 1, column", status=400),
    Bad("a NaN literal", b'{"seed": NaN}', None, "NaN", status=400),
    Bad("broken YAML", b"a: [1\nb: 2", None, "line 2, column", status=400, content_type=YAML),
    Bad("YAML with a tab", b"a:\n\t- 1", None, "line 2, column", status=400, content_type=YAML),
    Bad(
        "a Python object",
        b"!!python/object/apply:os.system [id]",
        None,
        "line 1",
        status=400,
        content_type=YAML,
    ),
    Bad(
        "a Python tuple",
        b"seed: !!python/tuple [1]",
        None,
        "line 1",
        status=400,
        content_type="text/yaml",
    ),
    Bad(
        "a key twice in YAML",
        b"seed: 1\nseed: 2",
        None,
        "twice",
        status=400,
        content_type="application/x-yaml",
    ),
    Bad("a key twice in JSON", b'{"seed": 1, "seed": 2}', None, "twice", status=400),
    Bad("bytes that aren't text", b"\xff\xfe", None, "UTF-8", status=400),
    Bad("YAML that isn't text", b"a: \xc3\x28", None, "UTF-8", status=400, content_type=YAML),
    Bad("deep nesting", b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", None, "nested", status=400),
    Bad(
        "a billion laughs",
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(
            b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9))
            for n in range(8)
        ),
        None,
        "values",
        status=400,
        content_type=YAML,
    ),
    Bad("a list", b"[1, 2]", "", "mapping"),
    Bad("a word", b"hello", "", "mapping", content_type=YAML),
    Bad("a body of 10 MB", b" " * (10 * 2**20 + 1), None, "10485760", status=413),
    Bad(
        "a study of 11 MB",
        json.dumps(study(description="x" * 11 * 2**20)).encode(),
        None,
        "10485760",
        status=413,
        route="studies",
    ),
    Bad(
        "a YAML of 2 MB",
        b"#" * 2 * 2**20,
        None,
        "1048576",
        status=413,
        content_type=YAML,
    ),
    Bad("a NUL", job(dataset__name="a\0b"), "/dataset/name", "NUL"),
    bad_study("a NUL where any text may be", "/description", "NUL", description="a\0b"),
    bad_study("half a character", "/description", "surrogates", description="\ud800"),
    Bad("half a character in a key", b'{"\\ud800": "\\u0000"}', "", "lone"),
    bad_study(
        "infinity where any value may be",
        "/base/training/epochs",
        "finite",
        base__training__epochs=INFINITE,
    ),
]

FIELDS = [
    Bad("no dataset", job(dataset=...), "/dataset", "required"),
    Bad("no model", job(model=...), "/model", "required"),
    Bad("no norm kind", job(norm={}), "/norm/kind", "required"),
    Bad("an unknown norm", job(norm__kind="bacth"), "/norm/kind", "batch"),
    Bad("an unknown optimizer", job(optimizer__kind="lbfgs"), "/optimizer/kind", "adamw"),
    Bad("an unknown model", job(model={"name": "vgg"}), "/model/name", "cnn"),
    Bad("a number for a model", job(model=1.5), "/model", "mapping"),
    Bad("a model without its library", job(model={"name": "resnet18"}), "/model/name", "mean 'torchvision:resnet18'?"),
    Bad("an unknown key", job(norms={"kind": "batch"}), "/norms", "unknown"),
    Bad("an unknown inner key", job(optimizer__learning_rate=1.0), "/optimizer/learning_rate", "unknown"),
    Bad("a word for a number", job(training__epochs="ten"), "/training/epochs", "ten"),
    Bad("a number as a word", job(optimizer__lr="0.1"), "/optimizer/lr", "0.1"),
    Bad("a half epoch", job(training__epochs=1.5), "/training/epochs", "1.5"),
    Bad("yes for a number", job(training__epochs=True), "/training/epochs", "integer"),
    Bad("negative epochs", job(training__epochs=-1), "/training/epochs", "-1"),
    Bad("no epochs", job(training__epochs=0), "/training/epochs", "0"),
    Bad("a negative rate", job(optimizer__lr=-0.1), "/optimizer/lr", "-0.1"),
    Bad("an infinite rate", job(optimizer__lr=INFINITE), "/optimizer/lr", "finite"),
    Bad(
        "a rate that isn't a number",
        b"{dataset: {name: digits}, model: {name: cnn}, norm: {kind: none}, optimizer: {kind: sgd, lr: .nan}}",
        "/optimizer/lr",
        "finite",
        content_type=YAML,
    ),
    Bad("an empty batch", job(training__batch_size=0), "/training/batch_size", "0"),
    Bad("a negative batch", job(training__batch_size=-8), "/training/batch_size", "-8"),
    Bad(
        "a rare evaluation",
        job(training={"steps": 10, "eval_every": 20}),
        "/training",
        "eval_every cannot exceed steps",
    ),
    Bad("steps never evaluated", job(training={"steps": 10}), "/training/eval_every", "required"),
    Bad(
        "groups and their size",
        job(norm={"kind": "group", "groups": 2, "channels_per_group": 2}),
        "/norm",
        "exactly one",
    ),
    Bad("neither groups nor size", job(norm={"kind": "group"}), "/norm", "exactly one"),
    Bad("no groups", job(norm__groups=0), "/norm/groups", "0"),
    Bad("a negative epsilon", job(norm={"kind": "batch", "eps": -1e-5}), "/norm/eps", "-1e-05"),
    Bad("momentum above one", job(norm={"kind": "batch", "momentum": 1.5}), "/norm/momentum", "1.5"),
    Bad("nesterov alone", job(optimizer={"kind": "sgd", "momentum": 0.0, "nesterov": True}), "/optimizer", "nesterov"),
    Bad("all dropped", job(regularization=[{"kind": "dropout", "p": 1.0}]), "/regularization/0/p", "1.0"),
    Bad("kept for dropped", job(regularization=[{"kind": "dropout", "p": -0.5}]), "/regularization/0/p", "-0.5"),
    Bad(
        "a negative decay",
        job(regularization=[{"kind": "weight_decay", "value": -1e-4}]),
        "/regularization/0/value",
        "-0.0001",
    ),
    Bad(
        "a penalty twice",
        job(regularization=[{"kind": "l2", "value": 0.1}, {"kind": "l2", "value": 0.2}]),
        "/regularization",
        "once",
    ),
    Bad("milestones back", job(schedule={"kind": "step", "milestones": [3, 2]}), "/schedule/milestones", "increase"),
    Bad("no milestones", job(schedule={"kind": "step", "milestones": []}), "/schedule/milestones", "at least 1"),
    Bad("a long warm-up", job(schedule={"kind": "cosine", "warmup_epochs": 5}), "/schedule/warmup_epochs", "below"),
    Bad("a negative patience", job(early_stopping={"kind": "patience", "patience": -1}), "/early_stopping/patience", "-1"),
    Bad(
        "stopping on the test set",
        job(early_stopping={"kind": "patience", "monitor": "test_accuracy"}),
        "/early_stopping/monitor",
        "val_loss",
    ),
    Bad("selecting on the test set", job(early_stopping={"kind": "none", "monitor": "test_loss"}), "/early_stopping/monitor", "val_loss"),
    Bad("all for validation", job(dataset__val_fraction=0.95), "/dataset/val_fraction", "0.95"),
    Bad("noise above one", job(dataset__label_noise=1.2), "/dataset/label_noise", "1.2"),
    Bad("a tiny image", job(dataset__image_size=1), "/dataset/image_size", "1"),
    Bad("a path as a name", job(dataset__name="../../etc/passwd"), "/dataset/name", "begin with"),
    Bad("code as a model", job(model={"name": "torchvision:__import__('os')"}), "/model/name", "match"),
    Bad("a wide model", job(model__width=10**6), "/model/width", "1000000"),
    Bad("a negative seed", job(seed=-1), "/seed", "-1"),
    Bad("a huge seed", job(seed=2**31), "/seed", "2147483648"),
    Bad("no device", job(resources={"device": "tpu"}), "/resources/device", "tpu"),
    Bad("too many devices", job(resources={"devices": 17}), "/resources/devices", "17"),
    Bad("an odd duration", job(resources={"timeout": "soon"}), "/resources/timeout", "soon"),
    Bad("no time at all", job(resources={"timeout": 0}), "/resources/timeout", "0"),
    Bad("a later version", job(version=2), "/version", "2"),
    Bad("an old version", job(version=0), "/version", "0"),
    Bad("crossed bounds", job(augmentation=[{"kind": "scale", "low": 1.2, "high": 0.9}]), "/augmentation/0", "low"),
    Bad("a full turn too far", job(augmentation=[{"kind": "rotate", "degrees": 400.0}]), "/augmentation/0/degrees", "400"),
    Bad("evaluated twice", job(evaluations=[{}, {}]), "/evaluations", "once"),
    Bad("an unknown split", job(evaluations=[{"split": "secret"}]), "/evaluations/0/split", "secret"),
]  # fmt: skip

STUDIES = [
    bad_study("no variants", "/variants", "at least 1", variants={}),
    bad_study("an unknown study key", "/variant", "unknown", variant={}),
    bad_study("a baseline apart", "/baseline", "one of the variants", baseline="layer"),
    bad_study("no seeds", "/seeds", "0", seeds=0),
    bad_study("a seed twice", "/seeds", "once", seeds=[1, 1]),
    bad_study("a seed in the base", "/base/seed", "seeds", base__seed=3),
    bad_study("a project in a variant", "/variants/none/project", "project", variants__none__project="x"),
    bad_study("a bad base", "/base/optimizer/lr", "-1", base__optimizer__lr=-1.0),
    bad_study("a bad variant", "/variants/group/norm/groups", "0", variants__group__norm__groups=0),
    bad_study(
        "a bad matrix value", "/matrix/training.batch_size", "0",
        matrix={"training.batch_size": [8, 0]},
    ),
    bad_study("an unknown path", "/matrix/training.batchsize", "unknown", matrix={"training.batchsize": [8]}),

    bad_study("a path to nowhere", "/matrix/training.epochs.x", "no field 'x'", matrix={"training.epochs.x": [1]}),
    bad_study("an empty axis", "/matrix/training.batch_size", "at least 1", matrix={"training.batch_size": []}),
    bad_study("equal variants", "/variants/again", "exactly", variants__again={"norm": {"kind": "none"}}),
    bad_study("an equal value", "/variants/none", "exactly", matrix={"training.batch_size": [8, 8]}),
    bad_study("idle exclusion", "/exclude/0", "matches no", exclude=[{"variant": "layer"}]),
    bad_study("a variant misspelt in an exclusion", "/exclude/0", "mean 'group'?", exclude=[{"variant": "groop"}]),
    bad_study("a metric that no job records", "/metric", "mean 'test_accuracy'?", metric="accuracy"),
    bad_study("a dataset misspelt for all", "/base/dataset/name", "mean 'digits'?", base__dataset__name="digit"),
    bad_study("nobody's point", "/include/0/variant", "none, group", include=[{"variant": "layer"}]),
    bad_study("too many cells", "/matrix", "10000", matrix={"optimizer.lr": [i / 1e5 for i in range(1, 9001)]}),
    bad_study("an unknown dataset for all", "/base/dataset/name", "mnist", base__dataset__name="mnist"),
    bad_study("an unknown dataset for one", "/variants/group/dataset/name", "mnist", variants__group__dataset={"name": "mnist"}),
]  # fmt: skip

DATASETS = [
    bad_dataset("a dataset without a source", "/source", "required", name="x"),
    bad_dataset("an unknown source", "/source/kind", "parquet", name="x", source={"kind": "zip"}),
    bad_dataset("a name like a path", "/name", "begin with", name="../x", source={"kind": "parquet", "path": "/"}),
    bad_dataset(
        "a path outside the roots", "/source/path", "/etc", name="x",
        source={"kind": "parquet", "path": "/etc"},
    ),
    bad_dataset(
        "a way out of the roots", "/source/path", "..", name="x",
        source={"kind": "image_folder", "path": "ROOT/../elsewhere"},
    ),
    bad_dataset(
        "a relative path", "/source/path", "absolute", name="x",
        source={"kind": "image_folder", "path": "pictures"},
    ),
    bad_dataset(
        "a link out of the roots", "/source/path", "links to '/etc', outside of the data roots", name="x",
        source={"kind": "parquet", "path": "ROOT/link"},
    ),
    bad_dataset(
        "a loop of links", "/source/path", "leads back to itself", name="x",
        source={"kind": "image_folder", "path": "ROOT/loop/deeper"},
    ),
    bad_dataset(
        "an overlong name of a folder", "/source/path", "longer than a file name", name="x",
        source={"kind": "parquet", "path": "ROOT/" + 300 * "n"},
    ),
    bad_dataset("a branch for a commit", "/source/revision", "main", name="x",
                source={"kind": "hugging_face", "repository": "ylecun/mnist", "revision": "main"}),
    bad_dataset("an address for a name", "/source/repository", "http", name="x",
                source={"kind": "hugging_face", "repository": "http://a/b", "revision": "0" * 40}),
    bad_dataset("what is built in", "/source/kind", "builtin", name="x", source={"kind": "builtin"}),
    Bad("a name that is taken", {"name": "digits", "source": {"kind": "parquet", "path": "ROOT/p"}}, "/name", "digits",
        route="datasets", status=409),
]  # fmt: skip

SETTINGS = [
    bad_setting("a setting of 1200 parts", f"{'.'.join('a' * 1200)}=1", "has 1200 parts"),
    bad_setting("a setting of 100 parts", f"{'.'.join('a' * 100)}=1", "has 100 parts"),
    bad_setting("a setting that nests too deeply", f"note.a.b={'[' * 49}{']' * 49}", "nested more than 50"),
    bad_setting("a setting with half a surrogate pair", r'name="\ud800"', "surrogates", "/name"),
    bad_setting("a key of a setting with half a surrogate pair", r'base={"\ud800": 1}', "surrogates", "/base"),
    bad_setting("a setting with NUL", "note=a\0b", "special characters"),
    bad_setting("a setting with an escaped NUL", r'note="a\0b"', "NUL", "/note"),
    bad_setting("a path of a setting with NUL", "no\0te=1", "NUL", ""),
    bad_setting("a setting that isn't finite", "optimizer.lr=.inf", "finite", "/optimizer/lr"),
    bad_setting("a setting of a field that isn't there", "project.a=1", "project has no field 'a'"),
    bad_setting("a setting out of range", "optimizer.lr=-1", "greater than 0", "/optimizer/lr"),
]  # fmt: skip

MLP = {"name": "mlp", "hidden": [16]}
NETWORKS = [
    Bad("5 groups of 8", job(norm__groups=5), "/norm/groups", "divide"),
    Bad("groups that fit the first layer", job(norm={"kind": "group", "channels_per_group": 3}), "/norm/channels_per_group", "divide"),
    Bad("a batch of one", job(model=MLP, norm={"kind": "batch"}, training__batch_size=1), "/training/batch_size", "one value"),
    Bad(
        "a last batch of one",
        job(model=MLP, norm={"kind": "batch"}, dataset={"name": "digits", "train_size": 65}),
        "/training/batch_size",
        "last batch",
    ),
    Bad("an instance without positions", job(model=MLP, norm={"kind": "instance"}), "/norm/kind", "positions"),
    Bad("an instance of 1×1", job(model={"name": "torchvision:resnet18"}, norm={"kind": "instance"}), "/norm/kind", "positions"),
    Bad("one element per group", job(model=MLP, norm={"kind": "group", "groups": 16}), "/norm/groups", "one element"),
    Bad(
        "one channel per group without positions",
        job(model=MLP, norm={"kind": "group", "channels_per_group": 1}),
        "/norm/channels_per_group",
        "one element",
    ),
    Bad("an image too small", job(model={"name": "torchvision:alexnet"}, norm={"kind": "none"}), "/model/name", "image_size"),
    Bad("a smaller image", job(model={"name": "torchvision:vgg11_bn"}, norm={"kind": "none"}, dataset__image_size=8), "/model/name", "image_size"),
    Bad("a model that isn't there", job(model={"name": "torchvision:resnet19"}), "/model/name", "resnet19"),
    Bad("another that isn't there", job(model={"name": "timm:nothing"}), "/model/name", "nothing"),
    Bad("more examples than there are", job(dataset__train_size=5000), "/dataset/train_size", "5000"),
    Bad("an example short", job(dataset__train_size=3), "/dataset/train_size", ""),
    Bad("no whole batch", job(training={"epochs": 1, "batch_size": 4096, "drop_last": True}), "/training/batch_size", "drop_last"),
    Bad("a model without norms", job(dataset={"name": "polynomial_noise"}, model={"name": "polynomial"}, task={"kind": "regression"}, norm={"kind": "batch"}), "/norm/kind", "batch norm has no place"),
    bad_study("groups of a variant", "/variants/group/norm/groups", "divide", variants__group__norm__groups=5),
    bad_study(
        "groups of the base", "/base/norm/groups", "divide",
        base__norm={"kind": "group", "groups": 3}, variants__group={},
    ),
    bad_study("groups of the matrix", "/matrix/norm.groups", "divide", matrix={"norm.groups": [2, 3]},
              variants={"group": {"norm": {"kind": "group"}}}, baseline="group"),
    bad_study(
        "a batch of one in the matrix", "/matrix/training.batch_size", "one value",
        base__model=MLP, variants__group={"norm": {"kind": "batch"}},
        matrix={"training.batch_size": [64, 1]},
    ),
]  # fmt: skip

UNKNOWN = [Bad("an unknown dataset", job(dataset__name="mnist"), "/dataset/name", "/datasets")]
EVERY = {
    "texts": TEXTS,
    "fields": FIELDS,
    "settings": SETTINGS,
    "studies": STUDIES,
    "datasets": DATASETS,
    "unknown datasets": UNKNOWN,
    "networks": NETWORKS,
}


@pytest.fixture(autouse=True)
def link(data_root: Path) -> None:
    """A way out of the data root that looks like none, and one that has no end."""
    if not (data_root / "link").is_symlink():
        (data_root / "link").symlink_to("/etc")
        (data_root / "loop").symlink_to(data_root / "loop")


@pytest.fixture
def root(data_root: Path) -> str:
    return str(data_root)


def send(client: TestClient, bad: Bad, root: str) -> Any:
    return client.post(
        f"/api/v1/{bad.route}",
        content=bad.content.replace(b"ROOT", root.encode()),
        params={"set": bad.settings},
        headers={"Content-Type": bad.content_type, "Idempotency-Key": quote(bad.what)},
    )


def is_refused(answer: Any, bad: Bad) -> bool:
    """Whether the answer is this refusal, and not another."""
    if answer.status_code != bad.status:
        return False
    problem = answer.json()
    pointers = [error.get("pointer") for error in problem["errors"]]
    told = json.dumps(problem, ensure_ascii=False)
    return (bad.pointer is None or bad.pointer in pointers) and bad.says in told


@pytest.mark.parametrize("cases", EVERY.values(), ids=EVERY)
def test_bad_documents_are_refused_by_name_and_leave_nothing(
    member: TestClient, sessions: sessionmaker[Session], cases: list[Bad], root: str
) -> None:
    for bad in cases:
        answer = send(member, bad, root)
        assert answer.headers["content-type"] == "application/problem+json", bad.what
        assert answer.json()["status"] == answer.status_code, bad.what
        assert is_refused(answer, bad), f"{bad.what}: {answer.text}"
    assert count_rows(sessions) == 0
    assert member.get("/api/v1/jobs").json() == {"items": [], "next_cursor": None}


def test_the_documents_that_the_bad_ones_are_made_of_are_good(member: TestClient) -> None:
    assert member.post("/api/v1/jobs", json=JOB).status_code == 202
    assert member.post("/api/v1/studies", json=STUDY).status_code == 202


def test_a_plan_is_refused_as_the_submission_is(viewer: TestClient, root: str) -> None:
    for bad in (*STUDIES, *UNKNOWN, *NETWORKS):
        answer = viewer.post("/api/v1/plans", content=bad.content)
        assert is_refused(answer, bad), f"{bad.what}: {answer.text}"


def test_without_the_network_check_they_would_be_accepted(
    member: TestClient, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.setattr(Checker, "check", lambda *_: Report())
    assert_accepted(member, NETWORKS, root)


def test_without_validation_bad_fields_would_be_accepted(
    member: TestClient, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.setattr(admission, "read_job_parts", lambda _: read_job_parts(JOB))
    # Numbers that aren't finite are guarded twice.
    monkeypatch.setattr(body_module, "_unstorable", lambda *_: iter(()))
    assert_accepted(member, FIELDS, root)


def test_without_validation_bad_studies_would_be_accepted(
    member: TestClient, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.setattr(admission, "read_study_parts", lambda _: read_study_parts(STUDY))
    assert_accepted(member, STUDIES, root)


def test_without_the_look_at_datasets_an_unknown_one_would_be_planned(
    member: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = admission.find_dataset
    monkeypatch.setattr(
        admission, "find_dataset", lambda services, _, *more: known(services, "digits", *more)
    )
    # Nothing equal is looked for among what was trained on a dataset that there isn't.
    plan = member.post("/api/v1/plans", content=UNKNOWN[0].content, params={"fresh": True})
    assert plan.status_code == 200


@pytest.mark.parametrize(
    "what",
    [
        "a path outside the roots",
        "a way out of the roots",
        "a relative path",
        "a link out of the roots",
    ],
)
def test_without_the_guard_of_the_roots_it_would_be_accepted(
    member: TestClient, monkeypatch: pytest.MonkeyPatch, what: str, root: str
) -> None:
    monkeypatch.setattr(datasets, "_ensure_readable", lambda *_: None)
    [bad] = [one for one in DATASETS if one.what == what]
    assert send(member, bad, root).status_code == 202


def test_without_the_guard_of_texts_and_numbers_no_field_is_named(
    member: TestClient, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.setattr(body_module, "_unstorable", lambda *_: iter(()))
    for bad in TEXTS:
        if bad.says in ("NUL", "surrogates", "finite"):
            assert not is_refused(send(member, bad, root), bad), bad.what


@pytest.mark.parametrize(("content_type", "size"), [(JSON, 10 * 2**20), (YAML, 2**20)])
def test_without_the_limit_of_the_body_it_would_be_accepted(
    member: TestClient, app: FastAPI, replace: Callable[..., None], content_type: str, size: int
) -> None:
    body = json.dumps(JOB).encode() + b" " * size

    def submit() -> int:
        headers = {"Content-Type": content_type}
        return member.post("/api/v1/jobs", content=body, headers=headers).status_code

    assert submit() == 413
    wide = {"body_bytes": 2**30, "yaml_bytes": 2**30}
    replace(settings=app.state.services.settings.model_copy(update=wide))
    assert submit() == 202


def test_a_body_without_a_length_is_cut_off_at_the_limit(member: TestClient) -> None:
    answer = member.post("/api/v1/jobs", content=(b" " * 2**20 for _ in range(12)))
    assert answer.status_code == 413


def test_the_unknown_dataset_is_said_to_need_registration(member: TestClient, root: str) -> None:
    [error] = send(member, UNKNOWN[0], root).json()["errors"]
    assert "POST /api/v1/datasets" in error["remedy"]
    assert "normlab dataset add" in error["remedy"]


def test_a_dataset_that_is_being_registered_is_to_be_waited_for(
    member: TestClient, data_root: Path
) -> None:
    source = {"kind": "parquet", "path": str(data_root)}
    assert member.post("/api/v1/datasets", json={"name": "new", "source": source}).is_success

    answer = member.post("/api/v1/jobs", json=job(dataset__name="new"))

    assert answer.status_code == 409
    assert int(answer.headers["Retry-After"]) > 0
    assert "being registered" in answer.json()["detail"]


def assert_accepted(client: TestClient, cases: list[Bad], root: str) -> None:
    statuses = {bad.what: send(client, bad, root).status_code for bad in cases}
    assert statuses == dict.fromkeys((bad.what for bad in cases), 202)


def count_rows(sessions: sessionmaker[Session]) -> int:
    """Everything that a request could have stored; the built-in datasets are nobody's."""
    with sessions.begin() as session:
        counts = [
            session.scalar(select(func.count()).select_from(table))
            for table in (Job, Study, Project, IdempotencyKey)
        ]
        mine = select(func.count()).select_from(Dataset).where(Dataset.owner_id.is_not(None))
        return sum(count or 0 for count in [*counts, session.scalar(mine)])


@pytest.mark.parametrize(
    "content_type",
    [None, "application/x-www-form-urlencoded", "application/yaml", "text/plain"],
)
@pytest.mark.parametrize(
    "body",
    [
        b"dataset: {name: digits}\nmodel: {name: cnn, width: 8}\nnorm: {kind: batch}\n",
        b'\xef\xbb\xbf{"dataset": {"name": "digits"},\n\t"model": {"name": "cnn", "width": 8},\n\t"norm": {"kind": "batch"}}',
    ],
    ids=["YAML", "JSON"],
)
def test_a_body_that_is_not_called_json_is_read_as_yaml_of_which_json_is_a_part(
    viewer: TestClient, body: bytes, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = viewer.post("/api/v1/plans", content=body, headers=headers)
    assert answer.status_code == 200, answer.text


def test_a_byte_order_mark_is_accepted_in_json(viewer: TestClient) -> None:
    body = b"\xef\xbb\xbf" + json.dumps(JOB).encode()
    answer = viewer.post("/api/v1/plans", content=body, headers={"Content-Type": JSON})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("content_type", [JSON, YAML])
def test_a_problem_names_the_line_and_the_column(viewer: TestClient, content_type: str) -> None:
    document = study(variants__group__norm__groups=5, base__optimizer__lr=-1.0)
    body = json.dumps(document, indent=2)
    answer = viewer.post(
        "/api/v1/plans", content=body.encode(), headers={"Content-Type": content_type}
    )
    [error] = [one for one in answer.json()["errors"] if one["pointer"] == "/base/optimizer/lr"]
    line = body.splitlines()[error["line"] - 1]
    assert line[error["column"] - 1 :] == '"lr": -1.0'


def test_a_broken_document_names_the_line_and_the_column(viewer: TestClient) -> None:
    body, headers = b"a: [1\nb: 2", {"Content-Type": YAML}
    problem = viewer.post("/api/v1/plans", content=body, headers=headers).json()
    assert "line 2, column 2" in problem["detail"]
    [error] = problem["errors"]
    assert (error["line"], error["column"]) == (2, 2)
    assert "line 2" not in error["detail"]


def test_what_a_setting_put_there_is_told_by_the_setting_and_not_by_a_line(
    viewer: TestClient,
) -> None:
    document = study(variants__none__norm__kind="nothing")
    wanted = {"set": ["base.optimizer={kind: sgd, lr: 0.1}", "base.optimizer.lr=-1"]}
    answer = viewer.post("/api/v1/plans", content=json.dumps(document, indent=2), params=wanted)
    found = {one["pointer"]: one for one in answer.json()["errors"]}
    learning_rate = found["/base/optimizer/lr"]
    assert learning_rate["setting"] == "base.optimizer.lr=-1"
    assert not learning_rate.keys() & {"line", "column"}
    assert found["/variants/none/norm/kind"].keys() >= {"line", "column"}
    assert "setting" not in found["/variants/none/norm/kind"]


def test_half_a_surrogate_pair_in_a_message_is_no_reason_for_no_answer() -> None:
    answer = error_responses._respond(HTTPStatus.CONFLICT, "'\ud800' is taken")
    assert json.loads(answer.body)["detail"] == "'?' is taken"
