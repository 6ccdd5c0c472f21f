"""From options to a running method: loads what they name, builds the method's config, starts it."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from plaudit.core.errors import BadConfig
from plaudit.shells.options import DEFAULT_MODEL, TOKEN_FLAGS, DrawingOptions, Method

if TYPE_CHECKING:
    import torch

    from plaudit.generators.generator import NoiseGenerator
    from plaudit.generators.token_policy import Sampling
    from plaudit.generators.tuned import Chosen
    from plaudit.methods.reno import BestSoFar, Step
    from plaudit.rewards.mix import WeightedSum
    from plaudit.rewards.reward import Reward
    from plaudit.shells.fitting import Fit


Options = TypeVar("Options", bound=DrawingOptions)


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Everything loaded that drawing takes."""

    generator: "NoiseGenerator"
    reward: "WeightedSum"
    held_out: "Reward | None"
    options: DrawingOptions
    """with model and rewards spelled out, and no more images at once than fit"""
    sources: dict[str, Any]
    """names, revisions and checksums of all that was loaded"""
    fit: "Fit | None" = None
    """what was done so that it fits a GPU's memory"""


def set_up(options: DrawingOptions, *, images: int | None = None) -> Workshop:
    """Load the model and the rewards, as they fit this machine; `images`: how many are to be drawn, if that is known.

    Raises UnknownName or BadConfig for what cannot work.
    """
    options = spell_out(options)
    from plaudit.rewards.same_reward import conflict
    from plaudit.rewards.table import REWARDS, load_reward, load_rewards, read_spec
    from plaudit.runs.provenance import check_known, source_of
    from plaudit.shells.fitting import fit_memory
    from plaudit.shells.licences import tell_licences

    device = device_of(options.device)
    specs = [read_spec(spec) for spec in options.reward]
    if options.guard_held_out and not options.held_out:
        raise BadConfig("--guard-held-out watches a held-out reward; name one with --held-out")
    held_names = [read_spec(options.held_out)[0]] if options.held_out else []
    if said := conflict([options.held_out] if options.held_out else [], [name for name, _ in specs], how="optimised"):
        raise BadConfig(said)
    check_model(options)
    for name in [name for name, _ in specs] + held_names:
        check_known(REWARDS, name)
    tell_licences(REWARDS, [name for name, _ in specs] + held_names)
    fit = fit_memory(options, chosen_model(options), device, images=images)
    options = options if fit is None else replace(options, batch_size=fit.batch_size)
    generator, model = load_model(options, device, fit)
    reward = load_rewards(options.reward, device=device)
    if compared := reward.by_group():
        raise BadConfig(
            f"{compared[0]!r} compares a prompt's images with each other, as a training does; each image here is drawn "
            "for itself, so use normalise"
        )
    held_out = load_reward(options.held_out, device=device) if options.held_out else None
    # Only now is it known which commit of the hub they are.
    sources = {
        "model": model,
        "rewards": [{"weight": weight, **source_of(REWARDS, name)} for name, weight in specs],
        "held_out": source_of(REWARDS, held_names[0]) if held_names else None,
    }
    return Workshop(generator=generator, reward=reward, held_out=held_out, options=options, sources=sources, fit=fit)


def chosen_model(options: DrawingOptions) -> "Chosen":
    """Which model is meant, and what is laid over it. Raises BadConfig for a LoRA that is not there."""
    from plaudit.generators.tuned import choose

    model = options.model or (None if options.lora else DEFAULT_MODEL)
    if options.sampling_steps is not None and options.sampling_steps < 1:
        raise BadConfig(f"--sampling-steps must be at least 1, got {options.sampling_steps}")
    if options.lora is None and options.lora_scale != 1:
        raise BadConfig("--lora-scale says how much of a LoRA; name one with --lora")
    return choose(model, lora=options.lora, scale=options.lora_scale, steps=options.sampling_steps)


def check_model(options: DrawingOptions) -> None:
    """Raises UnknownName, with the nearest match, or BadConfig for a model that cannot be; tells its licence."""
    from plaudit.generators.table import GENERATORS
    from plaudit.runs.provenance import check_known
    from plaudit.shells.licences import tell_licences

    chosen = chosen_model(options)
    check_known(GENERATORS, chosen.model)
    if sampling_for(options, chosen) is not None and options.method == "reno" and options.steps > 1:
        raise BadConfig(
            f"--method reno follows gradients, and none reaches the noise of {chosen.model!r}, which draws token by "
            "token; take --method best-of-n or evolve"
        )
    check_plan(options, chosen)
    tell_licences(GENERATORS, [chosen.model])


def check_plan(options: DrawingOptions, chosen: "Chosen") -> None:
    """Raises BadConfig for a plan, or the wish for none, that cannot be, or of a model that writes no plans."""
    from plaudit.generators.table import may_plan

    if options.plan is None and not options.direct:
        return
    if options.plan is not None and options.direct:
        raise BadConfig("--plan says what to draw after, and --direct draws without a plan; leave one of them out")
    if options.plan is not None and not options.plan.strip():
        raise BadConfig("--plan is empty; say what the picture shall show, or take --direct to draw without a plan")
    if not may_plan(chosen.model):
        flag = "--direct" if options.direct else "--plan"
        raise BadConfig(f"{flag} is for models that write plans, and {chosen.model!r} writes none; leave it out")


def sampling_for(options: DrawingOptions, chosen: "Chosen") -> "Sampling | None":
    """How tokens are drawn: as the model's row or its training says, but for what was said; None without tokens.

    Raises BadConfig for what cannot be, and for saying it of a model that draws no tokens.
    """
    from plaudit.generators.tuned import sampling_of

    said = {name: getattr(options, name) for name in TOKEN_FLAGS if getattr(options, name) is not None}
    usual = sampling_of(chosen)
    if usual is not None:
        return replace(usual, **said)
    if said:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in said)
        raise BadConfig(
            f"{flags} is for models that draw token by token, and {chosen.model!r} draws from noise; leave it out"
        )
    return None


def load_model(
    options: DrawingOptions, device: "torch.device", fit: "Fit | None" = None
) -> "tuple[NoiseGenerator, dict[str, Any]]":
    """The model with what is laid over it, as it fits the device if that is known, and where both come from."""
    from plaudit.generators.table import GENERATORS, load_generator
    from plaudit.runs.provenance import source_of_model
    from plaudit.shells.fitting import unplanned_precision

    chosen = chosen_model(options)
    home, dtype = (device, unplanned_precision(chosen, device)) if fit is None else (fit.home, fit.dtype)
    generator = load_generator(
        options.model or chosen.model, device=home, dtype=dtype, steps=options.sampling_steps, lora=options.lora,
        lora_scale=options.lora_scale,
    )  # fmt: skip
    if (sampling := sampling_for(options, chosen)) is not None:
        generator = _sampled(generator, sampling, options)
    if fit is not None:
        fit.put_to_work(generator)
    # Only now is it known which commit of the hub it is.
    return generator, source_of_model(GENERATORS, chosen)


def _sampled(generator: "NoiseGenerator", sampling: "Sampling", options: DrawingOptions) -> "NoiseGenerator":
    """The generator with what was said of its pictures and plans. Raises BadConfig for a plan that it cannot read."""
    from plaudit.generators.plan_generator import PlanGenerator
    from plaudit.generators.token_generator import TokenGenerator

    if isinstance(generator, PlanGenerator):
        planned = replace(generator.sampling, image=sampling, plan=generator.sampling.plan and not options.direct)
        return PlanGenerator(generator.policy, planned, plan=options.plan)
    assert isinstance(generator, TokenGenerator)
    return TokenGenerator(generator.policy, sampling)


def spell_out(options: Options) -> Options:
    """The options with all defaults named: a later change of defaults changes no recorded run.

    Tells on stderr which method is taken where none was said, and it is not the usual one.
    """
    chosen = chosen_model(options)
    sampling = sampling_for(options, chosen)
    return replace(
        options, model=options.model or chosen.model, reward=options.reward or default_reward_specs(),
        method=options.method or _usual_method(chosen.model, tokens=sampling is not None),
        **({} if sampling is None else asdict(sampling)),
    )  # fmt: skip


def _usual_method(model: str, *, tokens: bool) -> Method:
    if not tokens:
        return "reno"
    print(
        f"plaudit: {model} draws token by token, where there is no gradient to follow: the best of --steps pictures is "
        "taken (--method best-of-n)",
        file=sys.stderr,
    )
    return "best-of-n"


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
    if options.noise_offset and options.method != "best-of-n":
        raise BadConfig(f"--noise-offset belongs to best-of-n; {options.method} starts from each image's first noise")
    if options.method in ("best-of-n", "evolve"):
        from plaudit.methods.search import SearchConfig

        return SearchConfig(
            forwards=options.steps,
            seconds=options.seconds,
            noise_offset=options.noise_offset,
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
