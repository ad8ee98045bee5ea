"""Sets as people have them, each registered as it lies on disk: what it gives, what is said, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy
import pyarrow
import pytest
from PIL import Image

from tests.support.real_inputs import NAMES, TEST, TRAIN, cut_out, draw, encode, pictures
from tests.support.real_inputs import write_both as both
from tests.support.real_inputs import write_folder as folder
from tests.support.real_inputs import write_parquet as parquet
from trainer.data.decoding import decode
from trainer.errors import DataError
from trainer.spec.dataset import DatasetInfo, ImageFolder, Parquet

FOUR = (30, 30, 30, 30)


def register(path: Path, **options: object) -> DatasetInfo:
    """A set of parquet files where there are any, else of images in folders."""
    is_parquet = any(path.rglob("*.parquet"))
    source = (
        Parquet.model_validate({"kind": "parquet", "path": str(path), **options})
        if is_parquet
        else ImageFolder.model_validate({"kind": "image_folder", "path": str(path), **options})
    )
    steps = decode("mine", source, path.parent / "cache", [path.parent])
    while True:
        try:
            next(steps)
        except StopIteration as end:
            info: DatasetInfo = end.value
            return info


def record(info: DatasetInfo) -> list[str]:
    """Each entry in a line, with its count."""
    return [f"{one.action} {one.count} {one.what}" for one in info.record]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.parquet", "test.parquet"),
        ("shapes_train.parquet", "shapes_test.parquet"),
        ("shapes-train.parquet", "shapes-test.parquet"),
        ("Train.parquet", "Test.parquet"),
        ("2024-train.parquet", "2024-test.parquet"),
        ("Train/0000.parquet", "Test/0000.parquet"),
        ("training/0000.parquet", "testing/0000.parquet"),
        ("train.parquet", "eval.parquet"),
        ("shapes-train/0000.parquet", "shapes-test/0000.parquet"),
        # Spark writes folders that are named like files.
        ("train.parquet/part-0.parquet", "test.parquet/part-0.parquet"),
    ],
)
def test_files_named_by_a_split_are_that_split(base: Path, train: str, test: str) -> None:
    both(base, train, test)
    info = register(base)
    assert (info.train_size, info.test_size, info.shape) == (120, 40, (3, 16, 16))
    assert (info.classes, info.class_counts) == (NAMES, FOUR)
    assert record(info) == [f"taken 120 {train} as train", f"taken 40 {test} as test"]


def test_a_file_of_no_split_beside_train_is_left_out_by_name(base: Path) -> None:
    both(base, "train.parquet", "holdout.parquet")
    info = register(base)
    assert (info.train_size, info.test_size) == (120, None)
    (entry,) = [entry for entry in info.record if entry.action == "skipped"]
    assert (entry.count, entry.examples) == (1, ("holdout.parquet",))


def test_a_linked_split_that_is_read_already_is_left_out_and_said(base: Path) -> None:
    parquet(base / "train" / "0.parquet")
    (base / "test").symlink_to(base / "train")
    info = register(base)
    assert (info.train_size, info.test_size) == (120, None)
    assert record(info)[1:] == ["skipped 1 linked folders"]


def test_a_file_of_no_split_beside_test_is_refused_by_name(base: Path) -> None:
    both(base, "part-0.parquet", "test.parquet")
    with pytest.raises(DataError, match=r"no train split but test; the name of part-0\.parquet"):
        register(base)


def test_files_of_which_none_names_a_split_are_train_and_the_record_says_why(base: Path) -> None:
    both(base, "part-0.parquet", "holdout.parquet")
    info = register(base)
    assert (info.train_size, info.test_size) == (160, None)
    (entry,) = info.record
    assert (entry.what, entry.count) == ("2 files as train", 160)
    assert entry.examples == ("holdout.parquet", "part-0.parquet")
    assert entry.why == "no name has a word like train, validation or test"


def turned(image: Image.Image, orientation: int) -> bytes:
    """Stored so that a viewer which heeds the EXIF orientation shows the image."""
    back = {6: "ROTATE_90", 3: "ROTATE_180", 8: "ROTATE_270"}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(image.transpose(Image.Transpose[back]), exif=exif)


@pytest.mark.parametrize("write", [parquet, folder])
def test_pictures_stored_turned_equal_the_upright_ones(
    tmp_path: Path, write: Callable[..., None]
) -> None:
    images = [draw(label, seed, (16, 12)) for seed, label in enumerate(TRAIN)]
    upright, sideways = tmp_path / "upright", tmp_path / "sideways"
    place = Path("train.parquet") if write is parquet else Path()
    write(upright / place, [encode(image) for image in images], TRAIN)
    stored = [turned(image, (6, 3, 8)[n % 3]) for n, image in enumerate(images)]
    write(sideways / place, stored, TRAIN)
    one, other = register(upright), register(sideways)
    assert other.digest == one.digest
    assert other.shape == (3, 12, 16)
    assert "mapped 120 images turned upright by their EXIF orientation" in record(other)


def with_transparency(mask: Image.Image, mode: str) -> bytes:
    """Black on nothing: what one sees is in the alpha channel alone."""
    black = Image.new("L", mask.size, 0)
    if mode == "RGBA":
        return encode(Image.merge("RGBA", (black, black, black, mask)))
    if mode == "LA":
        return encode(Image.merge("LA", (black, mask)))
    indexed = mask.point(lambda value: value > 0).convert("P")
    indexed.putpalette([0, 0, 0, 0, 0, 0])
    return encode(indexed, transparency=0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_drawings_on_a_transparent_ground_are_laid_over_white(base: Path, mode: str) -> None:
    masks = [cut_out(label, seed) for seed, label in enumerate(TRAIN)]
    folder(base, [with_transparency(mask, mode) for mask in masks])
    info = register(base)
    stored = numpy.load(base.parent / "cache" / info.digest / "train-images.npy")
    seen = numpy.asarray(masks[TRAIN.index(2)])  # classes are sorted: crosses come first
    assert (stored[0, 0] == 255 - seen).all()
    assert info.shape == (1, 16, 16)
    assert "mapped 120 transparent images, laid over white" in record(info)


def test_a_set_of_equal_images_is_refused_with_the_reason(base: Path) -> None:
    masks = [cut_out(label, seed) for seed, label in enumerate(TRAIN)]
    folder(base, [with_transparency(mask, "RGBA") for mask in masks])
    with pytest.raises(DataError) as refused:
        register(base, background="black")
    assert "all 120 training images are equal: every pixel is 0; 120 of" in str(refused.value)
    assert "laid over black" in str(refused.value)


@pytest.mark.parametrize("position", [0, 119])
def test_one_grey_image_among_colour_is_stored_with_colour(base: Path, position: int) -> None:
    order = sorted(range(120), key=lambda number: (NAMES[TRAIN[number]], number))
    images = list(pictures())
    grey = draw(TRAIN[order[position]], 5).convert("L")
    images[order[position]] = encode(grey)
    folder(base, images)
    info = register(base)
    stored = numpy.load(base.parent / "cache" / info.digest / "train-images.npy")
    assert stored.shape == (120, 3, 16, 16)
    assert (stored[position] == numpy.asarray(grey)).all()
    (entry,) = [entry for entry in info.record if entry.action == "mapped"]
    assert (entry.count, entry.what) == (1, "grey images to three equal channels")
    assert (entry.why or "").startswith("119 images with colour")


def test_a_palette_of_greys_among_grey_images_is_grey(base: Path) -> None:
    images = [draw(label, seed).convert("L") for seed, label in enumerate(TRAIN)]
    files = [encode(image) for image in images]
    files[7] = encode(images[7].quantize(8))
    folder(base, files)
    info = register(base)
    assert info.shape == (1, 16, 16)
    assert "mapped 1 images stored in colour, with equal channels, to grey" in record(info)


def test_a_colour_image_in_test_alone_makes_all_images_colour(base: Path) -> None:
    grey = [encode(draw(label, seed).convert("L")) for seed, label in enumerate(TRAIN)]
    parquet(base / "train.parquet", grey, TRAIN)
    parquet(base / "test.parquet", [*grey[:39], pictures("test")[39]], TEST)
    info = register(base)
    assert info.shape == (3, 16, 16)
    assert "mapped 159 grey images to three equal channels" in record(info)


@pytest.mark.parametrize(
    ("labels", "kind", "names", "classes", "said"),
    [
        (
            [n + 1 for n in TRAIN],
            None,
            None,
            ("1", "2", "3", "4"),
            "labels 1 to 4 to classes 0 to 3",
        ),
        ([n * 5 for n in TRAIN], None, None, ("0", "5", "10", "15"), "labels 0, 5, 10, 15 to"),
        ([float(n) for n in TRAIN], "float32", None, ("0", "1", "2", "3"), "whole numbers stored"),
        (TRAIN, "int32", None, ("0", "1", "2", "3"), ""),
        (TRAIN, "uint8", None, ("0", "1", "2", "3"), ""),
        ([NAMES[n] for n in TRAIN], None, None, tuple(sorted(NAMES)), ""),
        ([n > 1 for n in TRAIN], None, None, ("0", "1"), ""),
        (TRAIN, None, (*NAMES, "star"), NAMES, "skipped 1 names of classes"),
        (TRAIN, None, ("star", *NAMES), ("star", *NAMES[:3]), "skipped 1 names of classes"),
    ],
)
def test_labels_of_any_kind_become_classes_with_examples(
    base: Path, labels: list[int], kind: str, names: list[str], classes: list[str], said: str
) -> None:
    parquet(base / "train.parquet", None, labels, names, kind)
    info = register(base)
    stored = numpy.load(base.parent / "cache" / info.digest / "train-labels.npy")
    assert info.classes == classes
    assert info.class_counts == tuple(numpy.bincount(stored, minlength=len(classes)))
    assert said in "\n".join(record(info))
    assert said or len(info.record) == 1


def test_a_class_without_images_is_dropped_and_the_others_move_up(base: Path) -> None:
    kept = [number for number, label in enumerate(TRAIN) if label != 2]
    parquet(base / "train.parquet", [pictures()[n] for n in kept], [TRAIN[n] for n in kept])
    info = register(base)
    assert info.classes == ("standing", "lying", "dot")
    assert info.class_counts == (30, 30, 30)
    (dropped,) = [entry for entry in info.record if entry.action == "skipped"]
    assert dropped.examples == ("cross",)


@pytest.mark.parametrize("labels", [[-1] * 40, [None] * 40, False])
def test_a_test_split_without_labels_is_left_out_and_validation_taken(
    base: Path, labels: list[int] | None
) -> None:
    both(base, "train.parquet", "validation.parquet")
    kind = None if labels is False else "int64"
    parquet(base / "test.parquet", pictures("test"), labels, NAMES, kind)
    info = register(base)
    assert (info.train_size, info.test_size) == (120, 40)
    assert "taken 40 validation.parquet as test" in record(info)
    (left_out,) = [entry for entry in info.record if entry.action == "skipped"]
    assert (left_out.what, left_out.count) == ("the test split", 40)
    assert left_out.why == "none of its 40 examples has a label"


def test_a_validation_split_beside_test_is_left_out_and_said(base: Path) -> None:
    both(base, "train.parquet", "test.parquet")
    # Nothing of what is left out is asked for.
    parquet(base / "validation.parquet", pictures("test"), [[n] for n in TEST])
    info = register(base)
    assert (info.train_size, info.test_size) == (120, 40)
    assert "skipped 40 the validation split" in record(info)


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        ([[n] for n in TRAIN], pyarrow.list_(pyarrow.int64()), "holds list<element: int64> but"),
        ([{"id": n} for n in TRAIN], None, "holds struct<id: int64> but each image needs one"),
        ([None, *TRAIN[1:]], None, "1 of 120 examples .* the first in row 0 of train.parquet"),
        ([*("dog" for _ in TRAIN[1:]), None], None, "1 of 120 examples of train have no label"),
        ([-1] * 120, None, "no example of train has a label"),
        ([-2, *TRAIN[1:]], None, "must hold class numbers .* or names but has -2"),
        (["a\0b", *("c" for _ in TRAIN[1:])], None, "a name with a NUL character"),
        ([0.5, *TRAIN[1:]], "float64", "must hold class numbers .* or names but has 0.5"),
        ([5, *TRAIN[1:]], None, "has class 5 but only 4 names, for 0 to 3"),
        ([0] * 120, None, "needs 2 to 100000 classes but has 1"),
    ],
)
def test_labels_that_are_no_classes_are_refused_in_words(
    base: Path, labels: list[object], kind: object, message: str
) -> None:
    parquet(base / "train.parquet", None, labels, NAMES, kind)
    with pytest.raises(DataError, match=message):
        register(base)


def test_examples_without_a_label_are_left_out_if_asked(base: Path) -> None:
    parquet(base / "train.parquet", None, [None, -1, *TRAIN[2:]])
    info = register(base, unlabelled="skip")
    assert (info.train_size, info.class_counts) == (118, (29, 29, 30, 30))
    assert "skipped 2 examples of train" in record(info)
    stored = numpy.load(base.parent / "cache" / info.digest / "train-images.npy")
    third = numpy.asarray(draw(TRAIN[2], 2)).transpose(2, 0, 1)
    assert (stored[0] == third).all()


def test_a_class_that_only_test_has_is_refused(base: Path) -> None:
    parquet(base / "train.parquet", None, [min(n, 2) for n in TRAIN])
    parquet(base / "test.parquet", pictures("test"), TEST)
    with pytest.raises(DataError, match="class 'dot' has examples in test but none in train"):
        register(base)


def test_a_damaged_image_is_named_by_its_path(base: Path) -> None:
    folder(base)
    bad = base / "cross" / "058.png"
    bad.write_bytes(bad.read_bytes()[:40])
    with pytest.raises(DataError) as refused:
        register(base)
    assert str(bad) in str(refused.value)
    assert "BytesIO" not in str(refused.value)
    assert "`unreadable: skip`" in str(refused.value)


def test_damaged_images_are_left_out_and_counted_if_asked(base: Path) -> None:
    folder(base)
    bad = base / "cross" / "058.png"
    bad.write_bytes(bad.read_bytes()[:40])
    info = register(base, unreadable="skip")
    assert (info.train_size, info.class_counts) == (119, (29, 30, 30, 30))
    (left_out,) = [entry for entry in info.record if entry.action == "skipped"]
    assert (left_out.count, left_out.examples) == (1, (str(bad),))
    stored = base.parent / "cache" / info.digest
    images = numpy.load(stored / "train-images.npy")
    assert len(images) == len(numpy.load(stored / "train-labels.npy")) == 119
    bad.unlink()
    assert register(base).digest == info.digest


def test_a_class_of_damaged_images_alone_is_refused(base: Path) -> None:
    folder(base)
    for path in (base / "dot").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="class 'dot' has no example in the train split that can"):
        register(base, unreadable="skip")


@pytest.mark.parametrize("write", [parquet, folder])
def test_images_of_several_sizes_need_a_size(base: Path, write: Callable[..., None]) -> None:
    images = [encode(draw(n, seed, (14 + seed % 9, 20))) for seed, n in enumerate(TRAIN)]
    write(base / "train.parquet" if write is parquet else base, images, TRAIN)
    with pytest.raises(DataError, match=r"pixels but image 0 .* register with a `size`"):
        register(base)
    info = register(base, size=12)
    assert info.shape == (3, 12, 12)
    assert "mapped 120 images resized to 12 × 12 pixels" in record(info)


def test_images_in_folders_below_their_class_are_of_that_class(base: Path) -> None:
    folder(base)
    for number in range(40):
        path = base / NAMES[number % 4] / "batch2" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pictures("test")[number])
    info = register(base)
    assert (info.train_size, info.class_counts) == (160, (40, 40, 40, 40))
    assert "taken 40 images in folders below their class's" in record(info)


@pytest.mark.parametrize(
    ("train", "held_out"), [("Train", "Val"), ("training", "validation"), ("x-train", "x-test")]
)
def test_folders_named_by_a_split_are_that_split(base: Path, train: str, held_out: str) -> None:
    folder(base / train)
    folder(base / held_out, pictures("test"), TEST)
    info = register(base)
    assert (info.train_size, info.test_size) == (120, 40)
    assert record(info) == [f"taken 120 {train}/ as train", f"taken 40 {held_out}/ as test"]


def test_leftovers_of_archives_and_systems_are_no_data_and_counted(base: Path) -> None:
    folder(base)
    plain = register(base)
    (base / "__MACOSX" / "dot").mkdir(parents=True)
    (base / "__MACOSX" / "dot" / "._001.png").write_bytes(b"\0\5\26\7")
    for name in (".DS_Store", "dot/._003.png", "dot/Thumbs.db", "dot/desktop.ini"):
        (base / name).write_bytes(b"x")
    info = register(base)
    assert info.digest == plain.digest
    assert "skipped 5 leftovers" in record(info)


def test_what_is_left_out_of_a_folder_is_said(base: Path) -> None:
    folder(base)
    (base / "masks").mkdir()
    (base / "masks" / "readme.txt").write_text("x")
    (base / "overview.png").write_bytes(pictures()[0])
    info = register(base)
    assert info.classes == tuple(sorted(NAMES))
    assert record(info)[1:] == ["skipped 1 images", "skipped 1 files", "skipped 1 folders"]


def jpeg(image: Image.Image) -> bytes:
    return encode(image.convert("CMYK"), "JPEG", quality=95)


def animated(kind: str) -> Callable[[Image.Image], bytes]:
    def write(image: Image.Image) -> bytes:
        options = {"lossless": True} if kind == "WEBP" else {}
        return encode(image, kind, save_all=True, append_images=[image.rotate(90)], **options)

    return write


@pytest.mark.parametrize(
    ("write", "suffix", "exact"),
    [
        (jpeg, "jpg", False),
        (jpeg, "jfif", False),
        (animated("GIF"), "gif", False),
        (animated("WEBP"), "webp", True),
        (lambda image: encode(image, "TIFF"), "tif", True),
    ],
)
def test_images_of_other_formats_are_read(
    base: Path, write: Callable[[Image.Image], bytes], suffix: str, exact: bool
) -> None:
    images = [draw(label, seed) for seed, label in enumerate(TRAIN[:8])]
    folder(base, [write(image) for image in images], TRAIN[:8], suffix)
    info = register(base)
    assert (info.train_size, info.shape) == (8, (3, 16, 16))
    stored = numpy.load(base.parent / "cache" / info.digest / "train-images.npy")
    first = numpy.asarray(images[2]).transpose(2, 0, 1)
    assert numpy.abs(stored[0].astype(int) - first).max() <= (0 if exact else 90)


def test_images_of_sixteen_bits_are_refused(base: Path) -> None:
    grey = [
        numpy.asarray(draw(n, s).convert("L")).astype(numpy.uint16) * 257
        for s, n in enumerate(TRAIN)
    ]
    folder(base, [encode(Image.fromarray(image)) for image in grey])
    with pytest.raises(DataError, match=r"mode 'I;16' but 8 bits per channel are needed"):
        register(base)


@pytest.mark.parametrize("size", [(28, 1), (17, 32), (8, 8)])
def test_images_of_odd_sizes_are_read(base: Path, size: tuple[int, int]) -> None:
    images = [encode(draw(label, seed, size)) for seed, label in enumerate(TRAIN)]
    parquet(base / "train.parquet", images)
    assert register(base).shape == (3, size[1], size[0])


def write_tables(base: Path, *tables: pyarrow.Table) -> None:
    base.mkdir(exist_ok=True)
    metadata = {"huggingface": json.dumps({"info": {"features": {"label": {"names": NAMES}}}})}
    for number, table in enumerate(tables):
        path = base / f"train-{number:05d}-of-00002.parquet"
        pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), path)


def test_images_are_read_from_any_binary_column_in_any_order_of_columns(tmp_path: Path) -> None:
    parquet(tmp_path / "plain" / "train.parquet")
    cells = [{"path": f"{n}.png", "bytes": content} for n, content in enumerate(pictures())]
    large = pyarrow.struct([("path", pyarrow.string()), ("bytes", pyarrow.large_binary())])
    struct = pyarrow.table({"image": pyarrow.array(cells, large), "label": TRAIN})
    plain = pyarrow.table({"image": list(pictures()), "label": TRAIN})
    write_tables(tmp_path / "struct", struct)
    write_tables(tmp_path / "binary", plain)
    view = pyarrow.array(pictures(), pyarrow.binary_view())
    write_tables(tmp_path / "view", pyarrow.table({"image": view, "label": TRAIN}))
    write_tables(tmp_path / "order", plain[:60], plain[60:].select(["label", "image"]))
    infos = [register(tmp_path / name) for name in ("plain", "struct", "binary", "view", "order")]
    assert {info.digest for info in infos} == {infos[0].digest}


def test_cells_that_only_refer_to_files_are_refused(base: Path) -> None:
    parquet(base / "train.parquet", [None] * 120)
    with pytest.raises(DataError, match=r"row 0 of train\.parquet has an image without bytes"):
        register(base)
