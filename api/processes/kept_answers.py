"""A cache of check reports in files, shared by processes, limited in number and size.

A file that can't be read, or whose digest is wrong, counts as missing.
"""

import threading
from pathlib import Path

import structlog
from pydantic import ValidationError

from runtime.files import digest_of, write_file
from trainer.spec import Report

#: More than the cells of the largest study, so that one checked in parts gets through.
MOST_FILES = 20_000
MOST_BYTES = 256 * 2**20
#: What is left when the folder is full and the oldest are deleted.
KEPT_SHARE = 0.75

log = structlog.get_logger(__name__)


class KeptAnswers:
    """A folder of reports by key; several processes may share it. Safe for many threads."""

    def __init__(
        self, folder: Path, *, most_files: int = MOST_FILES, most_bytes: int = MOST_BYTES
    ) -> None:
        self._folder = folder
        self._most_files = most_files
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        #: Files and bytes as far as this process knows; None before it has counted.
        self._size: tuple[int, int] | None = None

    def read(self, key: str) -> Report | None:
        try:
            digest, _, content = self._path(key).read_bytes().partition(b"\n")
            return (
                Report.model_validate_json(content)
                if digest == digest_of(content).encode()
                else None
            )
        except (OSError, ValidationError):
            return None

    def write(self, key: str, report: Report) -> None:
        """Errors are logged only: the report is computed again next time."""
        content = report.model_dump_json().encode()
        content = digest_of(content).encode() + b"\n" + content
        try:
            # Not durable: syncing each of thousands of small files would cost more than to compute again what
            # a power failure loses. A file that was cut off by one fails the digest and counts as none.
            write_file(self._path(key), content, durable=False)
            with self._lock:
                self._count(len(content))
        except OSError as error:
            log.warning(
                "a check's answer cannot be cached", folder=str(self._folder), error=str(error)
            )

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _count(self, size: int) -> None:
        if self._size is not None:
            self._size = (self._size[0] + 1, self._size[1] + size)
            if self._size[0] <= self._most_files and self._size[1] <= self._most_bytes:
                return
        self._size = self._delete_oldest()

    def _delete_oldest(self) -> tuple[int, int]:
        """Makes room where there is too much; the number of files and bytes afterwards."""
        entries = []
        for path in self._folder.iterdir():
            # Another process may be deleting, too.
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            entries.append((status.st_mtime, status.st_size, path))
        entries.sort(reverse=True)
        is_full = (
            len(entries) > self._most_files
            or sum(size for _, size, _ in entries) > self._most_bytes
        )
        # Down to three quarters, so that the folder is not listed again at every write while it is full.
        share = KEPT_SHARE if is_full else 1.0
        files = total = 0
        for _, size, path in entries:
            if files + 1 > share * self._most_files or total + size > share * self._most_bytes:
                path.unlink(missing_ok=True)
            else:
                files, total = files + 1, total + size
        return files, total
