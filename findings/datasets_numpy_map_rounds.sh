#!/bin/sh
# datasets 5.2.0: a map that changes nothing rounds float64 columns to float32, under the type float64. With
# with_format("numpy") a batch of a float64 column is float32, a single row is float64, and integers are int64 in both;
# what a batched map returns is written back as float64, so the column's type doesn't tell what was lost: the values do.
# Output seen: "row float64, batch float32", "column before [0.1, 16777217.0] float64",
# "column after  [0.10000000149011612, 16777216.0] float64"
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
table = datasets.Dataset.from_dict({"seconds": [0.1, 16_777_217.0]})
arrays = table.with_format("numpy")
row, batch = arrays[0]["seconds"].dtype, arrays[:]["seconds"].dtype
print(f"row {row}, batch {batch}")
mapped = arrays.map(lambda columns: columns, batched=True).with_format(None)
before, after = (one["seconds"][:] for one in (table, mapped))
print("column before", before, table.features["seconds"].dtype)
print("column after ", after, mapped.features["seconds"].dtype)
same_type = table.features == mapped.features
sys.exit(not (same_type and row == "float64" and batch == "float32" and after == [0.10000000149011612, 16_777_216.0]))
EOF
