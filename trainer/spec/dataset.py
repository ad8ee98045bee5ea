"""Datasets in a spec: which one and how it is cut, where a registered one comes from, what it holds."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from trainer.spec.part import Count, Fraction, Name, Part, PluginWithOptions, Seed


class Shift(Part):
    """A change of the input distribution: `contrast * (x - 0.5) + 0.5 + brightness + noise`, x in [0, 1]."""

    brightness: Annotated[float, Field(strict=True, ge=-1, le=1)] = 0.0
    contrast: Annotated[float, Field(strict=True, gt=0, le=10)] = 1.0
    noise: Annotated[
        float, Field(strict=True, ge=0, le=1, description="standard deviation of Gaussian noise")
    ] = 0.0


class DatasetSpec(Part):
    """Which registered dataset, and how it is cut. The split has a seed of its own."""

    name: Name
    split_seed: Seed = 0
    val_fraction: Annotated[
        float, Field(strict=True, gt=0, lt=0.9, description="of the training part, stratified")
    ] = 0.2
    train_size: Annotated[
        Count | None, Field(description="keep only so many training examples, stratified")
    ] = None
    subset_seed: Annotated[
        Seed | None,
        Field(description="which examples train_size keeps; none: those of split_seed"),
    ] = None
    label_noise: Annotated[
        Fraction, Field(description="share of train and validation labels drawn anew")
    ] = 0.0
    binarize: Annotated[
        float | None, Field(strict=True, gt=0, lt=1, description="threshold on [0, 1] pixels")
    ] = None
    image_size: Annotated[
        int | None, Field(strict=True, ge=4, le=1024, description="pixels, height and width")
    ] = None
    shift: Annotated[
        Shift | None, Field(description="applied to the test split only: train and test differ")
    ] = None

    @model_validator(mode="after")
    def _subset_of_some_size(self) -> Self:
        if self.subset_seed is not None and self.train_size is None:
            raise ValueError("subset_seed chooses what train_size keeps: set train_size, too")
        return self


class BuiltIn(Part):
    """Comes with Normlab; needs no registration."""

    kind: Literal["builtin"]


Column: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]


class Images(Part):
    """What every source of images may be asked to do with them."""

    size: Annotated[
        int | None, Field(strict=True, ge=4, le=1024, description="resize to size × size pixels")
    ] = None
    background: Annotated[
        str,
        Field(
            pattern=r"^(white|black|#[0-9a-fA-F]{6})$",
            description="what transparent images are laid over: white, black or #rrggbb",
        ),
    ] = "white"
    unreadable: Annotated[
        Literal["refuse", "skip"],
        Field(description="skip: leave out images that cannot be read, and count them"),
    ] = "refuse"


Configuration: TypeAlias = Annotated[
    str | None,
    Field(min_length=1, max_length=400, description="which of several sets that lie in one place"),
]


class Table(Images):
    """Images and labels in columns."""

    configuration: Configuration = None
    image: Column = "image"
    label: Column = "label"
    unlabelled: Annotated[
        Literal["refuse", "skip"],
        Field(
            description="skip: leave out examples whose label is missing or -1, and count them; a held-out "
            "split without any label is left out in either case"
        ),
    ] = "refuse"


class HuggingFace(Table):
    """A dataset on the Hugging Face hub, fixed by its commit."""

    kind: Literal["hugging_face"]
    repository: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$", description="commit, 40 hex digits")]


class Parquet(Table):
    """A folder of parquet files in the Hugging Face layout, under one of the configured data roots."""

    kind: Literal["parquet"]
    path: Annotated[str, Field(min_length=1, max_length=4096)]


#: What the folders of images directly below a set's folder are.
FolderLayout: TypeAlias = Literal["auto", "classes", "splits"]


class ImageFolder(Images):
    """`<path>/<class>/*.png`, or with folders like `train` and `test` above the classes."""

    kind: Literal["image_folder"]
    path: Annotated[str, Field(min_length=1, max_length=4096)]
    layout: Annotated[
        FolderLayout,
        Field(
            description="what the folders are: classes; splits, with the classes below them; auto: as "
            "their names say, and refused where they could be either"
        ),
    ] = "auto"


class Generated(Part):
    """Drawn from a formula, seeded: the same everywhere, with no download."""

    kind: Literal["generated"]
    generator: Annotated[
        Literal["polynomial_noise", "moons", "circles", "blobs", "mnist1d"],
        Field(
            description="polynomial_noise: y = cos(1.5πx) + noise on [0, 1], a regression; moons, "
            "circles, blobs: two features; mnist1d: 40 features, ten classes (Greydanus 2020)"
        ),
    ]
    size: Annotated[int, Field(strict=True, ge=20, le=1_000_000, description="examples")] = 1000
    noise: Annotated[
        float | None,
        Field(
            strict=True, ge=0, le=10, description="standard deviation; none: the generator's own"
        ),
    ] = None
    seed: Seed = 0


class PluginData(PluginWithOptions):
    """What a function of a package of the installation's own gives, which its settings name."""

    kind: Literal["plugin"]


DatasetSource: TypeAlias = Annotated[
    BuiltIn | HuggingFace | Parquet | ImageFolder | Generated | PluginData,
    Field(discriminator="kind"),
]


class RecordEntry(Part):
    """One thing that registration did with what it found: what was taken, changed or left out, and why."""

    action: Literal["taken", "mapped", "skipped"]
    what: Annotated[
        str, Field(description="in words: `train.parquet as train`, `labels 1 to 4 to 0 to 3`")
    ]
    count: Annotated[
        int | None, Field(description="examples or files; None where it isn't one")
    ] = None
    why: str | None = None
    examples: Annotated[
        tuple[str, ...], Field(description="a few of the files or values that it is about")
    ] = ()


class DatasetInfo(Part):
    """What registration found: enough to check a spec against the data without the data."""

    name: Name
    digest: str
    content: Annotated[
        Literal["images", "vectors"],
        Field(description="images: bytes; vectors: floats of shape (features, 1, 1)"),
    ] = "images"
    target: Annotated[
        Literal["class", "value"], Field(description="value: a number, for regression")
    ] = "class"
    shape: Annotated[tuple[int, int, int], Field(description="channels, height, width")]
    classes: Annotated[tuple[str, ...], Field(description="empty where the target is a value")]
    train_size: Annotated[int, Field(description="examples outside the set's own test split")]
    test_size: Annotated[int | None, Field(description="None: no own test split; one is cut")]
    mean: Annotated[
        tuple[float, ...], Field(description="per channel, of [0, 1] pixels or of the features")
    ]
    std: tuple[float, ...]
    class_counts: Annotated[
        tuple[int, ...] | None,
        Field(
            description="training examples of each class; None: registered before they were counted, or values"
        ),
    ] = None
    record: Annotated[
        tuple[RecordEntry, ...], Field(description="what was taken, mapped and left out, and why")
    ] = ()
