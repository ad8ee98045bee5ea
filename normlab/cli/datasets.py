"""The verbs `dataset add|list|show|preview`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from normlab.cli import watch
from normlab.cli.render import (
    PIXELS,
    Column,
    Format,
    Output,
    Patience,
    console,
    emit,
    field,
    raw,
    say,
    say_outcome,
    show_dataset,
    show_thumbnails,
)
from normlab.client import Client, Reference, read_mapping
from normlab.errors import NormlabError, Refused

app = typer.Typer(no_args_is_help=True, help="Datasets: add, list, show, preview.")

#: A terminal shows no more classes than this, and the service draws no more than that.
_MOST_THUMBNAILS, _MOST_ROWS = 20, 200

Name = Annotated[str, typer.Argument(help="the name to use in specs")]


@app.command()
def add(
    name: Name,
    source: Annotated[
        str,
        typer.Argument(
            help="hugging_face:OWNER/NAME@COMMIT, parquet:FOLDER, image_folder:FOLDER, "
            "generated:moons (circles, blobs, polynomial_noise, mnist1d), plugin:NAME, "
            "or a YAML file with the source"
        ),
    ],
    size: Annotated[
        int | None,
        typer.Option(
            help="resize images to size × size pixels; for a generated dataset: number of examples"
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(help="background of transparent images: white (default), black or #rrggbb"),
    ] = None,
    skip_unreadable: Annotated[
        bool,
        typer.Option(
            "--skip-unreadable", help="leave out images that can't be read (unreadable: skip)"
        ),
    ] = False,
    skip_unlabelled: Annotated[
        bool,
        typer.Option(
            "--skip-unlabelled",
            help="leave out examples without a label (unlabelled: skip); parquet and Hugging Face only",
        ),
    ] = False,
    layout: Annotated[
        str | None,
        typer.Option(help="for image folders: what the folders are (auto, classes or splits)"),
    ] = None,
    image: Annotated[str | None, typer.Option(help="the column with the images")] = None,
    label: Annotated[str | None, typer.Option(help="the column with the labels")] = None,
    configuration: Annotated[
        str | None, typer.Option(help="which configuration, if the source has several")
    ] = None,
    noise: Annotated[float | None, typer.Option(help="for a generated dataset")] = None,
    seed: Annotated[int | None, typer.Option(help="for a generated dataset")] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="wait until it is decoded")] = False,
) -> None:
    """Register a dataset; a worker decodes it once. Folders are paths on the workers, below NORMLAB_DATA_ROOTS."""
    options = {
        "size": size,
        "background": background,
        "unreadable": "skip" if skip_unreadable else None,
        "unlabelled": "skip" if skip_unlabelled else None,
        "layout": layout,
        "image": image,
        "label": label,
        "configuration": configuration,
        "noise": noise,
        "seed": seed,
    }
    with Client() as client:
        added = client.add_dataset(name, read_source(source, options))
        if wait and added.get("job_id"):
            follow_registration(client, added["job_id"])
            _say_end(client.dataset(name))
        else:
            say(
                f"Dataset {name}: {added['status']}; follow its progress with: normlab dataset show {name}"
            )


def _say_end(dataset: dict[str, Any]) -> None:
    name = dataset["name"]
    if dataset["status"] != "ready":
        raise NormlabError(f"dataset {name} could not be registered: {dataset['error']}")
    say(f"Dataset {name} is ready")
    say_outcome(dataset)
    say(f"details, with images: normlab dataset show {name}")


@app.command("list")
def list_(output: Output = Format.TABLE) -> None:
    """List the datasets."""
    with Client() as client:
        emit(client.datasets(), _COLUMNS, output, "no datasets")


@app.command()
def show(
    name: Name,
    output: Output = Format.TABLE,
    pictures: Annotated[
        Path | None, typer.Option(help="write a PNG with images of each class to this file")
    ] = None,
) -> None:
    """Show a dataset: its contents, images of each class, and the record of its registration."""
    with Client() as client:
        dataset = client.dataset(name)
        match output:
            case Format.JSON:
                say(json.dumps(dataset, indent=2))
            case Format.CSV:
                emit([dataset], _COLUMNS, output, "")
            case Format.TABLE:
                show_dataset(dataset)
                if pictures is None and dataset.get("info"):
                    _show_pictures(client, dataset)
        if pictures is not None:
            _save(client.class_pictures(name), pictures)
            typer.echo(f"{pictures}: images of each class of {name}", err=output != Format.TABLE)


def _show_pictures(client: Client, dataset: dict[str, Any]) -> None:
    """Drawn where there is a terminal with colours; elsewhere it is said how to get them."""
    name, info = dataset["name"], dataset["info"]
    if info["content"] != "images":
        return
    say()
    classes = info["classes"][:_MOST_THUMBNAILS]
    # Pictures are drawn with coloured characters: in a pipe they would be noise.
    if console().is_terminal and console().color_system is not None:
        try:
            sheet = client.class_pictures(name, images=1, pixels=PIXELS, names=False)
        except Refused as error:
            say(f"no images: {error}")
            return
        rows = min(len(info["classes"]), _MOST_ROWS)
        show_thumbnails(console(), sheet, classes, rows)
    say(f"images of each class: normlab dataset show {name} --pictures {name}.png")


def _save(content: bytes, path: Path) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise NormlabError(f"{path}: {error.strerror}") from error


@app.command()
def preview(
    name: Name,
    spec: Annotated[
        Path | None,
        typer.Option(help="YAML or JSON file with `augmentation`, such as a job or a study"),
    ] = None,
    out: Annotated[Path, typer.Option(help="output file")] = Path("preview.png"),
    images: Annotated[int, typer.Option(min=1, max=16, help="number of images, one per row")] = 6,
    draws: Annotated[int, typer.Option(min=1, max=16, help="augmented versions of each image")] = 7,
    seed: Annotated[int, typer.Option(min=0, help="seed of the augmentation")] = 0,
) -> None:
    """Write a PNG of augmented training images, as a training would see them."""
    options = _augmentation(spec) if spec is not None else {}
    with Client() as client:
        picture = client.preview(name, images=images, draws=draws, seed=seed, **options)
    _save(picture, out)
    say(f"{out}: {images} images of {name}, each with {draws} augmented versions")


def _augmentation(path: Path) -> dict[str, Any]:
    """What a preview needs of a document: of a study, what its base says."""
    document = read_mapping(path, "a spec: a mapping with `augmentation`")
    if isinstance(document.get("base"), dict):
        document = document["base"]
    dataset = document.get("dataset") or {}
    kept = {key: dataset[key] for key in ("image_size", "binarize") if key in dataset}
    return {"augmentation": document.get("augmentation") or [], **kept}


def read_source(text: str, options: dict[str, Any]) -> dict[str, Any]:
    """`kind:place` and the options that were given, or a YAML file."""
    given = {key: value for key, value in options.items() if value is not None}
    kind, colon, place = text.partition(":")
    if colon and kind == "hugging_face":
        repository, at, revision = place.partition("@")
        if not at:
            raise NormlabError(f"{text!r} lacks the commit: hugging_face:OWNER/NAME@COMMIT")
        return {"kind": kind, "repository": repository, "revision": revision, **given}
    if colon and kind == "generated":
        return {"kind": kind, "generator": place, **given}
    if colon and kind == "plugin":
        return {"kind": kind, "name": text, **given}
    if colon and kind in ("parquet", "image_folder"):
        # Absolute, as the worker that reads it has another working folder.
        return {"kind": kind, "path": str(Path(place).expanduser().absolute()), **given}
    if not Path(text).is_file():
        raise NormlabError(
            f"{text} is neither a source like parquet:FOLDER nor a file that holds one"
        )
    return read_mapping(Path(text), "a source: a mapping with `kind`") | given


def _info(name: str) -> Any:
    return lambda item: (item.get("info") or {}).get(name)


_COLUMNS = (
    Column("name", field("name")),
    Column("status", field("status")),
    Column("shape", lambda item: "×".join(map(str, _info("shape")(item) or []))),
    Column("classes", lambda item: str(len(_info("classes")(item) or []) or ""), right=True),
    Column("train", lambda item: str(_info("train_size")(item) or ""), right=True),
    Column("test", lambda item: str(_info("test_size")(item) or ""), right=True),
    Column("source", lambda item: str(item["source"].get("kind", ""))),
    Column("owner", field("owner")),
    Column("error", lambda item: " ".join((item.get("error") or "").split()), raw("error")),
)


def follow_registration(client: Client, job_id: int) -> None:
    """Returns when the job has ended, however it did."""
    job = Reference("job", job_id)
    try:
        with Patience("waiting for the registration") as wait:
            for text in _progress(client, job):
                wait(text)
    # Ctrl-C ends the wait only; the job belongs to the service.
    except KeyboardInterrupt:
        typer.echo(f"The registration continues; cancel it with: normlab cancel {job}", err=True)
        raise


def _progress(client: Client, job: Reference) -> Iterator[str]:
    """What the job does, again and again: its log's last line while it runs."""
    last_id, text = 0, "reading the source"
    for [state] in watch.snapshots(client, [job]):
        match state["status"]:
            case "running":
                for line in client.part(job, "logs", after=last_id):
                    last_id, text = line["id"], line["text"]
                yield text
            case "queued":
                yield "waiting for a worker" if not state["attempt"] else "waiting for a retry"
            case "paused":
                yield f"paused (resume with: normlab resume {job})"
