"""A digest of what the trainer's code does, by which two trainings by different code are told apart."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from runtime.files import digest_of_parts

_TRAINER = Path(__file__).parents[1]

#: Rooms and modules that change no result. Checks and problems refuse a spec or explain it, and no module that
#: trains may import checks (import-linter); `conversion` reads finished checkpoints; `ranks` starts the processes of a
#: training, `__main__` only calls what the worker calls, too; `code_versions` holds the digest itself.
_WITHOUT_EFFECT = (
    "checks", "problems", "ranks", "__main__.py", "code_versions.py", "conversion.py",
)  # fmt: skip


@cache
def code_digest(folder: Path = _TRAINER) -> str:
    """Of the statements in all modules below the folder that can change a result: blake2b, 16 bytes, hex.

    What a statement does counts, not where or how it is written: file names, the order of statements within a
    module, formatting, comments, docstrings, descriptions of fields, and the texts of errors change nothing.
    Imports don't either, because a move changes them; the versions of libraries are recorded beside this digest.
    A renamed function or variable does change it. `trainer.code_versions` says which digests give equal results.
    """
    return digest_of_parts(sorted(dump.encode() for dump in _dump_statements(folder)))


def _dump_statements(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        if path.relative_to(folder).parts[0] not in _WITHOUT_EFFECT:
            for statement in ast.parse(path.read_bytes()).body:
                if dump := _dump(statement):
                    yield dump


def _dump(node: ast.AST) -> str:
    """The syntax tree as text, "" for what has no effect."""
    match node:
        case ast.expr_context():  # load or store: clear from where it stands
            return ""
        case ast.Import() | ast.ImportFrom() | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return ""
        case ast.Expr(value=ast.Constant(value=str())):  # a docstring
            return ""
        case ast.Assign(targets=[ast.Name(id="__all__" | "pitfalls")]):
            return ""
        case ast.AnnAssign(target=ast.Name(id="pitfalls")):
            return ""
        case ast.keyword(arg="description"):
            return ""
        case ast.Raise(exc=ast.Call(func=error)):
            # That it ends a training matters, but not in which words.
            return f"Raise({_dump(error)})"
        case _:
            fields = ((name, _dump_value(value)) for name, value in ast.iter_fields(node))
            return f"{type(node).__name__}({','.join(f'{name}={value}' for name, value in fields if value)})"


def _dump_value(value: object) -> str:
    """ "" for what is absent: unlike `ast.dump`, so that a field which only later versions of Python have
    changes no digest."""
    match value:
        case ast.AST():
            return _dump(value)
        case list():
            # None keeps its place: in `kw_defaults` it says which argument has no default.
            items = ("None" if item is None else _dump_value(item) for item in value)
            return ";".join(item for item in items if item)
        case None:
            return ""
        case _:
            return repr(value)
