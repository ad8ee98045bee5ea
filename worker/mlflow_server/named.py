"""What a request to MLflow names, however it is written: experiments, runs and models."""

import json
import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

#: A run, or a logged model.
ID = re.compile(r"(?<![0-9a-z])(?:m-)?[0-9a-f]{32}(?![0-9a-z])")
FILES = re.compile(r"/(?:ajax-)?api/\d\.\d/mlflow-artifacts/(?:artifacts|presigned)/?")
#: What is left of these in a decoded place could mean another place to whoever decodes it again.
_AMBIGUOUS = re.compile(r"[%?#;\\]")
_EXPERIMENT = re.compile(r"[0-9]+")


class Named:
    """What a request names: experiments, and ids of runs and models."""

    def __init__(self) -> None:
        self.experiments: set[str] = set()
        self.ids: set[str] = set()

    @classmethod
    def of(cls, path: str, query: str, body: bytes) -> "Named | None":
        """None of a request that names nothing in particular, or that can't be understood, where that is not allowed."""
        named = cls()
        named.ids |= set(ID.findall(path))
        pairs = parse_qsl(query, keep_blank_values=True)
        for name, value in pairs:
            named._add(value, name)
        if (files := FILES.match(path)) is not None:
            places = [value for name, value in pairs if name == "path"]
            if path[files.end() :]:
                places.insert(0, path[files.end() :])
            # Of several, MLflow takes one; the list of all folders is one of all experiments.
            if len(places) != 1 or (place := _read_place(places[0])) is None:
                return None
            named.ids |= set(ID.findall(place))
            named.experiments.add(place.split("/")[0])
        if body:
            document = _read_json(body)
            named._add(document, "")
            if path == "/graphql" and not named._add_query(document):
                return None
        return named

    def _add(self, value: Any, name: str) -> None:
        match value:
            case dict():
                for key, inside in value.items():
                    self._add(inside, str(key))
            case list():
                for inside in value:
                    self._add(inside, name)
            case str() | int() | float():
                self.ids |= set(ID.findall(str(value)))
                if "experiment" in name.lower():
                    self.experiments.add(_as_number(str(value)))

    def _add_query(self, document: Any) -> bool:
        """The values in the text of a GraphQL query, and its variables, whatever their names; false if it is none."""
        from graphql import GraphQLError, Visitor, parse, visit

        if not isinstance(document, dict) or not isinstance(document.get("query"), str):
            return False
        values = list(scalars(document.get("variables")))

        class Collect(Visitor):
            def enter_string_value(self, node: Any, *_: Any) -> None:
                values.append(node.value)

            def enter_int_value(self, node: Any, *_: Any) -> None:
                values.append(node.value)

        try:
            visit(parse(document["query"]), Collect())
        except (GraphQLError, RecursionError):
            return False
        for value in values:
            self._add(value, "experiment")
        return True


def _read_place(text: str) -> str | None:
    """As MLflow reads it, which decodes it until nothing changes; None if it is not plainly in one experiment."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.uri import validate_path_is_safe

    read: Callable[[str], str] = validate_path_is_safe
    try:
        decoded = read(text)
    except (MlflowException, ValueError):
        return None
    place = posixpath.normpath(decoded)
    is_plain = _EXPERIMENT.fullmatch(place.split("/")[0]) and not _AMBIGUOUS.search(place)
    return place if is_plain else None


def _as_number(text: str) -> str:
    """As MLflow reads an experiment's id, which takes spaces, signs and digits of any script."""
    try:
        return str(int(text.removesuffix(".0")))
    except ValueError:
        return text


def scalars(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for inside in value.values():
                yield from scalars(inside)
        case list():
            for inside in value:
                yield from scalars(inside)
        case str() | int() | float():
            yield str(value)


def _read_json(body: bytes) -> Any:
    """As MLflow does: old clients encode it twice. What is none names nothing, to MLflow either."""
    try:
        document = json.loads(body)
        return json.loads(document) if isinstance(document, str) else document
    except (ValueError, RecursionError):
        return None
