"""Files that a training leaves behind, as the events that name them."""

from pathlib import Path

from runtime import files
from trainer.events import FileWritten


def write_file(path: Path, content: bytes | memoryview) -> FileWritten:
    """Complete and durable, or not there at all."""
    files.write_file(path, content)
    return FileWritten(path.name, str(path.absolute()), files.digest_of(content), len(content))
