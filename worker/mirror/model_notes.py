"""What a logged model says about itself: what goes in, what comes out, how it is loaded."""

from typing import assert_never

from trainer.spec import Classification, DatasetInfo, JobSpec, Reconstruction, Regression


def input_formula(info: DatasetInfo) -> str:
    """From data as they are to what the model takes, per channel or feature."""
    match info.content:
        case "images":
            return "(pixels / 255 - mean) / std"
        case "vectors":
            return "(features - mean) / std"
        case _:
            assert_never(info.content)


def output_meaning(spec: JobSpec) -> str:
    match spec.task:
        case Classification():
            return "logits of the classes: softmax gives probabilities"
        case Regression():
            return "the predicted value"
        case Reconstruction(loss="bce"):
            return "logits of the image's pixels: sigmoid gives pixels in [0, 1]"
        case Reconstruction():
            return "the image's pixels in [0, 1]"
        case _:
            assert_never(spec.task)


def model_note(spec: JobSpec, info: DatasetInfo, model_id: str) -> str:
    """In Markdown. A program that torch has exported is fixed in evaluation mode."""
    shape = ", ".join(str(size) for size in info.shape)
    return f"""Task: {spec.task.kind}. Input: float32 of shape (N, {shape}), `{input_formula(info)}` with the
mean and std of the tags. Output: {output_meaning(spec)}.

```python
model = mlflow.pytorch.load_model("models:/{model_id}")
with torch.no_grad():
    outputs = model(inputs)
```

The model is exported (`torch.export`, pt2) in evaluation mode and on the CPU. Call it as it is: `.eval()` and `.train()`
raise NotImplementedError. To train on, take the job's checkpoint: `normlab download j… --weights`.
"""
