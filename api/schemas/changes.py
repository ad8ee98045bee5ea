"""Schemas of changes: more seeds, acknowledged differences, priorities, tags and notes."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from studies.comparison import KIND_NAMES
from trainer.spec import Part, Priority, Seed

_TAG_PATTERN = r"^[A-Za-z0-9_.:-]{1,60}$"


def _ensure_tag(tag: str) -> str:
    if re.search(_TAG_PATTERN, tag) is None:
        raise ValueError(f"must have 1 to 60 letters, digits and _ . : -, but got {tag!r}")
    return tag


# Checked by a function, whose words people understand; documented by the pattern.
Tag = Annotated[
    str, AfterValidator(_ensure_tag), Field(json_schema_extra={"pattern": _TAG_PATTERN})
]


class Extension(Part):
    """More seeds for every variant and matrix point of a study."""

    seeds: Annotated[
        Annotated[int, Field(strict=True, ge=1, le=1000)]
        | Annotated[list[Seed], Field(min_length=1, max_length=1000)],
        Field(description="how many more, or which ones; existing seeds are kept"),
    ]


class Declaration(Part):
    """A difference between a study's variants that doesn't matter, and why."""

    kind: Annotated[
        str, Field(description="the kind of difference, as in the comparison's `confounds`")
    ]
    why: Annotated[str, Field(min_length=1, max_length=1000)]

    @field_validator("kind")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in KIND_NAMES:
            raise ValueError(f"kind must be one of {', '.join(KIND_NAMES)}, but got {value!r}")
        return value


class PriorityChange(Part):
    """A new priority for unfinished jobs."""

    priority: Priority


class AnnotationChange(Part):
    """Tags, note and archived flag of a job or study; omitted fields are unchanged."""

    tags: Annotated[
        list[Tag] | None,
        Field(max_length=50, description="the complete list: tags not in it are removed"),
    ] = None
    note: Annotated[str | None, Field(max_length=10_000)] = None
    archived: Annotated[
        bool | None,
        Field(strict=True, description="archived jobs and studies are left out of lists"),
    ] = None

    @field_validator("tags")
    @classmethod
    def _once(cls, value: list[str] | None) -> list[str] | None:
        return None if value is None else list(dict.fromkeys(value))
