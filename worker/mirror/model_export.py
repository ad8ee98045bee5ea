"""`python -m worker.mirror.model_export URL DATASETS`: best weights become MLflow's LoggedModels.

A helper of the mirror: one JSON request a line on stdin, one answer a line on stdout, until stdin ends.
"""

import io
import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import mlflow.pytorch
import numpy
import structlog
import torch
from mlflow.models import infer_signature
from numpy.typing import NDArray
from torch import nn

from runtime.logs import configure_logging
from runtime.process import end_with_parent
from trainer.data import Examples, Standardize, load
from trainer.errors import DataError
from trainer.spec import Classification, DatasetInfo, JobSpec, Numerics, Reconstruction, Regression
from trainer.training import restore_model
from worker.execution import is_out_of_memory
from worker.mirror.limits import LONGEST_TAG, clip
from worker.mirror.tracking import Tracking

log = structlog.get_logger("worker.mirror.model_export")

NAME = "model"
#: Datasets up to this size in bytes are read to say how a model's inputs are standardized.
_LARGEST_DATASET = 2**30


def main() -> None:
    end_with_parent()
    configure_logging(os.environ.get("NORMLAB_LOG_LEVEL", "INFO"))
    torch.set_num_threads(1)
    url, datasets = sys.argv[1:]
    # Only answers may reach the parent: what libraries print goes where logs go.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    tracking = Tracking(url)
    for line in sys.stdin:
        answers.write(json.dumps(answer(tracking, json.loads(line), Path(datasets))) + "\n")
        answers.flush()


def answer(tracking: Tracking, request: dict[str, Any], datasets: Path) -> dict[str, Any]:
    """The fields of an Outcome; or `away`, when MLflow doesn't answer; or `out_of_memory`, when that may be
    tried again."""
    spec = JobSpec.model_validate(request["spec"])
    try:
        inputs = _read_inputs(spec, DatasetInfo.model_validate(request["info"]), datasets)
        model = restore_model(spec, inputs.info, Path(request["path"]))
        return _log(tracking, request, Subject(spec, model, inputs))
    except Exception as error:  # models of every kind fail in every way
        reason = f"{type(error).__name__}: {error}"[:2000]
        if not tracking.is_up():
            return {"away": reason}
        if request["may_retry"] and is_out_of_memory(error):
            return {"out_of_memory": reason}
        log.warning("model_failed", job=request["job"], exc_info=True)
        return {"kind": "failed", "detail": reason}


@dataclass(frozen=True, slots=True)
class Inputs:
    """`info` as the training saw it; `example`: two standardized inputs, as the model takes them."""

    info: DatasetInfo
    example: NDArray[numpy.float32]


@dataclass(frozen=True, slots=True)
class Subject:
    """The model that is logged, and what it was trained for."""

    spec: JobSpec
    model: nn.Module
    inputs: Inputs


def _log(tracking: Tracking, request: dict[str, Any], subject: Subject) -> dict[str, Any]:
    """Exported if that can be done, else as a state dict.

    A mirror that died before it had noted a model asks for it again: what is there and whole is the answer.
    """
    try:
        for logged in tracking.find_models(request["experiment_id"], request["run_id"]):
            if logged.status == "READY":
                return {"kind": "logged", "model_id": logged.model_id}
            tracking.client.delete_logged_model(logged.model_id)
        return {"kind": "logged", "model_id": _log_exported(tracking, request, subject)}
    except Exception as error:
        if not tracking.is_up() or (request["may_retry"] and is_out_of_memory(error)):
            raise
        log.warning("model_not_exported", job=request["job"], exc_info=True)
        tracking.send_file(request["run_id"], "state_dict.pt", _state_dict(subject.model))
        return {"kind": "state_dict", "detail": f"{type(error).__name__}: {error}"[:2000]}


def _log_exported(tracking: Tracking, request: dict[str, Any], subject: Subject) -> str:
    model, example = subject.model, subject.inputs.example
    with torch.no_grad():
        outputs = model(torch.from_numpy(example)).numpy()
    created = tracking.client.create_logged_model(
        request["experiment_id"],
        name=NAME,
        source_run_id=request["run_id"],
        tags={"normlab.job": str(request["job"]), **_tags(subject)},
        model_type=subject.spec.task.kind,
    )
    try:
        how = model_note(subject.spec, subject.inputs.info, created.model_id)
        tracking.client.set_logged_model_tags(created.model_id, {"mlflow.note.content": how})
        mlflow.pytorch.log_model(
            model,
            name=NAME,
            model_id=created.model_id,
            run_id=request["run_id"],
            step=request["epoch"],
            serialization_format="pt2",
            input_example=example,
            signature=infer_signature(example, outputs),
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
        )
    except Exception:
        if tracking.is_up():
            tracking.client.delete_logged_model(created.model_id)
        raise
    return str(created.model_id)


def _read_inputs(spec: JobSpec, info: DatasetInfo, datasets: Path) -> Inputs:
    """The first two training examples with their split's mean and deviation; zeros of their shape where
    the dataset can't be read here. Two: a dimension of size one would be fixed at that size."""
    examples = info.train_size + (info.test_size or 0)
    if examples * math.prod(info.shape) <= _LARGEST_DATASET:
        try:
            data = load(spec.dataset, info, datasets)
        except (DataError, OSError):
            log.warning("dataset_not_readable", dataset=info.name, exc_info=True)
        else:
            cpu = torch.device("cpu")
            pixels, _ = Examples.of(data.train, cpu).take(torch.tensor([0, len(data.train) - 1]))
            return Inputs(data.info, Standardize(data.info, Numerics(), cpu)(pixels).numpy())
    size = spec.dataset.image_size
    shape = info.shape if size is None else (info.shape[0], size, size)
    zeros = numpy.zeros((2, *shape), dtype=numpy.float32)
    return Inputs(info.model_copy(update={"shape": shape}), zeros)


def _tags(subject: Subject) -> dict[str, str]:
    """How data become the model's inputs, and what its outputs mean."""
    info = subject.inputs.info
    tags = {
        "normlab.task": subject.spec.task.kind,
        "normlab.input": input_formula(info),
        "normlab.input.mean": str(list(info.mean)),
        "normlab.input.std": str(list(info.std)),
        "normlab.output": output_meaning(subject.spec),
        "normlab.classes": ", ".join(info.classes),
    }
    return {key: clip(value, LONGEST_TAG) for key, value in tags.items() if value}


def _state_dict(model: nn.Module) -> bytes:
    content = io.BytesIO()
    torch.save(model.state_dict(), content)
    return content.getvalue()


def input_formula(info: DatasetInfo) -> str:
    """From data as they are to what the model takes, per channel or feature."""
    match info.content:
        case "images":
            return "(pixels / 255 - mean) / std"
        case "vectors":
            return "(features - mean) / std"
        case _:
            assert_never(info.content)


def output_meaning(spec: JobSpec) -> str:
    match spec.task:
        case Classification():
            return "logits of the classes: softmax gives probabilities"
        case Regression():
            return "the predicted value"
        case Reconstruction(loss="bce"):
            return "logits of the image's pixels: sigmoid gives pixels in [0, 1]"
        case Reconstruction():
            return "the image's pixels in [0, 1]"
        case _:
            assert_never(spec.task)


def model_note(spec: JobSpec, info: DatasetInfo, model_id: str) -> str:
    """In Markdown. A program that torch has exported is fixed in evaluation mode."""
    shape = ", ".join(str(size) for size in info.shape)
    return f"""Task: {spec.task.kind}. Input: float32 of shape (N, {shape}), `{input_formula(info)}` with the
mean and std of the tags. Output: {output_meaning(spec)}.

```python
model = mlflow.pytorch.load_model("models:/{model_id}")
with torch.no_grad():
    outputs = model(inputs)
```

The model is exported (`torch.export`, pt2) in evaluation mode and on the CPU. Call it as it is: `.eval()` and `.train()`
raise NotImplementedError. To train on, take the job's checkpoint: `normlab download j… --weights`.
"""


if __name__ == "__main__":
    main()
