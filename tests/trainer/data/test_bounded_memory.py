"""Decoding takes memory for a chunk, whatever labels, shapes and counts a set claims."""

import os
import tracemalloc
from pathlib import Path

import numpy
import pytest
from PIL import Image

from tests.support.real_inputs import encode, pictures, write_folder, write_parquet
from trainer.data.decoding import decode
from trainer.data.image_file import ImageFile
from trainer.data.sources.labels import number, read_labels
from trainer.data.sources.pixels import Reader
from trainer.errors import DataError
from trainer.spec.dataset import ImageFolder, Parquet

pyarrow = pytest.importorskip("pyarrow")


def steps(base: Path, **options: object) -> list[str]:
    """What a registration says on its way."""
    source = Parquet.model_validate({"kind": "parquet", "path": str(base), **options})
    return [event.what for event in decode("mine", source, base.parent / "cache", [base.parent])]


def test_a_label_takes_no_memory_of_its_size() -> None:
    column = pyarrow.chunked_array([pyarrow.array([0, 3_000_000, 2**62])])
    tracemalloc.start()
    try:
        numbered = number({"train": read_labels([column], "label")}, None, "label")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert numbered.classes == ("0", "3000000", str(2**62))
    assert peak < 1_000_000


def test_an_image_of_another_shape_ends_it_before_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = encode(Image.new("RGB", (9, 9)))
    write_parquet(tmp_path / "set" / "train.parquet", [pictures()[0], odd, *pictures()[2:]])
    read = Reader.read
    calls: list[str] = []
    monkeypatch.setattr(Reader, "read", lambda self, e: calls.append(e.name) or read(self, e))
    with pytest.raises(DataError, match="must be equal in shape"):
        steps(tmp_path / "set")
    assert len(calls) == 2


def test_a_chunk_ends_with_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "set" / "train.parquet")
    monkeypatch.setattr("trainer.data.decoding.CHUNK_BYTES", 50 * 16 * 16 * 3)
    said = steps(tmp_path / "set")
    assert [text for text in said if text.startswith("decoded")] == [
        "decoded 50 of 120 train images",
        "decoded 100 of 120 train images",
        "decoded 120 of 120 train images",
    ]
    # What an image took before it was resized counts, too: it is what takes the time.
    resized = steps(tmp_path / "set", size=4)
    assert [text for text in resized if text.startswith("decoded")] == said[1:4]


@pytest.mark.parametrize("name", ["image", "the.image"])
def test_encoded_images_are_read_by_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "set" / "train.parquet"
    write_parquet(path)
    table = pyarrow.parquet.read_table(path).rename_columns({"image": name})
    # Asked for `image`, Arrow reads a column `image.width`, too.
    others = pyarrow.array([0] * len(table))
    pyarrow.parquet.write_table(table.add_column(0, f"{name}.width", others), path)
    sizes: list[int] = []
    plain = pyarrow.parquet.ParquetFile.iter_batches

    def iter_batches(self: object, rows: int, **options: object) -> object:
        sizes.append(rows)
        return plain(self, rows, **options)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", iter_batches)
    monkeypatch.setattr("trainer.data.sources.parquet._BYTES", 10 * len(pictures()[0]))
    steps(tmp_path / "set", image=name)
    (rows,) = sizes
    assert 5 <= rows <= 12


def test_a_file_too_large_for_an_image_is_not_read(tmp_path: Path) -> None:
    write_folder(tmp_path / "set")
    large = tmp_path / "set" / "cross" / "zeros.png"
    large.touch()
    # Takes no room on the disk.
    os.truncate(large, 700_000_000)
    source = ImageFolder(kind="image_folder", path=str(tmp_path / "set"), unreadable="skip")
    tracemalloc.start()
    try:
        for _ in decode("mine", source, tmp_path / "cache", [tmp_path]):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000
    refusing = source.model_copy(update={"unreadable": "refuse"})
    with pytest.raises(DataError, match=r"zeros\.png takes 668 MiB but 384 MiB is the limit"):
        for _ in decode("mine", refusing, tmp_path / "other", [tmp_path]):
            pass


def test_what_many_images_take_together_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.data.image_file.MAX_BYTES", 2**16)
    write_parquet(tmp_path / "set" / "train.parquet")
    with pytest.raises(DataError, match=r"the 120 train images of shape \(3, 16, 16\) would take"):
        steps(tmp_path / "set")
    steps(tmp_path / "set", size=8)


def test_images_claiming_more_than_any_machine_has_are_refused_at_once(tmp_path: Path) -> None:
    file = ImageFile(tmp_path / "images.npy", "train", 10**9)
    with pytest.raises(DataError, match="would take 931 GiB but 64 GiB is the limit"):
        file.write([numpy.zeros((1, 10, 100), numpy.uint8)])
    assert list(tmp_path.iterdir()) == []


def test_grey_images_are_widened_and_unfilled_room_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.data.image_file._CHUNK_BYTES", 100)
    path = tmp_path / "images.npy"
    file = ImageFile(path, "train", 9)
    grey = [numpy.full((1, 4, 5), value, numpy.uint8) for value in range(5)]
    file.write(grey)
    assert list(file.widen(3)) == [1, 2, 3, 4, 5]
    assert list(file.widen(3)) == []
    colour = numpy.arange(60, dtype=numpy.uint8).reshape(3, 4, 5)
    file.write([colour, grey[0]])
    assert list(file.finish())[-1] == 7
    stored = numpy.load(path)
    assert stored.shape == (7, 3, 4, 5)
    assert [image[1, 2, 3] for image in stored] == [0, 1, 2, 3, 4, 33, 0]
    assert (file.coloured, file.varied, list(tmp_path.iterdir())) == (1, True, [path])
