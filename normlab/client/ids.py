"""References to jobs and studies: `j12` and `s3`."""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from normlab.errors import NormlabError

#: Of all paths of the API.
PREFIX = "/api/v1"

Kind: TypeAlias = Literal["job", "study"]


@dataclass(frozen=True, slots=True)
class Reference:
    """One job or one study."""

    kind: Kind
    id: int

    @classmethod
    def parse(cls, text: "Reference | str | int") -> "Reference":
        """`j12`, `job/12` and `12` are a job; `s3` and `study/3` are a study."""
        if isinstance(text, Reference):
            return text
        found = re.fullmatch(r"(?:(j|job/|jobs/|s|study/|studies/))?(\d{1,18})", str(text).strip())
        if found is None:
            raise NormlabError(f"{text!r} is neither a job (j12) nor a study (s3)")
        return cls("study" if (found[1] or "j").startswith("s") else "job", int(found[2]))

    @classmethod
    def study(cls, text: "Reference | str | int") -> "Reference":
        """Where only a study makes sense, a bare number is one."""
        if isinstance(text, int) or (isinstance(text, str) and text.strip().isdecimal()):
            text = f"s{str(text).strip()}"
        found = cls.parse(text)
        if found.kind != "study":
            raise NormlabError(f"{found} is a job, but this takes a study (s3)")
        return found

    @property
    def path(self) -> str:
        return f"studies/{self.id}" if self.kind == "study" else f"jobs/{self.id}"

    def __str__(self) -> str:
        return f"{self.kind[0]}{self.id}"
