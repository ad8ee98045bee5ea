"""Trains one spec with no service at all and prints its events, one JSON object a line.

Everything lies under --out: `spec.json`, `events.jsonl` and one folder per attempt. Ctrl-C saves and
stops; --resume goes on. Exit status: 0 finished, 1 failed, 2 refused, 128 + n stopped by signal n.
"""

import argparse
import json
import math
import os
import signal
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from pydantic import TypeAdapter, ValidationError

from runtime.documents import DocumentError, read_document
from runtime.files import digest_of
from trainer.errors import RanksError, TrainerError
from trainer.events import CheckpointSaved, Event, Finished, Progressed, Stepped, StopRequest
from trainer.problems import PlaceFinder, problems
from trainer.spec import BUILT_IN, DatasetInfo, DatasetSource, JobSpec, Numerics, Problem

if TYPE_CHECKING:
    from trainer.data import Data


class Refused(Exception):
    """The command can't be carried out; its message is for the person who gave it."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    # cuBLAS reads it when CUDA starts; deterministic matrix products need it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        spec: JobSpec = _read(options.spec, TypeAdapter(JobSpec))
        _prepare_folder(options.out, spec, options.resume)
        info = _find_dataset(spec.dataset.name, options)
        _check(spec, info, options.spec)
        return _train(spec, info, options)
    except RanksError as error:
        print(f"python -m trainer: {error}; go on with --resume", file=sys.stderr)
        return 1
    except (Refused, TrainerError) as error:
        print(f"python -m trainer: {error}", file=sys.stderr)
        return 2


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="Train one spec with no service; events are printed as JSON lines.",
    )
    parser.add_argument("spec", type=Path, help="the job spec, YAML or JSON")
    parser.add_argument(
        "--out", type=Path, help="folder of this training (runs/<name of the spec>)"
    )
    parser.add_argument(
        "--data", type=Path, default=Path("runs/datasets"), help="decoded datasets (%(default)s)"
    )
    parser.add_argument(
        "--source", type=Path, help="YAML: where a dataset that isn't built in comes from"
    )
    parser.add_argument(
        "--weights", type=Path, help="the checkpoint that `init_from` means, as a file"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--steps", action="store_true", help="print steps and other progress too")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="instead of the spec's")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    options = parser.parse_args(arguments)
    options.out = options.out or Path("runs") / options.spec.stem
    return options


def _read(path: Path, kind: TypeAdapter[Any]) -> Any:
    try:
        text = path.read_bytes()
        document = read_document(text, as_json=path.suffix == ".json")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except DocumentError as error:
        raise Refused(f"{path}: {error}") from error
    try:
        return kind.validate_python(document)
    except ValidationError as error:
        raise Refused(_listed(path, text, problems(error, document, kind))) from None


def _listed(path: Path, text: bytes, found: Sequence[Problem]) -> str:
    """`job.yaml:3: /norm/kind: what is wrong (what would be right)`, a line for each."""
    places = PlaceFinder(text)
    lines = [f"{path} has {len(found)} problem{'s' * (len(found) > 1)}:"]
    for one in found:
        place = places.find(one.pointer)
        where = f"{path}:{place.line}" if place is not None else str(path)
        remedy = f" ({one.remedy})" if one.remedy else ""
        lines.append(f"{where}: {one.pointer or '/'}: {one.detail}{remedy}")
    return "\n  ".join(lines)


def _prepare_folder(out: Path, spec: JobSpec, resume: bool) -> None:
    """A folder holds one training: nothing is overwritten, and no other spec is resumed."""
    written = out / "spec.json"
    if written.exists() and not resume:
        raise Refused(f"{out} already holds a training: go on with --resume, or give another --out")
    if resume and not written.exists():
        raise Refused(f"{out} holds no training to resume")
    if resume and JobSpec.model_validate_json(written.read_text()) != spec:
        raise Refused(f"{out} holds a training of another spec: see {written}")
    out.mkdir(parents=True, exist_ok=True)
    written.write_text(spec.model_dump_json(indent=2))


def _find_dataset(name: str, options: argparse.Namespace) -> DatasetInfo:
    if name in BUILT_IN:
        return BUILT_IN[name]
    for path in sorted(options.data.glob("*/info.json")):
        info = DatasetInfo.model_validate_json(path.read_text())
        if info.name == name:
            return info
    if options.source is None:
        raise Refused(
            f"dataset {name!r} is neither built in ({', '.join(BUILT_IN)}) nor decoded under "
            f"{options.data}: say where it comes from with --source"
        )
    return _decode(name, options)


def _decode(name: str, options: argparse.Namespace) -> DatasetInfo:
    from trainer.data import decode

    source: DatasetSource = _read(options.source, TypeAdapter(DatasetSource))
    # Whoever starts this command may read what they may read: there is no root to guard.
    decoding = decode(name, source, options.data, [Path("/")])
    while True:
        try:
            next(decoding)
        except StopIteration as end:
            info: DatasetInfo = end.value
            _tell_record(info)
            return info


def _tell_record(info: DatasetInfo) -> None:
    """What is not simply taken is said, as everywhere."""
    for entry in info.record:
        if entry.action != "taken":
            count = "" if entry.count is None else f": {entry.count}"
            reason = f" ({entry.why})" if entry.why else ""
            print(
                f"python -m trainer: {info.name}: {entry.action} {entry.what}{count}{reason}",
                file=sys.stderr,
            )


def _check(spec: JobSpec, info: DatasetInfo, path: Path) -> None:
    from trainer.checks import check

    report = check(spec, info)
    for warning in report.warnings:
        print(f"python -m trainer: warning: {warning}", file=sys.stderr)
    if report.problems:
        raise Refused(_listed(path, path.read_bytes(), report.problems))


def _train(spec: JobSpec, info: DatasetInfo, options: argparse.Namespace) -> int:
    from trainer.data import load
    from trainer.ranks import train_on_ranks
    from trainer.training import train

    devices, initial = _choose_devices(spec, options), _find_initial(spec, options.weights)
    kind: Literal["cpu", "cuda"] = "cpu" if devices[0] == "cpu" else "cuda"
    numerics = Numerics(device=kind, threads=options.threads)
    folder = options.out.absolute() / f"attempt-{len(list(options.out.glob('attempt-*'))) + 1}"
    known = _checkpoints(options.out)
    if len(devices) > 1:
        events = train_on_ranks(
            spec, info, options.data, folder,
            numerics=numerics, devices=devices, resume=known, initial=initial,
        )  # fmt: skip
    else:
        data: Data = load(spec.dataset, info, options.data)
        events = train(spec, data, folder, numerics=numerics, resume=known, initial=initial)
    with closing(events), (options.out / "events.jsonl").open("a") as log:
        return _follow(events, log, known, show_steps=options.steps)


def _find_initial(spec: JobSpec, weights: Path | None) -> CheckpointSaved | None:
    if spec.init_from is None:
        return None
    if weights is None:
        raise Refused(
            "init_from names a job of a service: give its checkpoint as a file with --weights"
        )
    try:
        content = weights.read_bytes()
    except OSError as error:
        raise Refused(f"{weights}: {error.strerror}") from error
    digest, kind = digest_of(content), spec.init_from.checkpoint
    if spec.init_from.digest not in (None, digest):
        raise Refused(f"{weights} is not the checkpoint that init_from names: its digest differs")
    return CheckpointSaved(kind, 0, 0, str(weights), digest, len(content))


def _choose_devices(spec: JobSpec, options: argparse.Namespace) -> Sequence[str]:
    import torch

    wanted, count = options.device or spec.resources.device, spec.resources.devices
    there = torch.cuda.device_count() if wanted != "cpu" else 0
    if wanted == "cuda" and there < count:
        what = "no CUDA device is available here"
        if there:
            what = f"devices is {count} but only {there} CUDA devices are available here"
        raise Refused(f"{what}: give --device cpu")
    if there >= count:
        return [f"cuda:{number}" for number in range(count)]
    return ["cpu"] * count


def _follow(
    events: Generator[Event, StopRequest | None, None],
    log: TextIO,
    known: Sequence[CheckpointSaved],
    *,
    show_steps: bool,
) -> int:
    """Prints and logs the events; a signal becomes a request to stop."""
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: signals.append(received))
    kept, event = list(known), next(events)
    while True:
        if show_steps or not isinstance(event, Stepped | Progressed):
            line = json.dumps(describe(event), ensure_ascii=False, allow_nan=False)
            print(line, flush=True)
            print(line, file=log, flush=True)
        if isinstance(event, CheckpointSaved):
            kept = _forget_old([event, *kept])
        try:
            event = events.send(StopRequest.SAVE_AND_STOP if signals else None)
        except StopIteration:
            break
    if isinstance(event, Finished):
        return 0
    print("python -m trainer: saved and stopped; go on with --resume", file=sys.stderr)
    return 128 + signals[0]


def describe(event: Event) -> dict[str, Any]:
    """The event as JSON can say it: a number that isn't finite is null, and named in `non_finite`."""
    described = {"event": type(event).__name__, **asdict(event)}
    metrics: Mapping[str, float] = described.get("metrics", {})
    not_finite = {name: str(value) for name, value in metrics.items() if not math.isfinite(value)}
    if not_finite:
        finite = {name: None if name in not_finite else value for name, value in metrics.items()}
        described |= {"metrics": finite, "non_finite": not_finite}
    return described


def _forget_old(saved: list[CheckpointSaved]) -> list[CheckpointSaved]:
    """Newest first. Once a `last` one is complete, two of each kind are enough to fall back by one."""
    if saved[0].kind == "best":
        return saved
    kept: list[CheckpointSaved] = []
    for one in saved:
        if sum(other.kind == one.kind for other in kept) < 2:
            kept.append(one)
        else:
            Path(one.path).unlink(missing_ok=True)
    return kept


def _checkpoints(out: Path) -> list[CheckpointSaved]:
    """Newest first, from the log of earlier attempts, wherever the folder lies now."""
    found: list[CheckpointSaved] = []
    log = out / "events.jsonl"
    for line in log.read_text().splitlines() if log.exists() else []:
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut short by a crash
        if values.pop("event") == "CheckpointSaved":
            path = out.absolute().joinpath(*Path(values.pop("path")).parts[-2:])
            if path.exists():
                found.insert(0, CheckpointSaved(path=str(path), **values))
    return found


if __name__ == "__main__":
    sys.exit(main())
