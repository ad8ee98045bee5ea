#!/bin/sh
# importlib_metadata 9.1.0 on Python 3.11: once anything has imported it, the standard library's importlib.metadata no longer tells which files of
# a package are missing.
#
# Importing it takes the standard library's finder of packages out of service and puts its own there, so that
# importlib.metadata.distribution() returns its objects. Their `files` leave out what is recorded but absent; the standard
# library's of Python 3.11 list it. MLflow, OpenTelemetry and others import it, so two processes of one environment can disagree
# about a damaged package, and a digest over `files` depends on what a process has imported before. RECORD itself is the same.
# Output seen: "before: importlib.metadata, six.py listed: True", "after: importlib_metadata, six.py listed: False",
# "in RECORD: True"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "importlib_metadata==9.1.0" "six==1.17.0"
cat >"$folder/look.py" <<'EOF'
import sys
from importlib.metadata import distribution


def look(when: str) -> tuple[str, bool]:
    package = distribution("six")
    listed = any(str(file) == "six.py" for file in package.files or ())
    kind = type(package).__module__
    print(f"{when}: {kind}, six.py listed: {listed}")
    return kind, listed


distribution("six").locate_file("six.py").unlink()
before = look("before")

import importlib_metadata  # noqa: E402, F401 - that it is imported is enough

after = look("after")
recorded = "six.py," in (distribution("six").read_text("RECORD") or "")
print(f"in RECORD: {recorded}")
expected = (("importlib.metadata", True), ("importlib_metadata", False), True)
sys.exit((before, after, recorded) != expected)
EOF
"$folder/venv/bin/python" "$folder/look.py"
