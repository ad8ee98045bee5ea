"""A dataset as text: contents, classes, and what registration took, mapped and skipped."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len

from normlab.cli.render.output import Item, console, say

#: The most classes whose counts are listed.
MOST_CLASSES = 60
#: The most classes whose counts are listed after a registration.
FEW_CLASSES = 10


def show_dataset(dataset: Item) -> None:
    """Print all of a dataset."""
    for key in ("name", "status", "owner", "created_at", "job_id"):
        if dataset.get(key) is not None:
            say(f"{key.removesuffix('_at').removesuffix('_id'):<9} {_plain(key, dataset[key])}")
    say(f"{'source':<9} {describe_source(dataset['source'])}")
    if dataset.get("error"):
        say(f"{'error':<9} {dataset['error']}")
    if info := dataset.get("info"):
        for line in (*_contents(info), "", *_classes(info)):
            say(line)
        if dataset["source"].get("kind") != "builtin":
            _say_record(info.get("record") or ())


def say_outcome(dataset: Item) -> None:
    """After a registration: the splits, the classes, and whatever was not simply taken."""
    info = dataset["info"]
    for line in _contents(info, brief=True):
        say(line)
    if info["classes"]:
        say(f"{'classes':<9} {_class_summary(info['classes'], info.get('class_counts'))}")
    record = info.get("record") or ()
    for line in _entries([one for one in record if one["action"] != "taken" or one.get("why")]):
        say(line)


def _class_summary(names: Sequence[str], counts: Sequence[int] | None) -> str:
    """`3: cat (40), cow (40), dog (20)`; of many the first, and how many examples each has."""
    if counts and len(names) <= FEW_CLASSES:
        each = (f"{name} ({count:,})" for name, count in zip(names, counts, strict=True))
        return f"{len(names)}: {', '.join(each)}"
    more = f", … {len(names) - FEW_CLASSES:,} more" if len(names) > FEW_CLASSES else ""
    spread = f", with {_span(counts)} training examples each" if counts else ""
    return f"{len(names):,}: {', '.join(names[:FEW_CLASSES])}{more}{spread}"


def _span(counts: Sequence[int]) -> str:
    fewest, most = min(counts), max(counts)
    return f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"


def describe_source(source: Mapping[str, Any]) -> str:
    """`parquet /data/shapes (size=32)`: its place, and its options but for those that are not used."""
    place = source.get("path") or source.get("repository") or source.get("generator") or ""
    main = ("kind", "path", "repository", "generator")
    options = [
        f"{key}={value}"
        for key, value in source.items()
        if key not in main and value not in (None, "refuse")
    ]
    described = f"{source.get('kind', '')} {place}".strip()
    return f"{described} ({', '.join(options)})" if options else described


def _plain(key: str, value: Any) -> str:
    return f"j{value}" if key == "job_id" else str(value)


def _contents(info: Item, *, brief: bool = False) -> Iterator[str]:
    channels, height, width = info["shape"]
    if info["content"] == "images":
        colours = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
        yield f"{'images':<9} {height}×{width}, {colours}"
    else:
        yield f"{'features':<9} {channels}"
    if info["target"] == "value":
        yield f"{'target':<9} a value, for regression"
    own_test = info["test_size"] is not None
    rest = "validation is split off" if own_test else "test and validation are split off"
    yield f"{'train':<9} {info['train_size']:,} ({rest})"
    if own_test:
        yield f"{'test':<9} {info['test_size']:,} (the dataset's own test split)"
    if not brief:
        yield f"{'mean':<9} {_numbers(info['mean'])}"
        yield f"{'std':<9} {_numbers(info['std'])}"
        yield f"{'digest':<9} {info['digest']}"


def _numbers(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:6])
    return f"{shown}, … {len(values) - 6} more" if len(values) > 6 else shown


def _classes(info: Item) -> Iterator[str]:
    """In columns: each class with its number of training examples."""
    names, counts = info["classes"], info.get("class_counts")
    if not names:
        return
    yield f"{len(names):,} classes" + (" with their training examples" if counts else "")
    cells = [
        f"{name}  {counts[at]:,}" if counts else str(name)
        for at, name in enumerate(names[:MOST_CLASSES])
    ]
    width = max(map(cell_len, cells)) + 3
    per_line = max(1, (min(console().width, 100) - 2) // width)
    for start in range(0, len(cells), per_line):
        line = (cell + " " * (width - cell_len(cell)) for cell in cells[start : start + per_line])
        yield f"  {''.join(line)}".rstrip()
    if len(names) > MOST_CLASSES:
        span = f"; all have {_span(counts)}" if counts else ""
        yield f"  … and {len(names) - MOST_CLASSES:,} more{span} (-o json lists them)"


def _say_record(record: Sequence[Item]) -> None:
    say()
    if not record:
        say("No record: it was registered before records were kept")
        return
    say("What registration did")
    for line in _entries(record):
        say(f"  {line}")


def _entries(record: Sequence[Item]) -> Iterator[str]:
    """`skipped   files that are no images: 3; they are empty (such as a.txt, b.txt)`; what was taken first."""
    for action in ("taken", "mapped", "skipped"):
        for entry in record:
            if entry["action"] == action:
                yield f"{action:<9} {_entry(entry)}"


def _entry(entry: Item) -> str:
    count, why, examples = entry.get("count"), entry.get("why"), entry.get("examples") or ()
    text = str(entry["what"])
    if count is not None:
        text += f": {count:,}"
    if why:
        text += f"; {why}"
    if examples:
        some = "such as " if count is not None and count > len(examples) > 1 else ""
        text += f" ({some}{', '.join(examples)})"
    return text
