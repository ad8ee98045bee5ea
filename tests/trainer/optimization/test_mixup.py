"""Mixup and cutmix: every mixed image is made of two of the batch, its label of theirs."""

import numpy
import pytest
import torch
from torch.nn import functional

from tests.support.trainings import make_spec
from trainer.optimization.mixup import build_mixer

LABELS = torch.arange(12) % 4


def mix(*kinds: str, seed: int = 0, images: torch.Tensor | None = None, alpha: float = 1.0):
    mixer = build_mixer(
        make_spec(regularization=[{"kind": kind, "alpha": alpha} for kind in kinds]), 4
    )
    torch.manual_seed(seed)
    images = torch.rand(12, 3, 8, 6) if images is None else images
    mixed, targets = mixer(images, LABELS)
    return images, mixed, targets


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_label_mass_is_one_and_belongs_to_two_classes_at_most(kind, seed):
    _, mixed, targets = mix(kind, seed=seed)
    assert mixed.shape == (12, 3, 8, 6)
    assert torch.allclose(targets.sum(1), torch.ones(12))
    assert ((targets > 0).sum(1) <= 2).all()
    assert (targets.gather(1, LABELS[:, None]) > 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_mixup_is_the_weighted_sum_of_two_images_by_the_weight_of_their_labels(seed):
    # An image that is its one-hot label everywhere must become its mixed label everywhere.
    one_hot = functional.one_hot(LABELS, 4).float()
    images = one_hot[:, :, None, None].expand(12, 4, 5, 5)
    _, mixed, targets = mix("mixup", seed=seed, images=images)
    assert torch.allclose(mixed, targets[:, :, None, None].expand_as(mixed))


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_pastes_a_box_whose_area_is_the_share_of_the_label(seed):
    one_hot = functional.one_hot(LABELS, 4).float()
    images = one_hot[:, :, None, None].expand(12, 4, 9, 7)
    _, mixed, targets = mix("cutmix", seed=seed, images=images)
    assert set(mixed.unique().tolist()) <= {0.0, 1.0}
    assert torch.allclose(mixed.mean((2, 3)), targets, atol=1e-6)
    changed = (mixed != images).any(1)[(mixed != images).any(1).any(2).any(1)]
    for pixels in changed:
        rows, columns = pixels.any(1).nonzero().flatten(), pixels.any(0).nonzero().flatten()
        box = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_each_example_is_the_partner_of_one(kind, seed):
    images = torch.rand(12, 3, 8, 6, dtype=torch.float64)
    _, mixed, targets = mix(kind, seed=seed, images=images)
    weights, pixels, results = targets.numpy(), images.numpy(), mixed.numpy()
    own = numpy.eye(4)[LABELS.numpy()]
    share = min(weights[range(12), LABELS.numpy()])
    partners = []
    for i in range(12):
        for j in range(12):
            if kind == "mixup":
                expected = share * pixels[i] + (1 - share) * pixels[j]
            else:
                changed = (results[i] != pixels[i]).any(0)
                expected = numpy.where(changed, pixels[j], pixels[i])
            labels = share * own[i] + (1 - share) * own[j]
            alike = numpy.allclose(weights[i], labels, rtol=0, atol=1e-12)
            if alike and numpy.allclose(results[i], expected, rtol=0, atol=1e-12):
                # An example that is its own partner is changed nowhere, as if by any other.
                partners.append(i if (results[i] == pixels[i]).all() else j)
                break
    assert sorted(partners) == list(range(12))


@pytest.mark.parametrize("seed", range(8))
def test_the_share_of_the_label_is_exactly_that_of_the_area(seed):
    one_hot = functional.one_hot(LABELS, 4).double()
    images = one_hot[:, :, None, None].expand(12, 4, 9, 7)
    _, mixed, targets = mix("cutmix", seed=seed, images=images)
    for image, label, target in zip(mixed, LABELS, targets, strict=True):
        pasted = 63 - int(image[label].sum())
        if pasted:
            assert target[label].item() == 1 - pasted / 63


def test_of_a_tiny_alpha_hardly_any_batch_is_mixed():
    one_hot = functional.one_hot(LABELS, 4).double()[:, :, None, None]
    shares = [
        float(
            mix("mixup", seed=seed, images=one_hot, alpha=1e-3)[2].gather(1, LABELS[:, None]).min()
        )
        for seed in range(200)
    ]
    # Beta(0.001, 0.001) lies inside with probability 0.0069: more than 10 of 200 in 1 of a million cases.
    assert sum(1e-3 < share < 1 - 1e-3 for share in shares) <= 10
    assert 0.3 < sum(share < 0.5 for share in shares) / 200 < 0.7


def test_the_weight_is_drawn_from_a_beta_distribution():
    shares = []
    for seed in range(400):
        one_hot = functional.one_hot(LABELS, 4).float()[:, :, None, None]
        _, _, targets = mix("mixup", seed=seed, images=one_hot, alpha=0.2)
        shares.append(float(targets.gather(1, LABELS[:, None]).min()))
    # Beta(0.2, 0.2) lies below 0.1 with probability 0.37 and is symmetric; 5 standard errors are 0.12.
    low = sum(share < 0.1 for share in shares) / len(shares)
    assert abs(low - 0.37) < 0.12


def test_with_both_each_batch_gets_one_of_them():
    images = functional.one_hot(LABELS, 4).float()[:, :, None, None].expand(12, 4, 8, 8)
    kinds = [
        set(mix("mixup", "cutmix", seed=seed, images=images)[1].unique().tolist()) <= {0.0, 1.0}
        for seed in range(100)
    ]
    # Binomial(100, 1/2) leaves [25, 75] in 4 of ten million cases.
    assert 25 <= sum(kinds) <= 75


def test_equal_seeds_mix_equally_and_nothing_is_written_into_the_batch():
    images = torch.rand(12, 3, 8, 6)
    kept = images.clone()
    first, second = mix("cutmix", images=images)[1], mix("cutmix", images=images)[1]
    assert torch.equal(first, second)
    assert torch.equal(images, kept)


def test_without_either_nothing_is_mixed():
    assert build_mixer(make_spec(), 4) is None


def test_a_pasted_box_has_the_area_of_the_share_and_its_middle_anywhere():
    # So large an alpha makes every share a half, and every box 28 of 40 pixels on a side.
    images = functional.one_hot(LABELS, 4).double()[:, :, None, None].expand(12, 4, 40, 40)
    pasted, side = [], int(40 * 0.5**0.5)
    for seed in range(400):
        targets = mix("cutmix", seed=seed, images=images, alpha=1e9)[2]
        pasted.append(1 - float(targets.gather(1, LABELS[:, None]).min()))
    assert max(pasted) == pytest.approx(side**2 / 1600)
    lengths = [min(40, middle + side // 2) - max(0, middle - side // 2) for middle in range(40)]
    mean, square = (sum(one**power for one in lengths) / 40 for power in (1, 2))
    deviation = (square**2 - mean**4) ** 0.5 / 1600 / 400**0.5
    # Five standard errors: one of a million cases.
    assert abs(sum(pasted) / 400 - mean**2 / 1600) < 5 * deviation
