"""Adds the digest of today's trainer to `trainer/code_versions.py`.

python -m tests.support.pin_code same   results are equal, digit by digit, to those of the code before
python -m tests.support.pin_code new    some result has changed
"""

import argparse
from pathlib import Path

import trainer.code_versions
from trainer.code_versions import GENERATIONS
from trainer.training.code_digest import code_digest


def main() -> None:
    parser = argparse.ArgumentParser(description="Record the digest of today's trainer.")
    parser.add_argument("results", choices=("same", "new"), help="as before, or changed")
    is_new = parser.parse_args().results == "new"
    digest, generation = code_digest(), max(GENERATIONS.values()) + is_new
    path = Path(trainer.code_versions.__file__)
    path.write_text(with_entry(path.read_text(), digest, generation))
    print(f"{digest}: generation {generation}")


def with_entry(module: str, digest: str, generation: int) -> str:
    """The module's text with one more entry at the end of its table; an earlier one of the digest goes."""
    head, end, tail = module.partition("\n}\n")
    assert end, "the table of code versions has no end"
    lines = [line for line in head.split("\n") if not line.startswith(f'    "{digest}"')]
    return "\n".join([*lines, f'    "{digest}": {generation},']) + end + tail


if __name__ == "__main__":
    main()
