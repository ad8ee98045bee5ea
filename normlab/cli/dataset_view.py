"""A dataset in words: what it holds, its classes, and what registration took, mapped and skipped."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len

from normlab.cli.output import Item, console, say

#: Of more classes the counts are not all listed.
MOST_CLASSES = 60


def show_dataset(dataset: Item) -> None:
    """All that is known of it, for a reader."""
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
    counts = info.get("class_counts")
    for line in _contents(info, brief=True):
        say(line)
    if names := info["classes"]:
        fewest = f", {min(counts):,} to {max(counts):,} training examples each" if counts else ""
        shown = ", ".join(names[:10]) + (f", … {len(names) - 10:,} more" if len(names) > 10 else "")
        say(f"{'classes':<9} {len(names):,}: {shown}{fewest}")
    for line in _entries(info.get("record") or (), ("mapped", "skipped")):
        say(line)


def describe_source(source: Mapping[str, Any]) -> str:
    """`parquet /data/shapes (size 32)`: its place, and the options that were given."""
    place = source.get("path") or source.get("repository") or source.get("generator") or ""
    main = ("kind", "path", "repository", "generator")
    options = [
        f"{key} {value}" for key, value in source.items() if key not in main and value is not None
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
    rest = "validation is cut from these" if own_test else "test and validation are cut from these"
    yield f"{'train':<9} {info['train_size']:,} ({rest})"
    if own_test:
        yield f"{'test':<9} {info['test_size']:,} of the set's own"
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
        span = f", with {min(counts):,} to {max(counts):,} each over all" if counts else ""
        yield f"  … and {len(names) - MOST_CLASSES:,} more{span} (-o json lists them)"


def _say_record(record: Sequence[Item]) -> None:
    say()
    if not record:
        say("No record: it was registered before records were kept")
        return
    say("What registration did")
    for line in _entries(record, ("taken", "mapped", "skipped")):
        say(f"  {line}")


def _entries(record: Sequence[Item], actions: Sequence[str]) -> Iterator[str]:
    """`skipped   files that are no images: 3, because … (.DS_Store, Thumbs.db, …)`."""
    for action in actions:
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
        more = ", …" if count is not None and count > len(examples) > 1 else ""
        text += f" ({', '.join(examples)}{more})"
    return text
