"""Files that the service sends."""

from collections.abc import Iterable
from pathlib import Path

from normlab.errors import NormlabError


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


def inside(folder: Path, name: str) -> Path:
    """The path of a file named by the service, which must be inside the folder."""
    # The name comes from the service. Were it `../.bashrc`, or lead through a link out of the folder, a download
    # would overwrite a file of the person's.
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise NormlabError(f"the file name {name!r} is outside of {folder}")
    return target
