"""Decoding: every kind of source into the same cache, and what is refused on the way."""

import io
import json
import os
from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from tests.support.trainer_specs import DIGITS
from trainer.data.decoding import decode
from trainer.data.loading import load
from trainer.data.sources.find import allowed_path
from trainer.data.sources.parquet_files import ParquetFiles, group_files
from trainer.errors import DataError
from trainer.events import Progressed
from trainer.spec.dataset import BuiltIn, DatasetSpec, ImageFolder, Parquet

SHARED = Path(
    os.environ.get("NORMLAB_TEST_DATA", Path(__file__).parents[3].parent / "shared" / "data")
)


def finish(name, source, folder, roots):
    """The info, and how many signs of life there were."""
    steps, count = decode(name, source, folder, roots), 0
    while True:
        try:
            assert isinstance(next(steps), Progressed)
            count += 1
        except StopIteration as end:
            return end.value, count


def png(value, size=(6, 5), mode="L"):
    stream = io.BytesIO()
    colour = value if mode in ("L", "I;16", "1") else (value,) * len(mode)
    Image.new(mode, size, colour).save(stream, format="PNG")
    return stream.getvalue()


def write_parquet(path, images, labels, names=None, image="image", label="label"):
    path.parent.mkdir(parents=True, exist_ok=True)
    struct = pyarrow.array([{"bytes": content, "path": None} for content in images])
    table = pyarrow.table({image: struct, label: labels})
    if names:
        features = {label: {"names": names, "_type": "ClassLabel"}}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(table, path)


def write_folder(base, classes=("cat", "dog"), count=4, **image):
    for number, name in enumerate(classes):
        (base / name).mkdir(parents=True)
        for index in range(count):
            (base / name / f"{index}.png").write_bytes(png(number * 100 + index, **image))


def parquet(path, **columns):
    return Parquet(kind="parquet", path=str(path), **columns)


def folder_source(path, **options):
    return ImageFolder(kind="image_folder", path=str(path), **options)


def test_parquet_files_become_arrays_with_names_and_an_own_test(tmp_path):
    root = tmp_path / "root"
    write_parquet(
        root / "set" / "train-0.parquet", [png(i) for i in range(20)], [0, 1] * 10, ["a", "b"]
    )
    write_parquet(root / "set" / "test-0.parquet", [png(200 + i) for i in range(4)], [1, 0, 1, 0])
    info, _ = finish("mine", parquet("set"), tmp_path / "cache", [root])
    assert info.classes == ("a", "b")
    assert (info.shape, info.train_size, info.test_size) == ((1, 5, 6), 20, 4)
    data = load(DatasetSpec(name="mine"), info, tmp_path / "cache")
    assert data.test.images[:, 0, 0, 0].tolist() == [200, 201, 202, 203]
    assert data.test.labels.tolist() == [1, 0, 1, 0]
    kept = sorted([*data.train.images[:, 0, 0, 0].tolist(), *data.val.images[:, 0, 0, 0].tolist()])
    assert kept == list(range(20))


def test_names_as_labels_are_numbered_in_their_order(tmp_path):
    write_parquet(tmp_path / "set" / "0.parquet", [png(i) for i in range(4)], ["b", "a", "b", "c"])
    info, _ = finish("mine", parquet("set"), tmp_path / "cache", [tmp_path])
    assert info.classes == ("a", "b", "c")
    stored = numpy.load(tmp_path / "cache" / info.digest / "train-labels.npy")
    assert stored.tolist() == [1, 0, 1, 2]


def test_image_folders_with_and_without_a_test_folder(tmp_path):
    write_folder(tmp_path / "plain")
    info, _ = finish("plain", folder_source("plain"), tmp_path / "cache", [tmp_path])
    assert (info.classes, info.train_size, info.test_size) == (("cat", "dog"), 8, None)
    write_folder(tmp_path / "both" / "train")
    write_folder(tmp_path / "both" / "test", count=2)
    info, _ = finish("both", folder_source("both"), tmp_path / "cache", [tmp_path])
    assert (info.classes, info.train_size, info.test_size) == (("cat", "dog"), 8, 4)


def test_an_image_folder_may_be_resized(tmp_path):
    write_folder(tmp_path / "set")
    (tmp_path / "set" / "cat" / "0.png").write_bytes(png(3, size=(9, 9)))
    with pytest.raises(DataError, match=r"image 1 of train .* must be equal in shape"):
        finish("set", folder_source("set"), tmp_path / "cache", [tmp_path])
    info, _ = finish("set", folder_source("set", size=8), tmp_path / "cache", [tmp_path])
    assert info.shape == (1, 8, 8)


def test_decoding_twice_gives_the_same_digest_and_one_pixel_another(tmp_path):
    write_folder(tmp_path / "set")
    one, _ = finish("set", folder_source("set"), tmp_path / "cache", [tmp_path])
    two, _ = finish("set", folder_source("set"), tmp_path / "cache", [tmp_path])
    (tmp_path / "set" / "cat" / "0.png").write_bytes(png(33))
    three, _ = finish("set", folder_source("set"), tmp_path / "cache", [tmp_path])
    assert one == two
    assert three.digest != one.digest
    assert sorted(os.listdir(tmp_path / "cache")) == sorted([one.digest, three.digest])


def test_an_abandoned_decoding_leaves_nothing(tmp_path):
    write_folder(tmp_path / "set")
    steps = decode("set", folder_source("set"), tmp_path / "cache", [tmp_path])
    next(steps), next(steps)
    steps.close()
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_path_that_may_not_be_read_is_refused_with_the_reason(tmp_path):
    with pytest.raises(DataError, match="is not a path under one of the data roots"):
        allowed_path("/etc", [tmp_path])
    with pytest.raises(DataError, match="does not exist"):
        allowed_path("missing", [tmp_path])


def test_a_link_to_a_file_outside_is_refused(tmp_path):
    root = tmp_path / "root"
    write_folder(root / "set")
    (tmp_path / "secret.png").write_bytes(png(1))
    (root / "set" / "cat" / "1.png").unlink()
    (root / "set" / "cat" / "1.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match=r"1.png' links to .*, outside of the data roots"):
        finish("set", folder_source("set"), tmp_path / "cache", [root])


@pytest.mark.parametrize(
    ("images", "labels", "columns", "message"),
    [
        ([png(1), png(2)], [0, 1], {"image": "img"}, "no column 'img'; it has image, label"),
        ([png(1), png(2)], [0, 1], {"label": "fine"}, "no column 'fine'"),
        ([png(1), png(2)], [0, 1], {"image": "label"}, "holds int64 but images are needed"),
        (
            [png(1), b"no image"],
            [0, 1],
            {},
            r"image 1 of train \(row 1 of 0.parquet\) is not a readable",
        ),
        ([png(1), png(2)[:40]], [0, 1], {}, r"image 1 of train \(row 1 of .* is not a readable"),
        ([png(1), png(2, mode="I;16")], [0, 1], {}, "8 bits per channel are needed"),
        ([png(1), png(2, size=(4, 4))], [0, 1], {}, "must be equal in shape"),
        ([png(1), None], [0, 1], {}, "an image without bytes"),
        ([png(1), png(1)], [0, 1], {}, "all 2 training images are equal: every pixel is 1"),
        ([png(1), png(2)], [0, 0], {}, "needs 2 to 100000 classes but has 1"),
    ],
)
def test_bad_parquet_files_are_refused_with_the_reason(tmp_path, images, labels, columns, message):
    write_parquet(tmp_path / "set" / "0.parquet", images, labels)
    with pytest.raises(DataError, match=message):
        finish("bad", parquet("set", **columns), tmp_path / "cache", [tmp_path])
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())


def test_what_is_no_parquet_file_and_an_empty_folder_are_refused(tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match="has no parquet files"):
        finish("bad", parquet("set"), tmp_path / "cache", [tmp_path])
    path = tmp_path / "set" / "0.parquet"
    write_parquet(path, [png(1), png(2)], [0, 1])
    good = path.read_bytes()
    # Cut off; a footer that is none; pages that are none.
    for bad in (b"text", good[:-9] + good[-8:], good[:-99] + b"\xff" * 91 + good[-8:]):
        path.write_bytes(bad)
        with pytest.raises(DataError, match="is not a readable parquet file"):
            finish("bad", parquet("set"), tmp_path / "cache", [tmp_path])
    path.write_bytes(b"PAR1" + b"\xff" * 60 + good[64:])
    with pytest.raises(DataError, match="is not a readable parquet file"):
        finish("bad", parquet("set"), tmp_path / "cache", [tmp_path])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda base: base.mkdir(), "has no folders of classes"),
        (lambda base: (base / "a").mkdir(parents=True), "has no folders of classes with images"),
        (lambda base: write_folder(base, ("a",)), "at least 2 classes but .*/a"),
        (
            lambda base: [
                write_folder(base / "train"),
                write_folder(base / "test", ("cat", "emu")),
            ],
            "has classes that train lacks: emu",
        ),
    ],
)
def test_bad_image_folders_are_refused_with_the_reason(tmp_path, make, message):
    make(tmp_path / "set")
    with pytest.raises(DataError, match=message):
        finish("bad", folder_source("set"), tmp_path / "cache", [tmp_path])


def test_an_unknown_built_in_is_refused(tmp_path):
    with pytest.raises(DataError, match="no built-in dataset 'faces'"):
        finish("faces", BuiltIn(kind="builtin"), tmp_path, ())


def grouped(*names, configuration=None):
    def nothing(name):
        raise AssertionError(name)

    grouped = group_files(ParquetFiles("the set", configuration, names, nothing))
    return {split: list(found) for split, found in grouped.splits.items()}


def test_files_are_grouped_as_the_hub_lays_them_out():
    assert grouped("data/train-0.parquet", "data/train-1.parquet", "data/test-0.parquet") == {
        "train": ["data/train-0.parquet", "data/train-1.parquet"],
        "test": ["data/test-0.parquet"],
    }
    assert grouped("plain_text/train-0.parquet", "plain_text/test-0.parquet").keys() == {
        "train",
        "test",
    }
    assert grouped("default/train/0000.parquet", "default/test/0000.parquet") == {
        "train": ["default/train/0000.parquet"],
        "test": ["default/test/0000.parquet"],
    }
    assert grouped("0.parquet", "1.parquet") == {"train": ["0.parquet", "1.parquet"]}


def test_a_set_of_several_configurations_needs_a_choice():
    names = ("a/train-0.parquet", "b/train-0.parquet")
    assert grouped(*names, configuration="b") == {"train": ["b/train-0.parquet"]}
    with pytest.raises(
        DataError, match="has the configurations a, b; name one of them with the source's `config"
    ):
        grouped(*names)
    with pytest.raises(DataError, match="instead of c"):
        grouped(*names, configuration="c")
    with pytest.raises(DataError, match="has no train split but test"):
        grouped("test-0.parquet")


needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is absent")


@pytest.mark.shared_data
@needs_shared_data
def test_mnist_images_become_a_dataset_with_its_own_test(tmp_path):
    info, signs = finish("mnist10k", parquet("mnist10k"), tmp_path, [SHARED])
    assert (info.shape, info.train_size, info.test_size) == ((1, 28, 28), 8000, 2000)
    assert info.classes == DIGITS.classes
    assert info.mean[0] == pytest.approx(0.13, abs=0.005)
    assert signs >= 10
    data = load(DatasetSpec(name="mnist10k", train_size=1000, image_size=14), info, tmp_path)
    assert data.train.images.shape == (1000, 1, 14, 14)
    assert len(data.test) == 2000


@pytest.mark.shared_data
@needs_shared_data
def test_cifar_images_become_a_dataset_in_colour(tmp_path):
    # The first images of each file: all 60,000 take 8 seconds on an idle core.
    for part, count in (("train", 2000), ("test", 500)):
        original = pyarrow.parquet.ParquetFile(SHARED / f"cifar10/{part}-00000-of-00001.parquet")
        rows = pyarrow.Table.from_batches([next(original.iter_batches(count))])
        pyarrow.parquet.write_table(rows, tmp_path / f"{part}-0.parquet")
    info, _ = finish("cifar", parquet(".", image="img"), tmp_path / "cache", [tmp_path])
    assert (info.shape, info.train_size, info.test_size) == ((3, 32, 32), 2000, 500)
    assert info.classes[:2] == ("airplane", "automobile")
    # The known statistics of all of CIFAR-10's training images.
    assert info.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.01)
    assert info.std == pytest.approx((0.247, 0.2435, 0.2616), abs=0.01)


def test_the_room_for_all_images_is_taken_before_the_second_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.data.decoding.CHUNK", 1)
    write_folder(tmp_path / "cats", size=(600, 500))
    source = ImageFolder(kind="image_folder", path="cats")
    steps = decode("cats", source, tmp_path / "cache", [tmp_path])
    while not next(steps).what.startswith("decoded 1 of"):
        pass
    (images,) = (tmp_path / "cache").glob(".decoding-*/train-images.npy")
    size = images.stat()
    assert size.st_blocks * 512 >= size.st_size >= 8 * 600 * 500
    steps.close()
