#!/bin/sh
# onnxruntime 1.32.0, CPU: batch normalization in training mode is wrong for parameters as they are when training begins.
#
# Scale and variance begin as ones, bias and mean as zeros. Graph optimization keeps one copy of initializers that are equal,
# and the kernel writes the new running statistics over the mean and the variance that it read: over bias and scale, then,
# before it applies them. The output has the running mean for its mean and the running variance for its standard deviation
# in place of 0 and 1. Without the optimization it is right. Where mean and variance are inputs, it is the arrays of the
# caller that are overwritten. The model passes onnx.checker, and onnx's own reference evaluator does none of this.
# Output seen: "reference: mean 0.00, standard deviation 1.00", "optimized: mean 0.19, standard deviation 1.75",
# "not optimized: mean 0.00, standard deviation 1.00", "the caller's running mean: before 0.00, after 0.19"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "onnxruntime==1.32.0" "onnx==1.23.2" "numpy==2.4.6"
cat >"$folder/train.py" <<'EOF'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

SHAPE = (64, 1, 16)
STATE = {name: np.full(1, value, np.float32) for name, value in (("w", 1), ("b", 0), ("mean", 0), ("var", 1))}
x = (np.random.default_rng(0).standard_normal(SHAPE) * 3 + 2).astype(np.float32)


def build(inputs: list[str]) -> onnx.ModelProto:
    node = helper.make_node(
        "BatchNormalization", ["x", *STATE], ["y", "new_mean", "new_var"], training_mode=1, momentum=0.9
    )
    floats = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "xy"}
    floats |= {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in STATE}
    constants = [numpy_helper.from_array(STATE[name], name) for name in STATE if name not in inputs]
    graph = helper.make_graph([node], "norm", [floats[name] for name in ["x", *inputs]], [floats["y"]], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto, feed: dict[str, np.ndarray], level: str) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0]


fixed = build([])
outputs = {
    "reference": ReferenceEvaluator(fixed).run(None, {"x": x})[0],
    "optimized": run(fixed, {"x": x}, "ORT_ENABLE_ALL"),
    "not optimized": run(fixed, {"x": x}, "ORT_DISABLE_ALL"),
}
for name, y in outputs.items():
    print(f"{name}: mean {abs(y.mean()):.2f}, standard deviation {y.std():.2f}")
feed = {"x": x, **{name: STATE[name].copy() for name in ("mean", "var")}}
run(build(["mean", "var"]), feed, "ORT_DISABLE_ALL")
print(f"the caller's running mean: before {STATE['mean'][0]:.2f}, after {feed['mean'][0]:.2f}")
is_right = {name: bool(np.allclose(y, outputs["reference"], atol=1e-4)) for name, y in outputs.items()}
sys.exit(not (is_right["not optimized"] and not is_right["optimized"] and feed["mean"][0] > 0.1))
EOF
"$folder/venv/bin/python" "$folder/train.py"
