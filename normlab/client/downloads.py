"""Files that the service sends."""

from collections.abc import Iterable
from pathlib import Path


def save(chunks: Iterable[bytes], target: Path) -> None:
    """Into a temporary name first: what stands under `target` is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.part")
    try:
        with unfinished.open("wb") as file:
            file.writelines(chunks)
        # A rename within one folder is atomic: a download that breaks off leaves what was there before.
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
