"""Small arrays that evaluations have kept as files of the storage, whose digests the database knows. A file
that isn't what was written is as good as none."""

import io
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from runtime.files import DamagedFile, read_verified
from store.db import File

#: A larger file is no small array, whatever its name.
MOST_BYTES = 16 * 2**20

Arrays = Mapping[str, Any]

#: What a file of each output holds (`trainer.evaluation.weight_arrays`, `trainer.evaluation.activations`, `trainer.evaluation.image_grids`).
ARRAYS = {
    "filters": ("layer", "filters", "total"),
    "weights": ("layers", "edges", "counts", "minimum", "maximum"),
    "activations": ("edges", "counts"),
    "responses": ("images", "before", "after"),
    "augmented": ("original", "augmented"),
    "grid": ("x", "predictions", "train_x", "train_y"),
    "mc_curve": ("k", "error"),
}

log = structlog.get_logger(__name__)


def read_arrays(
    output: str, files: Sequence[File], storage: Path, evaluation: str | None = None
) -> Arrays | None:
    """The arrays of the first evaluation that kept this, or of that one; None where none did."""
    wanted = f"_{output}.npz"
    for file in files:
        is_asked = (
            file.name == f"{evaluation}{wanted}" if evaluation else file.name.endswith(wanted)
        )
        if is_asked and file.bytes <= MOST_BYTES:
            try:
                return _load(storage / file.path, file.digest, ARRAYS[output])
            except (DamagedFile, ValueError, zipfile.BadZipFile) as error:
                log.warning("a file can't be shown", path=file.path, error=str(error))
    return None


def _load(path: Path, digest: str, names: Collection[str]) -> Arrays:
    content = read_verified(path, digest)
    # Arrays of numbers and names: a pickle in it is refused.
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        if missing := set(names) - set(arrays):
            raise ValueError(f"it has no array {', '.join(sorted(missing))}")
        return {name: arrays[name] for name in names}
