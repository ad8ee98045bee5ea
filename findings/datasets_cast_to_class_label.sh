#!/bin/sh
# datasets 5.2.0: cast_column to a ClassLabel of two names takes the labels 7 and -5 as they are, and -1, without an
# error; from_dict with the same type and the same labels refuses 7. Nothing complains until somebody asks for a
# label's name, or a loss for its logit.
# Output seen: "cast_column: [0, 1, 7, -1, -5]", "from_dict: Class label 7 greater than configured num_classes 2"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "datasets==5.2.0" "pyarrow==25.0.1" "numpy==2.4.6" "pandas==3.1.1"
cd "$folder"
HF_HOME="$folder" "$folder/venv/bin/python" - <<'EOF'
import sys

import datasets

datasets.disable_progress_bars()
labels = [0, 1, 7, -1, -5]
kind = datasets.ClassLabel(names=["cat", "dog"])
cast = datasets.Dataset.from_dict({"label": labels}).cast_column("label", kind)
print("cast_column:", cast["label"][:])
try:
    datasets.Dataset.from_dict({"label": labels}, features=datasets.Features(label=kind))
    refused = False
except ValueError as error:
    refused = True
    print("from_dict:", error)
sys.exit(not (refused and cast["label"][:] == labels and cast.features["label"] == kind))
EOF
