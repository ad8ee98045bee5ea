"""What a worker finds at its start of those before it."""

import os
from pathlib import Path

from trainer.data.cache import unfinished
from worker.startup import delete_abandoned


def test_half_a_dataset_whose_process_is_dead_is_deleted_at_once(tmp_path: Path) -> None:
    datasets = tmp_path / "datasets"
    with unfinished(datasets) as active:
        killed, fetched, new = (
            datasets / name for name in (".decoding-killed", ".fetching-killed", ".fetching-new")
        )
        for folder in (killed, fetched, new, datasets / ("d" * 32)):
            folder.mkdir()
        for folder in (active, killed, fetched):
            (folder / "train-images.npy").write_bytes(b"x")
            os.utime(folder / "train-images.npy", (0, 0))
            os.utime(folder, (0, 0))
        assert delete_abandoned(tmp_path) == 2
        assert sorted(datasets.iterdir()) == sorted([active, new, datasets / ("d" * 32)])
    assert not active.exists()
