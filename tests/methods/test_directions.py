"""Where latents should go: lengths, conflicts, each reward's gradient, and the frozen model's own view."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.toy_mixture import ANY, MixtureDenoising, log_densities
from methods.toy_policy import Wishes
from toys import Colour, Rounded, Texture

from plaudit.core.errors import BadConfig
from plaudit.methods.directions import (
    check_combination,
    combine,
    cosines,
    guidance_direction,
    lengths,
    random_orders,
    reward_gradients,
    unit,
    without_conflicts,
)
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.normalised import Normalised

PROMPTS = ["a", "bb", "ccc"]


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_length_is_each_images_own():
    direction = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]]])
    assert lengths(direction).tolist() == [5.0, 0.0, 1.0]
    expected = torch.tensor([[[0.6, 0.0], [0.0, 0.8]], [[0.0, 0.0], [0.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]]])
    torch.testing.assert_close(unit(direction), expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
def test_a_direction_without_a_length_is_none_and_leaves_the_others_alone(bad):
    """1e30 squared is beyond float32."""
    direction = torch.tensor([[1.0, bad], [0.0, 2.0]])
    assert unit(direction).tolist() == [[0.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(("length", "found"), [(1e-9, 1.0), (1e-11, 1.0), (1e-13, 0.0), (1e15, 1.0)])
def test_what_is_as_good_as_zero_is_zero(length, found):
    assert unit(torch.tensor([[length, 0.0]]))[0, 0].item() == pytest.approx(found)


def test_a_cosine_by_hand():
    one = torch.tensor([[1.0, 0.0], [2.0, 2.0], [1.0, 1.0], [0.0, 0.0]])
    other = torch.tensor([[0.0, 3.0], [5.0, 0.0], [-2.0, -2.0], [1.0, 0.0]])
    assert cosines(one, other).tolist() == pytest.approx([0.0, math.sqrt(0.5), -1.0, 0.0])


# Conflicts.


def test_pcgrad_by_hand():
    """Two images: in the first the directions conflict, in the second they do not."""
    one = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    other = torch.tensor([[-1.0, 1.0], [1.0, 1.0]])
    found = without_conflicts([one, other], torch.tensor([[0, 1], [1, 0]]))
    # (1, 0) without its part along (-1, 1), and (-1, 1) without its part along (1, 0), not along what that became.
    assert found[0].tolist() == [[0.5, 0.5], [1.0, 0.0]]
    assert found[1].tolist() == [[0.0, 1.0], [1.0, 1.0]]


@given(st.lists(st.floats(-3, 3), min_size=8, max_size=8), st.booleans())
@settings(max_examples=100, deadline=None)
def test_of_two_rewards_neither_ends_up_against_the_other(values, swapped):
    one, other = torch.tensor(values).view(2, 1, 4)
    order = torch.tensor([[1, 0] if swapped else [0, 1]])
    for moved, against in zip(without_conflicts([one, other], order), (other, one), strict=True):
        assert (moved * against).sum() >= -1e-4
    if (one * other).sum() >= 0:
        assert torch.equal(torch.stack(without_conflicts([one, other], order)), torch.stack([one, other]))


def pcgrad(directions, order):
    """Yu et al. 2020, algorithm 1, for one image, with the loops as they are printed."""
    found = []
    for i, own in enumerate(directions):
        left = own.clone()
        for j in order:
            inner = float(left @ directions[j])
            if j != i and inner < 0:
                left -= inner / float(directions[j] @ directions[j]) * directions[j]
        found.append(left)
    return found


def test_pcgrad_of_three_is_the_published_loop_for_every_image_and_order():
    orders = torch.tensor(list(itertools.permutations(range(3))))
    directions = [numbers(len(orders), 5, seed=seed) for seed in range(3)]
    directions = [direction - 0.4 * sum(directions) for direction in directions]  # more conflicts
    found = without_conflicts([direction.view(-1, 1, 5) for direction in directions], orders)
    changed = 0
    for row, order in enumerate(orders.tolist()):
        expected = pcgrad([direction[row] for direction in directions], order)
        for place in range(3):
            torch.testing.assert_close(found[place][row, 0], expected[place], rtol=1e-5, atol=1e-6)
            changed += not torch.equal(expected[place], directions[place][row])
    assert changed > 6


def test_a_direction_of_zero_conflicts_with_none():
    one, zero = torch.tensor([[1.0, -2.0]]), torch.zeros(1, 2)
    found = without_conflicts([one, zero], torch.tensor([[0, 1]]))
    assert found[0].tolist() == [[1.0, -2.0]]
    assert found[1].tolist() == [[0.0, 0.0]]


def test_orders_are_each_images_own():
    keys = [(0, row) for row in range(600)]
    orders = random_orders(keys, 3)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(3).expand(600, 3))
    counts = torch.unique(orders, dim=0, return_counts=True)[1]
    assert len(counts) == 6
    assert counts.min() > 60
    assert torch.equal(random_orders(keys[7:9], 3), orders[7:9])


# The sum.


def two_directions():
    return {"one": torch.tensor([[3.0, 4.0], [0.0, 0.0]]), "other": torch.tensor([[0.0, 10.0], [0.0, -1.0]])}


def test_the_sum_by_hand():
    found = combine(two_directions(), {"other": 0.75, "one": 0.25}, normalise="latents")
    torch.testing.assert_close(found, torch.tensor([[0.15, 0.2 + 0.75], [0.0, -0.75]]))
    found = combine(two_directions(), {"other": 0.75, "one": 0.25}, normalise="none")
    torch.testing.assert_close(found, torch.tensor([[0.75, 1.0 + 7.5], [0.0, -0.75]]))


def test_conflicts_are_removed_between_directions_of_equal_length():
    """A long gradient does not take more of a short one than a short one would."""
    for factor in (1.0, 1000.0):
        directions = {"one": factor * torch.tensor([[1.0, 0.0]]), "other": torch.tensor([[-1.0, 1.0]])}
        found = combine(directions, {"one": 0.5, "other": 0.5}, normalise="latents", orders=torch.tensor([[0, 1]]))
        torch.testing.assert_close(found, 0.5 * torch.tensor([[0.5, 0.5 + math.sqrt(0.5)]]))


def test_one_direction_alone_needs_no_order():
    found = combine({"one": torch.tensor([[0.0, 2.0]])}, {"one": 1.0}, normalise="latents", orders=torch.zeros(1, 1))
    assert found.tolist() == [[0.0, 1.0]]


def test_a_way_to_combine_that_is_not_known_is_refused():
    check_combination("none", "pcgrad")
    with pytest.raises(BadConfig, match="normalise is latents, pixels or none, got 'image'"):
        check_combination("image", "sum")
    with pytest.raises(BadConfig, match="conflicts is sum or pcgrad, got 'mgda'"):
        check_combination("latents", "mgda")


# Each reward's gradient.


def decode(latents):
    """Images (B, 3, 2, 2) that bend, and mix what latents (B, 12) say."""
    return torch.sigmoid(latents @ (numbers(12, 12, seed=9) / 3).to(latents)).view(-1, 3, 2, 2)


class Times:
    """A reward, so many times."""

    differentiable = True

    def __init__(self, reward, factor):
        self.reward, self.factor = reward, factor

    def __call__(self, images, prompts):
        return self.factor * self.reward(images, prompts)


class Named(Colour):
    """Remembers the prompts that it was asked about."""

    def __call__(self, images, prompts):
        self.asked = list(prompts)
        return super().__call__(images, prompts) * torch.tensor([len(prompt) for prompt in prompts])


def gradients_of(parts, *, where="latents", latents=None):
    return reward_gradients(WeightedSum(parts), numbers(3, 12) if latents is None else latents, PROMPTS, decode,
                            where=where)  # fmt: skip


def true_gradient(reward, latents):
    leaf = latents.clone().requires_grad_()
    return torch.autograd.grad(reward(decode(leaf), PROMPTS).sum(), leaf)[0]


def test_every_reward_has_its_own_gradient_and_raw_scores():
    parts = {"colour": (2.0, Named()), "texture": (0.5, Texture())}
    found, scores, images = gradients_of(parts)
    assert list(found) == list(scores) == ["colour", "texture"]
    latents = numbers(3, 12)
    assert torch.equal(images, decode(latents))
    assert not images.requires_grad
    for name, (_, reward) in parts.items():
        torch.testing.assert_close(found[name], true_gradient(reward, latents))
        torch.testing.assert_close(scores[name], reward(images, PROMPTS))
        assert not scores[name].requires_grad
    assert parts["colour"][1].asked == PROMPTS


def test_a_negative_weight_turns_the_gradient_and_its_size_is_left_to_the_sum():
    plain, *_ = gradients_of({"colour": (1.0, Colour())})
    for weight in (-1.0, -7.0, 7.0):
        found, scores, _ = gradients_of({"colour": (weight, Colour())})
        torch.testing.assert_close(found["colour"], math.copysign(1.0, weight) * plain["colour"])
        torch.testing.assert_close(scores["colour"], Colour()(decode(numbers(3, 12)), PROMPTS))


def test_a_reward_of_weight_zero_is_scored_and_not_followed():
    found, scores, _ = gradients_of({"seen": (0.0, Rounded()), "colour": (1.0, Colour())})
    assert list(found) == ["colour"]
    assert scores["seen"].shape == (3,)
    found, scores, _ = gradients_of({"seen": (0.0, Rounded())}, where="pixels")
    assert found == {}
    assert list(scores) == ["seen"]


def test_latents_in_training_are_not_differentiated_here():
    latents = numbers(3, 12).requires_grad_()
    found, *_ = gradients_of({"colour": (1.0, Colour())}, latents=2 * latents)
    assert not found["colour"].requires_grad
    assert latents.grad is None


def test_under_no_grad_the_gradients_are_there_all_the_same():
    with torch.no_grad():
        found, *_ = gradients_of({"colour": (1.0, Colour())})
    torch.testing.assert_close(found["colour"], true_gradient(Colour(), numbers(3, 12)))


@pytest.mark.parametrize("where", ["latents", "pixels"])
def test_the_scale_of_a_reward_does_not_matter_where_gradients_have_a_length(where):
    found = []
    for factor in (1.0, 1000.0, 1e-3):
        parts = {"colour": (1.0, Times(Colour(), factor)), "texture": (1.0, Texture())}
        directions, *_ = gradients_of(parts, where=where)
        found.append(combine(directions, dict.fromkeys(directions, 0.5), normalise=where))
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[2], found[0], rtol=1e-5, atol=1e-6)


def test_and_it_does_where_they_have_none():
    found = []
    for factor in (1.0, 1000.0):
        parts = {"colour": (1.0, Times(Colour(), factor)), "texture": (1.0, Texture())}
        directions, *_ = gradients_of(parts, where="none")
        found.append(combine(directions, {"colour": 0.5, "texture": 0.5}, normalise="none"))
    assert lengths(found[1]).min() > 100 * lengths(found[0]).max()


def test_in_the_pixels_lengths_are_given_before_the_decoder():
    """The decoder's slope is in neither reward's share: weights count where they are seen."""
    parts = {"colour": (3.0, Colour()), "texture": (-1.0, Times(Texture(), 50.0))}
    found, *_ = gradients_of(parts, where="pixels")
    assert list(found) == ["rewards"]
    latents = numbers(3, 12).requires_grad_()
    images = decode(latents)
    pixels = images.detach().requires_grad_()
    slopes = [torch.autograd.grad(reward(pixels, PROMPTS).sum(), pixels)[0] for _, reward in parts.values()]
    joined = 0.75 * unit(slopes[0]) - 0.25 * unit(slopes[1])
    torch.testing.assert_close(found["rewards"], torch.autograd.grad(images, latents, joined)[0])


@pytest.mark.parametrize("where", ["latents", "pixels"])
def test_a_rewards_own_units_do_not_change_its_share(where):
    """A normalised reward is divided by its spread, which a length of one takes out again."""
    plain = {"colour": (1.0, Colour()), "texture": (1.0, Texture())}
    scaled = {"colour": (1.0, Normalised(Colour(), scale=(0.0, 40.0))), "texture": (1.0, Texture())}
    found = []
    for parts in (plain, scaled):
        directions, *_ = gradients_of(parts, where=where)
        found.append(combine(directions, dict.fromkeys(directions, 0.5), normalise=where))
    torch.testing.assert_close(found[1], found[0])


class NotFiniteInOne(Colour):
    """The slope of the second image is not a number."""

    def __call__(self, images, prompts):
        broken = torch.where(torch.arange(len(images)) == 1, 0.0, 1.0).view(-1, 1, 1, 1)
        return super().__call__((images * broken).sqrt(), prompts)


@pytest.mark.parametrize("where", ["latents", "pixels"])
def test_a_slope_that_is_not_finite_is_none_and_leaves_the_other_images_alone(where):
    found, *_ = gradients_of({"broken": (1.0, NotFiniteInOne())}, where=where)
    (direction,) = found.values()
    assert torch.isfinite(direction).all()
    assert (lengths(direction) > 0).tolist() == [True, False, True]


def test_the_update_follows_the_sum_of_weighted_units_by_finite_differences():
    """Of a network of two layers: the loss -<u, d> moves its weights along sum of w_i g_i / |g_i|, g_i taken in u."""
    first, second = numbers(6, 8, seed=1).double(), (numbers(8, 12, seed=2) / 2).double()
    given = numbers(3, 6, seed=3).double()
    parts, weights = {"colour": (5.0, Colour()), "texture": (-5.0, Texture())}, {"colour": 0.7, "texture": 0.3}

    def latents_of(layer):
        return torch.tanh(given @ layer) @ second

    leaf = first.clone().requires_grad_()
    directions, *_ = gradients_of(parts, latents=latents_of(leaf))
    followed = combine(directions, weights, normalise="latents")
    (-(latents_of(leaf) * followed.detach()).sum()).backward()

    step = 1e-5
    latents, wanted = latents_of(first), torch.zeros(3, 12).double()
    for name, sign in (("colour", 1.0), ("texture", -1.0)):
        slope = torch.zeros(3, 12).double()
        for place in range(12):
            shift = torch.zeros(12).double()
            shift[place] = step
            up, down = (parts[name][1](decode(latents + side * shift), PROMPTS) for side in (1, -1))
            slope[:, place] = (up - down) / (2 * step)
        wanted += sign * weights[name] * slope / slope.norm(dim=1, keepdim=True)
    for row, column in ((0, 0), (2, 5), (5, 7), (3, 1)):
        shift = torch.zeros_like(first)
        shift[row, column] = step
        change = (latents_of(first + shift) - latents_of(first - shift)) / (2 * step)
        assert -leaf.grad[row, column].item() == pytest.approx((wanted * change).sum().item(), rel=1e-4, abs=1e-6)


# The frozen model's own view.


def guidance(prompt, rows=6):
    frozen = MixtureDenoising()
    place, eps = torch.linspace(0.05, 0.95, rows), numbers(rows, 2, seed=4)
    latents = 3 * numbers(rows, 2, seed=5)
    condition, empty = Wishes(torch.full((rows,), float(prompt))), Wishes(torch.full((rows,), ANY))
    found = guidance_direction(frozen, latents, condition, empty, place=place, eps=eps)
    return found, frozen.level_at(place), latents, eps


@pytest.mark.parametrize("prompt", [0, 1, 2])
def test_guidance_is_the_slope_of_the_prompts_likelihood_up_to_a_factor_of_the_level(prompt):
    """Of heaps whose likelihood is known: (signal / noise^2) times the difference of the clean predictions."""
    found, level, latents, eps = guidance(prompt)
    seen = level.noised(latents, eps).requires_grad_()
    log_posterior = log_densities(seen, level).log_softmax(dim=1)[:, prompt]
    slope = torch.autograd.grad(log_posterior.sum(), seen)[0]
    factor = (level.signal / level.noise**2)[:, None]
    torch.testing.assert_close(factor * found, slope, rtol=1e-3, atol=1e-4)
    assert lengths(slope).max() > 0.1


def test_guidance_looks_from_the_level_it_is_told_with_the_noise_it_is_given():
    found, level, latents, eps = guidance(0)
    frozen, both = MixtureDenoising(), (Wishes(torch.zeros(6)), Wishes(torch.full((6,), ANY)))
    for other in ({"place": level.noise.flip(0), "eps": eps}, {"place": level.noise, "eps": -eps}):
        assert not torch.allclose(guidance_direction(frozen, latents, *both, **other), found, atol=1e-3)


def test_guidance_differentiates_nothing():
    frozen = MixtureDenoising()
    latents = numbers(2, 2).requires_grad_()
    both = Wishes(torch.zeros(2)), Wishes(torch.full((2,), ANY))
    found = guidance_direction(frozen, latents, *both, place=torch.full((2,), 0.5), eps=numbers(2, 2))
    assert not found.requires_grad
    assert latents.grad is None
    assert all(parameter.grad is None for parameter in frozen.denoiser.parameters())
