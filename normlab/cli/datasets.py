"""`dataset add|list|show|preview`: what jobs may train on."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from normlab.cli import following
from normlab.cli.output import Column, Format, Output, emit, field, say
from normlab.client import Client
from normlab.errors import NormlabError
from normlab.references import Reference

app = typer.Typer(no_args_is_help=True, help="Datasets: add, list, show, preview.")

Name = Annotated[str, typer.Argument(help="the name that specs will use")]


@app.command()
def add(
    name: Name,
    source: Annotated[
        str,
        typer.Argument(
            help="hugging_face:OWNER/NAME@COMMIT, parquet:FOLDER, image_folder:FOLDER, "
            "generated:moons (circles, blobs, polynomial_noise, mnist1d), "
            "or a YAML file with the source"
        ),
    ],
    image: Annotated[str | None, typer.Option(help="the column with the images")] = None,
    label: Annotated[str | None, typer.Option(help="the column with the labels")] = None,
    size: Annotated[
        int | None,
        typer.Option(help="resize images to size × size pixels; of a generated set: examples"),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="until it is decoded")] = False,
) -> None:
    """Register a dataset; a worker decodes it once. Folders are the workers', below NORMLAB_DATA_ROOTS."""
    options = {"image": image, "label": label, "size": size}
    with Client() as client:
        found = client.add_dataset(name, read_source(source, options))
        say(f"Dataset {found['name']}: {found['status']}")
        if wait and found.get("job_id"):
            raise typer.Exit(
                following.follow_to_the_end(client, [Reference("job", found["job_id"])])
            )


@app.command("list")
def list_(output: Output = Format.TABLE) -> None:
    """List the datasets."""
    with Client() as client:
        emit(client.datasets(), _COLUMNS, output, "no datasets")


@app.command()
def show(name: Name, output: Output = Format.TABLE) -> None:
    """One dataset: where it comes from and what it holds."""
    with Client() as client:
        found = client.dataset(name)
    match output:
        case Format.JSON:
            say(json.dumps(found, indent=2))
        case Format.CSV:
            emit([found], _COLUMNS, output, "")
        case Format.TABLE:
            for key, value in {**found, **(found.get("info") or {})}.items():
                if key != "info" and value is not None:
                    say(f"{key:<12} {_short(value)}")


@app.command()
def preview(
    name: Name,
    spec: Annotated[
        Path | None,
        typer.Option(help="YAML or JSON with `augmentation` (a job or study will do)"),
    ] = None,
    out: Annotated[Path, typer.Option(help="where the picture goes")] = Path("preview.png"),
    images: Annotated[int, typer.Option(min=1, max=16, help="rows")] = 6,
    draws: Annotated[int, typer.Option(min=1, max=16, help="augmented ones a row")] = 7,
    seed: Annotated[int, typer.Option(min=0, help="of the draws")] = 0,
) -> None:
    """Draw augmented training images as a training would see them, into a PNG."""
    options = _augmentation(spec) if spec is not None else {}
    with Client() as client:
        picture = client.preview(name, images=images, draws=draws, seed=seed, **options)
    try:
        out.write_bytes(picture)
    except OSError as error:
        raise NormlabError(f"{out}: {error.strerror}") from error
    say(f"{out}: {images} images of {name}, each as it is and {draws} times augmented")


def _augmentation(path: Path) -> dict[str, Any]:
    """What a preview needs of a document: of a study, what its base says."""
    document = _read_mapping(path, "a spec: a mapping with `augmentation`", "no readable YAML file")
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
    if colon and kind in ("parquet", "image_folder"):
        return {"kind": kind, "path": str(Path(place).expanduser().absolute()), **given}
    neither = "neither a source like parquet:FOLDER nor a readable YAML file"
    return _read_mapping(Path(text), "a source: a mapping with `kind`", neither) | given


def _read_mapping(file: Path, what: str, unreadable: str) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise NormlabError(f"{file} is {unreadable}: {error}") from error
    if not isinstance(found, dict):
        raise NormlabError(f"{file} should hold {what}")
    return found


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


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
    Column("error", field("error")),
)
