"""From options to a running method: loads what they name, builds the method's config, starts it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig
from plaudit.shells.options import DrawingOptions

if TYPE_CHECKING:
    import torch

    from plaudit.generators.generator import NoiseGenerator
    from plaudit.methods.reno import BestSoFar, Step
    from plaudit.rewards.mix import WeightedSum
    from plaudit.rewards.reward import Reward


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Everything loaded that drawing takes."""

    generator: "NoiseGenerator"
    reward: "WeightedSum"
    held_out: "Reward | None"
    options: DrawingOptions
    """with the rewards spelled out"""
    sources: dict[str, Any]
    """names, revisions and checksums of all that was loaded"""


def set_up(options: DrawingOptions) -> Workshop:
    """Load the model and the rewards. Raises UnknownName or BadConfig for what cannot work."""
    options = spell_out(options)
    from plaudit.generators.table import GENERATORS, load_generator
    from plaudit.rewards.table import REWARDS, load_reward, load_rewards, read_spec
    from plaudit.runs.provenance import check_known, source_of
    from plaudit.shells.licences import tell_licences

    device = device_of(options.device)
    specs = [read_spec(spec) for spec in options.reward]
    if options.guard_held_out and not options.held_out:
        raise BadConfig("--guard-held-out watches a held-out reward; name one with --held-out")
    if options.held_out and options.held_out.lower() in {name for name, _ in specs}:
        raise BadConfig(f"{options.held_out!r} cannot be optimised and held out at once")
    for table, name in ((GENERATORS, options.model), *((REWARDS, name) for name, _ in specs)):
        check_known(table, name)
    tell_licences(GENERATORS, [options.model])
    tell_licences(REWARDS, [name for name, _ in specs] + ([options.held_out] if options.held_out else []))
    generator = load_generator(options.model, device=device)
    reward = load_rewards(options.reward, device=device)
    held_out = load_reward(options.held_out, device=device) if options.held_out else None
    # Only now is it known which commit of the hub they are.
    sources = {
        "model": source_of(GENERATORS, options.model),
        "rewards": [{"weight": weight, **source_of(REWARDS, name)} for name, weight in specs],
        "held_out": source_of(REWARDS, options.held_out) if options.held_out else None,
    }
    return Workshop(generator=generator, reward=reward, held_out=held_out, options=options, sources=sources)


def spell_out(options: DrawingOptions) -> DrawingOptions:
    """The options with default rewards named: a later change of defaults changes no recorded run."""
    return replace(options, reward=options.reward or default_reward_specs())


def default_reward_specs() -> tuple[str, ...]:
    """The rewards of whoever names none, as NAME:WEIGHT."""
    from plaudit.presets.reno import reward_specs

    return reward_specs()


def device_of(name: str | None) -> "torch.device":
    """The device of that name, or the best there is. Raises BadConfig if this machine has no such device."""
    import torch

    from plaudit.core.devices import best_device

    if name is None:
        return best_device()
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadConfig(f"there is no device {name!r} here; leave --device out, or see: plaudit doctor") from error
    return device


def start(
    shop: Workshop, prompts: Sequence[str], *, images_per_prompt: int, rows: Sequence[int] | None = None
) -> "Iterator[Step]":
    """The method at work, one record a step; `rows` picks some of the images, all if None."""
    config = config_of(shop.options, images_per_prompt=images_per_prompt)
    method = shop.options.method
    if method in ("best-of-n", "evolve"):
        from plaudit.methods.search import best_of_n, evolve

        search = best_of_n if method == "best-of-n" else evolve
        return search(shop.generator, shop.reward, prompts, config, held_out=shop.held_out, only=rows)
    from plaudit.methods.reno import optimise_noise

    return optimise_noise(shop.generator, shop.reward, prompts, config, held_out=shop.held_out, only=rows)


def watcher(shop: Workshop, prompts: Sequence[str], *, images_per_prompt: int) -> "BestSoFar":
    """Keeps the best of what `start` yields for the same prompts."""
    from plaudit.methods.reno import BestSoFar

    return BestSoFar(prompts, config_of(shop.options, images_per_prompt=images_per_prompt))


def config_of(options: DrawingOptions, *, images_per_prompt: int) -> Any:
    """The method's own config. Raises BadConfig for a setting that cannot work."""
    if options.method in ("best-of-n", "evolve"):
        from plaudit.methods.search import SearchConfig

        return SearchConfig(
            forwards=options.steps,
            seconds=options.seconds,
            seed=options.seed,
            images_per_prompt=images_per_prompt,
            batch_size=options.batch_size,
        )
    from plaudit.methods.reno import RenoConfig

    if options.seconds is not None:
        raise BadConfig(f"--seconds belongs to best-of-n and evolve; {options.method} takes --steps")
    if options.method == "none":
        if options.steps < 1:
            raise BadConfig(f"steps must be at least 1, got {options.steps}")
        return RenoConfig(
            steps=1, seed=options.seed, images_per_prompt=images_per_prompt, batch_size=options.batch_size
        )
    return RenoConfig(
        steps=options.steps,
        lr=options.lr,
        momentum=options.momentum,
        grad_clip=options.grad_clip,
        prior_weight=options.prior_weight,
        seed=options.seed,
        images_per_prompt=images_per_prompt,
        start_best_of=options.start_best_of,
        patience=options.patience,
        guard_held_out=options.guard_held_out,
        batch_size=options.batch_size,
    )
