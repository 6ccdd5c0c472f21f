"""Generators of random weights, at the published size or as miniatures: for benchmarks and memory tests.

What a model costs in time and memory does not depend on what its weights are. Nothing is downloaded: the sizes are
shipped (`shapes`), and the tokenizers spell.
"""

import contextlib
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, cast

import torch
from torch import Tensor, nn

from plaudit.generators.generator import NoiseGenerator
from plaudit.generators.shapes.models import shape_of
from plaudit.generators.shapes.networks import Network, Scale
from plaudit.generators.spelling_tokenizers import spelling_tokenizer
from plaudit.generators.table import FAMILIES, GENERATORS

SPREAD = 0.02
"""of weights, where more inputs do not ask for less"""


def random_generator(
    name: str,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    scale: Scale = "real",
    steps: int | None = None,
) -> NoiseGenerator:
    """The generator of a table row with random weights, the same at every call; float32 on the CPU unless told else.

    `steps`: those of the row unless given. On the device "meta" it has no weights at all, only their sizes. Raises
    UnknownName for a row whose shape is not shipped.
    """
    entry, shape = GENERATORS.find(name), shape_of(GENERATORS.find(name).name)
    place, precision = torch.device(device or "cpu"), dtype or torch.float32
    parts: dict[str, Any] = {part: spelling_tokenizer(kind) for part, kind in shape.tokenizers.items()}
    for part, network in shape.networks.items():
        settings = network.at(scale) | _ends_of_text(parts, part, network)
        parts[part] = random_network(network, settings, device=place, dtype=precision)
    if precision is torch.float16 and getattr(parts["vae"].config, "force_upcast", False):
        # As the loader does: such a decoder overflows in float16.
        parts["vae"].float()
    import diffusers

    kind, schedule = shape.scheduler
    parts["scheduler"] = getattr(diffusers, kind)(**schedule)
    told = {key: entry.arguments[key] for key in ("steps", "guidance") if key in entry.arguments}
    told |= shape.told(scale) | ({} if steps is None else {"steps": steps})
    module, _, family = FAMILIES[shape.pipeline].partition(":")
    return cast(NoiseGenerator, getattr(import_module(module), family)(parts, **told))


def random_network(
    network: Network, settings: Mapping[str, Any], *, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """The network with those settings and random weights, frozen."""
    libraries = {"diffusers": import_module("diffusers"), "transformers": import_module("transformers")}
    kind: Any = getattr(libraries[network.library], network.kind)
    with without_weights(dtype), device if device.type == "meta" else contextlib.nullcontext():
        given = kind.config_class(**settings) if network.library == "transformers" else None
        made = kind(**settings) if given is None else kind(given)
    if given is not None:
        # Built without content, weights that are one came out as two.
        made.tie_weights()
    return fill(made, device=device, dtype=dtype)


def fill(made: nn.Module, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Give a module that was built `without_weights` random ones on the device, and freeze it, in place."""
    made.eval().requires_grad_(False)
    rng = None if device.type == "meta" else torch.Generator(device).manual_seed(0)
    drawn: dict[int, nn.Parameter] = {}
    for module in made.modules():
        for name, weight in list(module._parameters.items()):
            if weight is None:
                continue
            if id(weight) not in drawn:
                drawn[id(weight)] = _draw(name, weight, rng, device, dtype)
            # Weights that two modules share stay shared.
            module._parameters[name] = drawn[id(weight)]
        for name, buffer in module._buffers.items():
            stored = name not in module._non_persistent_buffers_set
            # What a checkpoint holds is loaded in the precision asked for; the rest keeps its own.
            if buffer is not None and buffer.is_floating_point() and stored:
                module._buffers[name] = buffer.to(dtype)
    return made.to(device)


@contextlib.contextmanager
def without_weights(dtype: torch.dtype) -> Iterator[None]:
    """Modules built inside have parameters of a size and no content, and buffers with content, in that precision."""
    from accelerate import init_empty_weights

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        # Constructors also draw, into nothing: what they take of the global stream is given back.
        with torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False):
            yield
    finally:
        torch.set_default_dtype(before)


def _draw(
    name: str, like: Tensor, rng: torch.Generator | None, device: torch.device, dtype: torch.dtype
) -> nn.Parameter:
    """Weights under which a network neither dies out nor overflows: ones for norms, zeros for biases, else normal."""
    drawn = torch.empty(like.shape, device=device, dtype=dtype)
    if rng is not None:
        if like.ndim < 2:
            drawn.fill_(1.0 if name.endswith("weight") else 0.0)
        else:
            drawn.normal_(0.0, min(SPREAD, like[0].numel() ** -0.5), generator=rng)
    return nn.Parameter(drawn, requires_grad=False)


def _ends_of_text(parts: Mapping[str, Any], part: str, network: Network) -> dict[str, int]:
    """Which tokens begin and end a text: CLIP's summary is read at the last."""
    if not network.kind.startswith("CLIP"):
        return {}
    tokenizer = parts[part.replace("text_encoder", "tokenizer")]
    return {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
