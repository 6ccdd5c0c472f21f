"""Which policy a generator is trained as, and in which precision its network runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig

if TYPE_CHECKING:
    from torch import Tensor

    from plaudit.generators.generator import Condition, StepPolicy, Transition


class InBfloat16:
    """A policy whose network multiplies in bfloat16, while everything around it stays as it was. A StepPolicy.

    Weights, latents, means, and so log-probabilities are float32 as before: only products inside the network are not.
    Acting and learning walk the same steps, so that at unchanged weights the importance ratio is 1.
    """

    def __init__(self, policy: "StepPolicy") -> None:
        """Raises BadConfig where bfloat16 is not native: there it is slower than float32, on CPUs by hundreds."""
        from plaudit.core.devices import check_fast_bfloat16

        check_fast_bfloat16(policy.device)
        self.policy, self.denoiser, self.device = policy, policy.denoiser, policy.device
        self.noise_shape, self.num_steps = policy.noise_shape, policy.num_steps

    def encode(self, prompts: Sequence[str]) -> "Condition":
        """As the policy does."""
        return self.policy.encode(prompts)

    def decode(self, latents: "Tensor") -> "Tensor":
        """As the policy does."""
        return self.policy.decode(latents)

    def step(self, latents: "Tensor", index: "Tensor", condition: "Condition") -> "Transition":
        """As the policy does, to bfloat16's precision."""
        from plaudit.core.devices import fast_autocast

        with fast_autocast(self.device):
            return self.policy.step(latents, index, condition)


def policy_of(generator: Any, *, eta: float = 1.0) -> "StepPolicy":
    """The generator's own steps if they are a StepPolicy, else DDIM's with noise where it has them.

    Raises BadConfig for a generator that offers neither.
    """
    from plaudit.generators.ddim_policy import DDIMPolicy
    from plaudit.generators.generator import StepPolicy
    from plaudit.generators.stable_diffusion import StableDiffusion

    if isinstance(generator, StepPolicy):
        return generator
    if isinstance(generator, StableDiffusion):
        return DDIMPolicy(generator, eta=eta)
    raise BadConfig(
        f"{type(generator).__name__} offers no Gaussian steps that a policy gradient could follow; "
        "a latent consistency model does, and a Stable Diffusion by DDIM"
    )
