"""The contract of generators, run: for authors of generators, for the tests over every row, and for `plaudit
check`.
"""

import torch
from torch import Tensor

from plaudit.core.errors import BrokenContract
from plaudit.core.random_streams import noise_for
from plaudit.generators.generator import Condition, NoiseGenerator, StepPolicy
from plaudit.generators.step_policy import Trajectory, log_prob, own_draws, rollout

PROMPTS = ("a red circle", "two blue squares on a white background", "a green star left of a yellow ring")


def check_generator(generator: NoiseGenerator) -> None:
    """Run `generator` on three small prompts and raise BrokenContract at the first broken promise."""
    name = type(generator).__name__
    noise = noise_for([("check", row) for row in range(3)], generator.noise_shape).to(generator.device)
    condition = generator.encode(PROMPTS)
    check_condition(name, condition)
    images = _check_images(name, generator, noise, condition)
    _check_rows(name, generator, noise, images)
    _check_gradient(name, generator, noise, condition)


def check_policy(policy: StepPolicy) -> None:
    """Run `policy` on three small prompts and raise BrokenContract at the first broken promise.

    Gradients are asked for with the denoiser's parameters trained, then frozen; afterwards they are as they were.
    """
    name = type(policy).__name__
    keys = [("check", row) for row in range(3)]
    noise = noise_for(keys, policy.noise_shape).to(policy.device)
    condition = policy.encode(PROMPTS)
    check_condition(name, condition)
    before = noise.clone()
    with torch.no_grad():
        taken = rollout(policy, noise, condition, own_draws(keys, policy.noise_shape), per_number=True)
        if not torch.equal(noise, before):
            raise BrokenContract(f"{name}: must not change the latents it is given")
        _check_trajectory(name, policy, taken)
        check_decoding(name, policy.decode(taken.states[:, -1]))
        _check_transitions(name, policy, taken, condition)
    _check_training(name, policy, noise, condition)


def check_condition(name: str, condition: Condition) -> None:
    """Raise BrokenContract unless the condition of three prompts has three rows, and gives some of them."""
    if len(condition) != 3:
        raise BrokenContract(f"{name}: encode must return one row per prompt; 3 prompts gave {len(condition)} rows")
    if len(condition[1:]) != 2 or len(condition[[2, 0]]) != 2:
        raise BrokenContract(
            f"{name}: a condition's rows must be chosen by slices and lists; of 3 rows, "
            f"[1:] gave {len(condition[1:])} and [[2, 0]] gave {len(condition[[2, 0]])}"
        )


def _check_images(name: str, generator: NoiseGenerator, noise: Tensor, condition: Condition) -> Tensor:
    before = noise.clone()
    with torch.no_grad():
        images = generator.sample(noise, condition)
        again = generator.sample(noise, condition)
    check_decoding(name, images)
    if not torch.equal(noise, before):
        raise BrokenContract(f"{name}: must not change the noise it is given")
    if not _close(images, again):
        raise BrokenContract(f"{name}: the same noise and prompt must give the same image; two calls differ")
    return images


def check_decoding(name: str, images: Tensor) -> None:
    """Raise BrokenContract unless these are three images (3, 3, H, W), finite and in [0, 1]."""
    if images.dim() != 4 or images.shape[:2] != (3, 3):
        raise BrokenContract(f"{name}: 3 noises must give images (3, 3, H, W), got {tuple(images.shape)}")
    if not images.is_floating_point() or not bool(torch.isfinite(images).all()):
        raise BrokenContract(f"{name}: images must be finite floating point, got {images.dtype}")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        raise BrokenContract(f"{name}: images must lie in [0, 1], got {low:.3f} to {high:.3f}")


def _check_rows(name: str, generator: NoiseGenerator, noise: Tensor, images: Tensor) -> None:
    with torch.no_grad():
        alone = [generator.sample(noise[i : i + 1], generator.encode(PROMPTS[i : i + 1])) for i in range(3)]
        turned = generator.sample(noise.flip(0), generator.encode(PROMPTS[::-1])).flip(0)
    if not _close(images, torch.cat(alone)):
        raise BrokenContract(f"{name}: an image must not depend on its batch; alone and together differ")
    if not _close(images, turned):
        raise BrokenContract(f"{name}: an image must not depend on its place in the batch")
    if _close(images[0], images[1]) and _close(images[1], images[2]):
        raise BrokenContract(f"{name}: three noises and prompts gave three times the same image")


def _check_gradient(name: str, generator: NoiseGenerator, noise: Tensor, condition: Condition) -> None:
    leaf = noise.clone().requires_grad_()
    with torch.enable_grad():
        images = generator.sample(leaf, condition)
    if not images.requires_grad:
        raise BrokenContract(f"{name}: no gradient reaches the noise; `sample` must not decide about gradients")
    # One row's image, so that a mixing of rows shows as a gradient where none belongs.
    weights = torch.linspace(0.5, 1.5, images[0].numel(), device=images.device).view_as(images[0])
    trained = [leaf, *_leaves(images)]
    gradients = torch.autograd.grad((images[0] * weights).sum(), trained, allow_unused=True)
    first = gradients[0]
    if first is None or not bool(torch.isfinite(first).all()) or not bool(first[0].abs().sum() > 0):
        raise BrokenContract(f"{name}: no gradient reaches the noise, or it is not finite")
    if bool(first[1:].abs().sum() > 0):
        raise BrokenContract(f"{name}: an image's gradient reaches the noise of other images")
    if any(gradient is not None for gradient in gradients[1:]):
        raise BrokenContract(f"{name}: gradients reach its parameters; freeze them (requires_grad_(False))")


def _check_trajectory(name: str, policy: StepPolicy, taken: Trajectory) -> None:
    expected = (3, policy.num_steps + 1, *policy.noise_shape)
    if taken.states.shape != expected:
        raise BrokenContract(
            f"{name}: a step's mean must have the latents' shape; {policy.num_steps} steps gave "
            f"{tuple(taken.states.shape)}, not {expected}"
        )
    if not bool(torch.isfinite(taken.states).all() and torch.isfinite(taken.log_probs).all()):
        raise BrokenContract(f"{name}: latents and log-probabilities must be finite from the first step to the last")


def _check_transitions(name: str, policy: StepPolicy, taken: Trajectory, condition: Condition) -> None:
    """Every step again: as probable as when it was taken, and the same alone or among rows at other steps."""
    steps = policy.num_steps
    for number in range(steps):
        index = torch.full((3,), number, device=policy.device)
        found = policy.step(taken.states[:, number], index, condition)
        if found.mean.dtype != torch.float32:
            raise BrokenContract(f"{name}: a step's mean must be in float32, got {found.mean.dtype}")
        if found.spread.shape != (3,) or found.spread.dtype != torch.float32 or bool((found.spread < 0).any()):
            raise BrokenContract(f"{name}: a transition has one spread per row, (3,), float32, at least 0")
        if number == steps - 1 and bool((found.spread > 0).any()):
            raise BrokenContract(f"{name}: the last step must draw nothing (spread 0): its mean is the clean latents")
        ratio = (log_prob(found, taken.states[:, number + 1], per_number=True) - taken.log_probs[:, number]).exp()
        if bool(((ratio - 1).abs() > 1e-6).any()):
            raise BrokenContract(
                f"{name}: an action must be as probable again as when it was taken, by the mean per number; at step "
                f"{number} the ratio is {ratio.tolist()}"
            )
    mixed = torch.tensor([0, steps // 2, steps - 1], device=policy.device)
    starts = taken.states[torch.arange(3, device=policy.device), mixed]
    together = policy.step(starts, mixed, condition)
    for row in range(3):
        alone = policy.step(starts[row : row + 1], mixed[row : row + 1], condition[row : row + 1])
        if not _close(alone.mean, together.mean[row : row + 1]) or not _close(alone.spread, together.spread[row, None]):
            raise BrokenContract(f"{name}: a row must not depend on its batch; alone and among other steps they differ")


def _check_training(name: str, policy: StepPolicy, noise: Tensor, condition: Condition) -> None:
    """Gradients reach the row's own latents, and of parameters the denoiser's alone, if they are trained."""
    index = torch.zeros(3, dtype=torch.long, device=policy.device)
    parameters = list(policy.denoiser.parameters())
    were_trained = [parameter.requires_grad for parameter in parameters]
    try:
        for trained in (True, False):
            policy.denoiser.requires_grad_(trained)
            leaf = noise.clone().requires_grad_()
            with torch.enable_grad():
                mean = policy.step(leaf, index, condition).mean
            _check_step_gradient(name, mean, leaf, parameters if trained else [])
    finally:
        for parameter, was_trained in zip(parameters, were_trained, strict=True):
            parameter.requires_grad_(was_trained)


def _check_step_gradient(name: str, mean: Tensor, leaf: Tensor, trained: list[torch.nn.Parameter]) -> None:
    if not mean.requires_grad:
        raise BrokenContract(f"{name}: no gradient reaches the latents; `step` must not decide about gradients")
    others = [found for found in _leaves(mean) if not any(found is parameter for parameter in trained)]
    if others:
        raise BrokenContract(f"{name}: gradients reach parameters outside the trained denoiser; freeze them")
    weights = torch.linspace(0.5, 1.5, mean[0].numel(), device=mean.device).view_as(mean[0])
    slope, *slopes = torch.autograd.grad((mean[0] * weights).sum(), [leaf, *trained], allow_unused=True)
    if slope is None or not bool(torch.isfinite(slope).all()) or not bool(slope[0].abs().sum() > 0):
        raise BrokenContract(f"{name}: no gradient reaches the latents, or it is not finite")
    if bool(slope[1:].abs().sum() > 0):
        raise BrokenContract(f"{name}: a row's gradient reaches the latents of other rows")
    if trained and not any(found is not None and bool(found.abs().sum() > 0) for found in slopes):
        raise BrokenContract(f"{name}: no gradient reaches the denoiser, so it cannot be trained")


def _leaves(images: Tensor) -> list[Tensor]:
    """The parameters that the images' graph would train."""
    found: list[Tensor] = []
    seen, todo = set(), [images.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if isinstance(variable, torch.nn.Parameter):
            found.append(variable)
        todo.extend(parent for parent, _ in node.next_functions)
    return found


def _close(first: Tensor, second: Tensor) -> bool:
    # Reduced precision and batch-dependent kernels move the last digits; a broken contract moves the first.
    return torch.allclose(first.float(), second.float(), rtol=1e-2, atol=5e-3)
