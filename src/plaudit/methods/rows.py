"""The order of images in a run, and the noise each starts from: row = prompt index x images per prompt +
image index.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import noise_for
from plaudit.generators.generator import Condition, NoiseGenerator


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The images that are worked on together."""

    indices: tuple[int, ...]
    """global rows"""
    prompts: tuple[str, ...]
    """one per row"""
    condition: Condition
    """one row each"""
    images_per_prompt: int
    seed: int

    def __len__(self) -> int:
        return len(self.indices)

    def keep(self, places: Sequence[int]) -> "Rows":
        """Some of them, by their places in this batch."""
        return Rows(
            indices=tuple(self.indices[i] for i in places),
            prompts=tuple(self.prompts[i] for i in places),
            condition=self.condition[list(places)],
            images_per_prompt=self.images_per_prompt,
            seed=self.seed,
        )

    def noise(self, generator: NoiseGenerator, candidate: int = 0) -> Tensor:
        """Fresh noise (B, *noise_shape) on the generator's device: its start, or another candidate for it."""
        keys: list[tuple[int | str, ...]] = [
            (
                self.seed,
                *divmod(row, self.images_per_prompt),
                *(("candidate", candidate) if candidate else ()),
            )
            for row in self.indices
        ]
        return noise_for(keys, generator.noise_shape).to(generator.device)


def batches(
    generator: NoiseGenerator,
    prompts: Sequence[str],
    *,
    seed: int,
    images_per_prompt: int,
    batch_size: int,
    only: Sequence[int] | None = None,
) -> Iterator[Rows]:
    """All rows of a run, or `only` some of them, `batch_size` at a time; each of their prompts is encoded once."""
    chosen = range(len(prompts) * images_per_prompt) if only is None else only
    if not chosen:
        return
    condition = generator.encode(prompts_of(chosen, prompts, images_per_prompt))
    place = {prompt: at for at, prompt in enumerate(_prompt_indices(chosen, images_per_prompt))}
    for start in range(0, len(chosen), batch_size):
        indices = tuple(chosen[start : start + batch_size])
        of_prompt = [row // images_per_prompt for row in indices]
        yield Rows(
            indices=indices,
            prompts=tuple(prompts[i] for i in of_prompt),
            condition=condition[[place[i] for i in of_prompt]],
            images_per_prompt=images_per_prompt,
            seed=seed,
        )


def prompts_of(rows: Sequence[int], prompts: Sequence[str], images_per_prompt: int) -> list[str]:
    """The prompts that some rows of a run belong to, as `batches` has them encoded."""
    return [prompts[index] for index in _prompt_indices(rows, images_per_prompt)]


def _prompt_indices(rows: Sequence[int], images_per_prompt: int) -> list[int]:
    """Each prompt's index once, in the order in which the rows come."""
    return list(dict.fromkeys(row // images_per_prompt for row in rows))


def check_prompts(prompts: Sequence[str]) -> None:
    """Raises BadConfig if there is nothing to draw."""
    if isinstance(prompts, str):
        raise BadConfig(f"prompts must be a list of texts; got one text, {prompts!r}")
    if not prompts:
        raise BadConfig("there is no prompt; give at least one")
    for index, prompt in enumerate(prompts):
        if not prompt.strip():
            raise BadConfig(f"prompt {index + 1} of {len(prompts)} is empty; say what to draw")


def check_only(only: Sequence[int] | None, prompts: Sequence[str], images_per_prompt: int) -> None:
    """Raises BadConfig if a row is asked for that the run does not have."""
    total = len(prompts) * images_per_prompt
    for row in only or ():
        if not 0 <= row < total:
            raise BadConfig(f"there is no image {row}: the run has images 0 to {total - 1}")
