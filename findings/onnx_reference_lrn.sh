#!/bin/sh
# onnx 1.23.2, onnxruntime 1.32.0 beside it: onnx's reference evaluator computes local response norm right for a tensor of
# 5×5×5×5 and wrong, without an error, for batches that have fewer samples than channels: it goes through as many
# channels as there are samples, and leaves the others as they were. Whoever checks an exported AlexNet against "the
# reference" finds fault with the runtime, which follows the formula.
# Output seen (largest distance from the formula):
# "(5, 5, 5, 5): reference 1.9e-07, onnxruntime 1.7e-07", "(2, 8, 4, 4): reference 1.7, onnxruntime 1.4e-07"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile "onnxruntime==1.32.0" "onnx==1.23.2" "numpy==2.4.6"
cat >"$folder/compare.py" <<'EOF'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def measure(shape: tuple[int, ...]) -> tuple[float, float]:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    node = helper.make_node("LRN", ["x"], ["y"], size=3, alpha=1.0, beta=0.5, bias=1.0)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph([node], "norm", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    # Each channel with its two neighbours; beyond the first and the last there is nothing.
    squares = np.pad(x.astype(float) ** 2, ((0, 0), (1, 1), (0, 0), (0, 0)))
    right = x / np.sqrt(1 + (squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]) / 3)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = ReferenceEvaluator(model).run(None, {"x": x})[0], session.run(None, {"x": x})[0]
    reference, runtime = (float(abs(y - right).max()) for y in outputs)
    print(f"{shape}: reference {reference:.2g}, onnxruntime {runtime:.2g}")
    return reference, runtime


cube, usual = measure((5, 5, 5, 5)), measure((2, 8, 4, 4))
sys.exit(not (usual[0] > 0.1 and max(*cube, usual[1]) < 1e-5))
EOF
"$folder/venv/bin/python" "$folder/compare.py"
