import pytest
import torch

from plaudit.suites.diversity import in_group_distance


def grey(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 64, 64)


def test_known_distances() -> None:
    images = grey(0.0, 1.0, 0.25, 0.25, 0.0, 0.5)
    assert in_group_distance(images, 2).tolist() == pytest.approx([1.0, 0.0, 0.5], abs=1e-5)
    # Three pairs: 1, 0.25 and 0.75 apart.
    assert in_group_distance(grey(0.0, 1.0, 0.25), 3).tolist() == pytest.approx([2 / 3], abs=1e-5)


def test_the_size_of_the_pictures_does_not_matter() -> None:
    small = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    large = small.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.allclose(in_group_distance(small, 2), in_group_distance(large, 2), atol=1e-5)


def test_a_single_picture_has_no_distance() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        in_group_distance(grey(0.0, 1.0), 1)
