"""Which policy a generator is trained as."""

from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig

if TYPE_CHECKING:
    from plaudit.generators.generator import StepPolicy


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
