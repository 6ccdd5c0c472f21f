"""Moments add up, samples are even, and a statistics file is read back or refused."""

import itertools
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.team import Team
from plaudit.rewards.feature_statistics import FeatureSet, Moments, features_of, read_features


class Corner:
    """Sees the first three values of the top row of red; no more."""

    name, dimensions, fingerprint = "corner", 3, "0123456789abcdef"

    def __call__(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, :3].float()


def pictures(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def same(first: Moments, second: Moments, *, rel: float = 1e-12) -> bool:
    return first.count == second.count and all(
        torch.allclose(a, b, rtol=rel, atol=rel)
        for a, b in ((first.mean, second.mean), (first.scatter, second.scatter))
    )


def test_moments_are_those_that_numpy_finds() -> None:
    rows = pictures(20).flatten(1)[:, :5].double()
    found = Moments.of(rows)
    assert torch.allclose(found.mean, rows.mean(dim=0))
    assert torch.allclose(found.covariance, torch.cov(rows.T))
    assert found.covariance.dtype == torch.float64


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 20), max_size=6))
def test_parts_add_up_to_the_whole(cuts) -> None:
    rows = pictures(20).flatten(1)[:, :5].double()
    bounds = [0, *sorted(cuts), 20]
    parts = [Moments.of(rows[start:stop]) for start, stop in itertools.pairwise(bounds)]
    added = Moments.none(5)
    for part in parts:
        added = added + part
    assert same(added, Moments.of(rows))


def test_adding_keeps_the_digits_of_a_small_spread_far_from_zero() -> None:
    rows = 1e8 + torch.rand(1000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    added = Moments.none(2)
    for part in rows.split(7):
        added = added + Moments.of(part)
    assert torch.allclose(added.covariance, torch.cov(rows.T), rtol=1e-6)
    # The textbook's sums of squares lose everything here.
    assert not torch.allclose(rows.T @ rows / 1000 - torch.outer(rows.mean(0), rows.mean(0)), torch.cov(rows.T), rtol=1)


def test_nothing_adds_nothing() -> None:
    rows = pictures(5).flatten(1).double()
    assert same(Moments.of(rows) + Moments.none(48), Moments.of(rows))
    assert same(Moments.of(rows[:0]) + Moments.of(rows), Moments.of(rows))
    assert (Moments.none(4) + Moments.none(4)).mean.tolist() == [0.0] * 4


def test_moments_of_two_nets_do_not_add_up() -> None:
    with pytest.raises(BadConfig, match="3 and 4 dimensions"):
        Moments.none(3) + Moments.none(4)


def test_a_team_of_one_has_its_own_moments() -> None:
    found = Moments.of(pictures(5).flatten(1))
    assert same(found.over(Team()), found, rel=0)


SCRIPT = """
import sys
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from plaudit.core.team import Team
from plaudit.rewards.feature_statistics import Moments

folder, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
rows = torch.arange(30, dtype=torch.float64).view(10, 3).sin()
found = Moments.of(rows[:4] if rank == 0 else rows[4:]).over(Team(rank=rank, size=2))
save_file({"count": torch.tensor(found.count), "mean": found.mean, "scatter": found.scatter}, f"{folder}/{rank}")
dist.destroy_process_group()
"""


def test_two_processes_have_the_moments_of_all(tmp_path) -> None:
    launch = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    running = [subprocess.Popen([*launch, str(rank)], stderr=subprocess.PIPE, text=True) for rank in (0, 1)]
    errors = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    found = [load_file(tmp_path / str(rank)) for rank in (0, 1)]
    whole = Moments.of(torch.arange(30, dtype=torch.float64).view(10, 3).sin())
    assert found[0]["count"] == 10
    assert torch.allclose(found[0]["scatter"], whole.scatter)
    assert torch.allclose(found[0]["mean"], whole.mean)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_batches_change_nothing() -> None:
    images, groups = pictures(50), [index % 7 for index in range(50)]
    sets = [features_of(images.split(size), Corner(), groups=groups, sample=20) for size in (1, 8, 50)]
    for other in sets[1:]:
        assert same(sets[0].moments, other.moments)
        assert torch.equal(sets[0].sample, other.sample)
        assert torch.equal(sets[0].groups, other.groups)
    assert sets[0].moments.count == 50


def test_few_pictures_are_all_sampled_in_their_order() -> None:
    images = pictures(9)
    found = features_of(images.split(4), Corner(), sample=9)
    assert torch.equal(found.sample, Corner()(images))
    assert found.groups is None


def test_the_sample_keeps_each_picture_with_its_group() -> None:
    images = torch.zeros(40, 3, 4, 4)
    images[:, 0, 0, 0] = torch.arange(40) / 40
    found = features_of(images.split(6), Corner(), groups=[f"class {index // 10}" for index in range(40)], sample=15)
    assert len(found.sample) == 15
    assert found.groups.tolist() == [int(value * 40 + 0.5) // 10 for value in found.sample[:, 0].tolist()]


def test_the_sample_is_even_over_early_and_late_pictures() -> None:
    images = torch.zeros(4000, 3, 1, 3)
    images[:, 0, 0, 0] = torch.arange(4000) / 4000
    found = features_of(images.split(64), Corner(), sample=1000)
    quarters = Counter((found.sample[:, 0] * 4).int().tolist())
    # 250 each, give or take 4.6 standard deviations of 13.7.
    assert all(abs(quarters[quarter] - 250) < 63 for quarter in range(4))
    assert len(found.sample.unique(dim=0)) == 1000


def test_what_is_wrong_with_pictures_or_groups_is_said() -> None:
    images = pictures(8)
    images[5, 0, 0, 1] = torch.nan
    with pytest.raises(BadConfig, match="1 of the images, the first of them number 5"):
        features_of(images.split(3), Corner())
    with pytest.raises(BadConfig, match="3 groups for 8 images"):
        features_of([pictures(8)], Corner(), groups=[1, 2, 3])
    with pytest.raises(BadConfig, match="at least 1 image"):
        features_of([pictures(8)], Corner(), sample=0)

    class Broken(Corner):
        dimensions = 4

    with pytest.raises(BadConfig, match=r"\(8, 3\) of 8 images, wanted \(8, 4\)"):
        features_of([pictures(8)], Broken())


@pytest.fixture
def seen() -> FeatureSet:
    return features_of(pictures(12).split(5), Corner(), images="twelve pictures", groups=[0, 1] * 6, sample=10)


def test_a_statistics_file_is_read_back_exactly(tmp_path, seen) -> None:
    seen.save(tmp_path / "real.safetensors")
    found = read_features(tmp_path / "real.safetensors", Corner())
    assert same(found.moments, seen.moments, rel=0)
    assert found.moments.mean.dtype == torch.float64
    assert torch.equal(found.sample, seen.sample)
    assert torch.equal(found.groups, seen.groups)
    assert (found.net, found.fingerprint, found.images) == ("corner", "0123456789abcdef", "twelve pictures")
    replace(seen, groups=None).save(tmp_path / "real.safetensors")
    assert read_features(tmp_path / "real.safetensors").groups is None


def test_a_file_of_another_net_is_refused_in_one_sentence(tmp_path, seen) -> None:
    replace(seen, fingerprint="another").save(tmp_path / "real.safetensors")
    with pytest.raises(BadConfig) as refused:
        read_features(tmp_path / "real.safetensors", Corner())
    for word in ("twelve pictures", "corner (another)", "0123456789abcdef", "make the reference anew"):
        assert word in str(refused.value)
    assert "\n" not in str(refused.value)
    assert read_features(tmp_path / "real.safetensors").fingerprint == "another"


def test_what_is_no_statistics_file_is_refused(tmp_path, seen) -> None:
    with pytest.raises(BadConfig, match="there is no statistics file"):
        read_features(tmp_path / "nothing")
    other = tmp_path / "other.safetensors"
    save_file({"mean": torch.zeros(3)}, other)
    with pytest.raises(BadConfig, match="no feature statistics"):
        read_features(other)
    seen.save(other)
    other.write_bytes(other.read_bytes()[:-40])
    with pytest.raises(BadConfig, match="damaged"):
        read_features(other)
