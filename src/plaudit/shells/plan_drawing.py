"""What trainings of a model that plans have in common: loading it, and looking at its pictures and plans."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from plaudit.generators.plan_policy import PlanPolicy, PlanSampling, Texts
    from plaudit.presets.reasongen import PlanTask
    from plaudit.shells.training_options import TrainingOptions

Keys = Sequence[tuple[int | str, ...]]
LANGUAGE_MODEL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""layers that a LoRA is laid over: all of the language model's blocks"""


def load_trained(
    options: "TrainingOptions", task: "PlanTask", *, start: bool = False
) -> "tuple[PlanPolicy, PlanPolicy | None]":
    """The task's model, ready to be trained in all its weights or by a LoRA; and what it is now, if wanted.

    Under a LoRA, where products are in bfloat16, the layers that it is laid over are kept in bfloat16 too.
    """
    from plaudit.generators.plan_training import frozen_plan_start
    from plaudit.generators.table import load_plan_policy
    from plaudit.generators.trained_part import add_lora, train_all
    from plaudit.shells.drawing import device_of

    loaded: Any = load_plan_policy(task.model, device=device_of(options.device))
    if task.recompute or getattr(options, "recompute", False):
        loaded.use_checkpointing()
    policy: PlanPolicy = loaded
    if not task.rank:
        frozen = frozen_plan_start(policy) if start else None
        train_all(policy.transformer)
        return policy, frozen
    add_lora(policy.transformer, rank=task.rank, alpha=task.alpha, targets=LANGUAGE_MODEL, seed=options.seed)
    if options.precision == "bfloat16":
        round_frozen_layers(policy)
    before: Any = BeforeLora(policy) if start else None
    return policy, before


def round_frozen_layers(policy: Any) -> None:
    """Keep the frozen matrices of a Janus's language model in bfloat16: half the memory, and autocast's own numbers.

    Heads and embeddings, whose products stay in float32, are left as they are.
    """
    for weight in policy.transformer.language_model.layers.parameters():
        if weight.ndim == 2 and not weight.requires_grad:
            weight.data = weight.data.bfloat16()


class BeforeLora:
    """A policy as it was before the LoRA that lies over it, on the very same weights: the LoRA is off while it reads.

    For telling how likely responses were, without a gradient; nothing is drawn with it.
    """

    def __init__(self, policy: "PlanPolicy") -> None:
        self._policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def states(self, texts: "Texts", tokens: "Tensor") -> "Tensor":
        """As the policy's, without the LoRA."""
        from plaudit.generators.trained_part import without_lora

        with without_lora(self._policy.transformer):
            return self._policy.states(texts, tokens)

    def begin(self, prompts: "Texts", *, guided: bool, writes: bool = True) -> Any:
        """Refused: a reading goes on when the LoRA is on again."""
        raise NotImplementedError("the policy before a LoRA tells how likely responses were, and draws none")


def tell_untaught(task: "PlanTask") -> None:
    """Say on stderr that plans are to be rewarded which nobody taught the model to write."""
    from plaudit.generators.tuned import choose, plan_sampling_of

    if task.config.plan and not plan_sampling_of(choose(task.model)).plan:
        print(
            f"plaudit: {task.model!r} was not taught to plan, and rewards can only choose among what it writes; teach "
            "it first (plaudit train plans) and give --model the folder that this leaves, or take --direct",
            file=sys.stderr,
        )


class Drawing:
    """Pictures of prompts and keys, so many at once, and the plans that they are drawn after."""

    def __init__(
        self, policy: "PlanPolicy", sampling: "PlanSampling", *, batch_size: int, decoded: int | None = None
    ) -> None:
        """decoded: so many at once become pixels; None: all that were drawn at once."""
        self._policy, self._sampling, self._batch_size = policy, sampling, batch_size
        self._decoded = decoded or batch_size

    def images(self, prompts: Sequence[str], keys: Keys) -> "Tensor":
        """(B, 3, H, W) in [0, 1] of B prompts, each from its own key."""
        import torch

        from plaudit.generators.token_rollout import in_parts

        with torch.no_grad():
            parts = [
                in_parts(self._policy.decode, response.tokens, at_once=self._decoded)
                for response in self._responses(prompts, keys)
            ]
        return torch.cat(parts)

    def plans(self, prompts: Sequence[str], keys: Keys) -> list[str]:
        """The plans of the same pictures, without drawing them."""
        from plaudit.generators.plan_rollout import write_plans

        found: list[str] = []
        for texts, uniforms in self._parts(prompts, keys):
            found += self._policy.read_words(*write_plans(self._policy, texts, uniforms, words=self._sampling.words))
        return found

    def _responses(self, prompts: Sequence[str], keys: Keys) -> Iterator[Any]:
        from plaudit.generators.plan_rollout import draw_responses

        for texts, uniforms in self._parts(prompts, keys):
            plans = None if self._sampling.plan else self._policy.words_of([""] * len(uniforms))
            yield draw_responses(
                self._policy, texts, uniforms, words=self._sampling.words, image=self._sampling.image, plans=plans
            )

    def _parts(self, prompts: Sequence[str], keys: Keys) -> Iterator[tuple[Any, Any]]:
        from plaudit.generators.token_rollout import uniforms_for

        length = self._policy.max_words + self._policy.num_tokens
        encoder = self._policy if self._sampling.plan else self._policy.direct
        for start in range(0, len(keys), self._batch_size):
            part = slice(start, start + self._batch_size)
            yield encoder.encode(list(prompts[part])), uniforms_for(list(keys[part]), length)


def recorded_sampling(sampling: "PlanSampling") -> Mapping[str, Any]:
    """As a training's run.json holds it: the picture's, and the words' if any are written."""
    words = {"words": asdict(sampling.words)} if sampling.plan else {}
    return {**asdict(sampling.image), **words}
