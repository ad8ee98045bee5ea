"""`python -m trainer.checks --serve` forks helpers (`runtime.fork_server`) that answer questions, a JSON line each.

{id, spec, info} is answered with {id, report} (with `source`, {spec, info}, of the job whose weights it begins from), or {id, error} for what is not a spec at all;
{id, preview or classes, info, folder} with {id, picture} (base64), or {id, refused}.
"""

import base64
import json
import logging
import sys
from pathlib import Path
from typing import IO, Any

import torch
from pydantic import ValidationError

from runtime.fork_server import serve_forks
from trainer.checks.initial_weights import Source
from trainer.checks.run import check
from trainer.data import draw_classes
from trainer.data.augmentation import draw_preview
from trainer.errors import DataError
from trainer.models import model_names
from trainer.spec import ClassPictures, DatasetInfo, JobSpec, Preview

log = logging.getLogger(__name__)


def serve(questions: IO[bytes], answers: IO[str]) -> None:
    """One line in, one line out, until the questions end; no question ends it."""
    for line in questions:
        _say(answers, answer(line))


def _say(answers: IO[str], document: dict[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


def answer(line: bytes) -> dict[str, Any]:
    """The report for one question, or its error."""
    question: Any = None
    try:
        question = json.loads(line)
        if "preview" in question or "classes" in question:
            return {"id": question.get("id"), **_picture(question)}
        spec = JobSpec.model_validate(question["spec"])
        source = _source(question["source"]) if question.get("source") else None
        report = check(spec, DatasetInfo.model_validate(question["info"]), source)
        return {"id": question.get("id"), "report": report.model_dump(mode="json")}
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        log.warning("a question was refused", exc_info=True)
        return {"id": _id(question), "error": f"{type(error).__name__}: {error}"}
    except Exception as error:  # the helper outlives every question; the cause is in its log
        log.exception("a question failed")
        return {"id": _id(question), "error": f"{type(error).__name__}: {error}"}


def _source(document: Any) -> Source:
    return Source(
        JobSpec.model_validate(document["spec"]), DatasetInfo.model_validate(document["info"])
    )


def _picture(question: Any) -> dict[str, Any]:
    info, folder = DatasetInfo.model_validate(question["info"]), Path(question["folder"])
    try:
        if "preview" in question:
            picture = draw_preview(Preview.model_validate(question["preview"]), info, folder)
        else:
            wanted = ClassPictures.model_validate(question["classes"])
            picture = draw_classes(wanted, info, folder)
    except DataError as error:
        return {"refused": str(error)}
    return {"picture": base64.b64encode(picture).decode()}


def _id(question: Any) -> Any:
    return question.get("id") if isinstance(question, dict) else None


def load_libraries() -> None:
    """Everything that a check needs is loaded, and nothing is computed: see `serve_forks`."""
    for library in ("torchvision", "timm"):
        model_names(library)


def main() -> None:
    if sys.argv[1:] != ["--serve"]:
        sys.exit("usage: python -m trainer.checks --serve")
    logging.basicConfig(stream=sys.stderr)
    torch.set_num_threads(1)
    load_libraries()
    serve_forks(serve)


if __name__ == "__main__":
    main()
