#!/bin/sh
# datasets 5.2.0: class_encode_column on a column of integer labels 0 … 11 renumbers them. The names of the classes are
# the numbers as text, sorted as text, so 10 and 11 come before 2: label 2 becomes class 4, and class 2 is label 10.
# Nothing is said of it, the type before and after is an integer, and with ten classes or fewer all labels stay what
# they were. Whoever compares predictions for the encoded column with labels of the original one measures nonsense.
# Output seen: "before [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]", "after [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3]",
# "ten classes stay as they are: True"
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


def encode(labels: list[int]) -> list[int]:
    table = datasets.Dataset.from_dict({"label": labels})
    return table.class_encode_column("label")["label"][:]


twelve, ten = list(range(12)), list(range(10))
encoded = encode(twelve)
unchanged = encode(ten) == ten
print("before", twelve)
print("after ", encoded)
print("ten classes stay as they are:", unchanged)
sys.exit(not (unchanged and encoded == [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3]))
EOF
