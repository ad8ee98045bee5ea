"""What is remembered of a pass over the meta device is what PyTorch says."""

from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional

import trainer.surgery.tracing
from tests.support.toy_models import colour
from tests.support.trainer_specs import NORMS, make_spec
from trainer.models.build import build_bare_model, build_with_report
from trainer.surgery.remembered_shapes import RememberedShapes
from trainer.surgery.survey import survey_norms


def meta(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta")


def looks(tensor):
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


@pytest.mark.parametrize(
    "model", ["torchvision:resnet18", "timm:convnext_atto", "timm:vit_tiny_patch16_224"]
)
def test_a_survey_from_memory_equals_one_without(model, monkeypatch):
    info = colour(224)
    with torch.device("meta"):
        bare = build_bare_model(make_spec(model), info)
    first, again = survey_norms(bare, info.shape), survey_norms(bare, info.shape)
    monkeypatch.setattr(trainer.surgery.tracing, "on_meta", lambda: torch.device("meta"))
    assert first == again == survey_norms(bare, info.shape)


@pytest.mark.parametrize("norm", NORMS)
def test_outputs_and_gradients_from_memory_equal_those_without(norm):
    with torch.device("meta"):
        model, _ = build_with_report(make_spec("resnet20", norm), colour(32))
    passes = []
    for around in (nullcontext(), RememberedShapes(), RememberedShapes()):
        model.zero_grad()
        with around:
            output = model.train()(meta(2, 3, 32, 32))
            output.sum().backward()
        passes.append([looks(output), *(looks(one.grad) for one in model.parameters())])
    assert passes[0] == passes[1] == passes[2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: meta(2, 3) + 1, lambda: meta(2, 3, dtype=torch.int64) + 1),
        (lambda: meta(2, 3, dtype=torch.int64) * 1, lambda: meta(2, 3, dtype=torch.int64) * 1.0),
        (lambda: meta(2, 3) * 2, lambda: meta(3, 2).T * 2),
        (lambda: functional.relu(meta(2, 3)), lambda: functional.relu(meta(2, 4))),
        (lambda: meta(2, 3).sum(0), lambda: meta(2, 3).sum(1)),
        (lambda: meta(2, 3).sum(1), lambda: meta(2, 3).sum(1, keepdim=True)),
    ],
    ids=["type", "type of a number", "strides", "shape", "argument", "keyword"],
)
def test_what_differs_in_anything_is_not_taken_for_the_same(one, other):
    plain = looks(one()), looks(other())
    assert plain[0] != plain[1]
    with RememberedShapes():
        assert (looks(one()), looks(other())) == plain


def test_results_are_tensors_of_their_own():
    x = meta(2, 3)
    with RememberedShapes():
        assert (x * 2) is not (x * 2)


def test_tensors_with_values_and_operators_that_write_or_view_are_left_alone():
    x = torch.arange(6.0).view(2, 3)
    with RememberedShapes():
        doubled, again = x * 2, (x + 1) * 2
        row = x[0]
        row.add_(1)
        assert row.add_(1) is row
    assert doubled.tolist() == [[0, 2, 4], [6, 8, 10]]
    assert again.tolist() == [[2, 4, 6], [8, 10, 12]]
    assert x[0].tolist() == [2, 3, 4]
    for _ in range(2):
        y = meta(2, 3)
        with RememberedShapes():
            assert y.add_(1) is y
            assert y[0]._base is y
            assert y.t_().shape == (3, 2)
            assert y.resize_(4).shape == (4,)


def test_what_fails_fails_each_time():
    with RememberedShapes():
        for _ in range(2):
            with pytest.raises(RuntimeError):
                meta(2, 3) + meta(4, 5)
            with pytest.raises(RuntimeError):
                meta(3).add_(meta(2, 3))


def test_a_result_with_values_is_not_replaced_by_an_empty_one():
    with RememberedShapes():
        for _ in range(2):
            assert torch.zeros_like(meta(2, 3), device="cpu").tolist() == [[0, 0, 0], [0, 0, 0]]
            assert meta(2, 3).new_ones(2, device="cpu").tolist() == [1, 1]


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_a_sparse_tensor_stays_sparse():
    places = torch.empty((1, 2), dtype=torch.int64, device="meta")
    sparse = torch.sparse_coo_tensor(places, meta(2), (4,))
    with RememberedShapes():
        for _ in range(2):
            assert torch.zeros_like(sparse).layout is torch.sparse_coo
            assert torch.zeros_like(meta(4)).layout is torch.strided
