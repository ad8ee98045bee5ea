"""How many files one reads to follow a comparison from its request to its answer."""

import threading
from pathlib import Path
from types import FrameType
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from tests.api.routes.test_studies import submit
from tests.support.documents import study
from tests.support.trained_study import train_all_with_another_numpy_for_the_last

ROOT = Path(__file__).parents[3]
#: What every request passes, whatever it asks for: headers, access, the services, JSON of the database.
PASSED_BY_ALL = {
    "api/http/dependencies.py",
    "api/http/disconnects.py",
    "api/http/headers.py",
    "api/limits.py",
    "api/monitoring/request_times.py",
    "api/services.py",
    "api/web/compression.py",
    "store/access/hidden.py",
    "store/access/rule.py",
    "store/accounts/authentication.py",
    "store/accounts/users.py",
    "store/db/engine.py",
}
#: Formulas, tables and the fields of documents, which call nothing outside themselves.
FORMULAS = {
    "studies/spec/differences.py",
    "studies/spec/study/arm_names.py",
    "studies/spec/study/document.py",
    "studies/spec/until_decided.py",
    "studies/stats/decisions.py",
    "studies/stats/group_sequential.py",
    "studies/stats/inference.py",
    "studies/stats/metrics.py",
    "trainer/code_versions.py",
    "trainer/spec/job.py",
}
MOST_FILES = 10


class Walk:
    """The files whose functions are called, in the order in which each was first entered."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.returns: set[tuple[str, str]] = set()

    def record(self, frame: FrameType, event: str, argument: Any) -> None:
        """As `threading.setprofile` calls it."""
        file, function = _file_of(frame), frame.f_code.co_qualname
        if event != "call" or file is None or file in PASSED_BY_ALL | FORMULAS:
            return
        if file not in self.files:
            self.files.append(file)
            return
        caller = frame.f_back
        while caller is not None and _file_of(caller) is None:
            caller = caller.f_back
        source = _file_of(caller) if caller else None
        # A method belongs to a value that was handed on, not to a file that one has to go back to.
        is_function = not function[0].isupper() and "<" not in function
        is_back = source in self.files and self.files.index(source) > self.files.index(file)
        if is_function and is_back:
            self.returns.add((str(source), file))


def _file_of(frame: FrameType) -> str | None:
    """Relative to the root; None outside the packages."""
    path = Path(frame.f_code.co_filename)
    if frame.f_code.co_name == "<module>" or not path.is_relative_to(ROOT):
        return None
    parts = path.relative_to(ROOT).parts
    return (
        "/".join(parts) if parts[0] in ("api", "runtime", "store", "studies", "trainer") else None
    )


def test_a_comparison_enters_ten_files_and_returns_to_none(
    member: TestClient, sessions: sessionmaker[Session], storage: Path
) -> None:
    document = study(seeds=8, matrix={"optimizer.lr": [0.1, 0.2]}, declared={"libraries": "dates"})
    path = f"/api/v1/studies/{submit(member, document)['id']}/comparison"
    train_all_with_another_numpy_for_the_last(sessions, storage)
    walk = Walk()
    # Each request of this client runs in threads of its own, which take the function over when they start.
    threading.setprofile(walk.record)
    try:
        answer = member.get(path)
    finally:
        threading.setprofile(None)
    found = answer.json()
    assert found["verdict"]["state"] == "decided"
    assert (len(found["axes"]), len(found["confounds"])) == (1, 1)
    assert any("numpy 1 and numpy 2; declared: dates" in text for text in found["explanations"])
    assert {"studies/comparison/verdict.py", "store/results/result_rows.py"} <= set(walk.files)
    assert len(walk.files) <= MOST_FILES, walk.files
    assert walk.returns == set()
