"""`plaudit check`: does a reward or a model keep its contract?"""

from dataclasses import dataclass, field

from plaudit.shells.flags import Command, WrongUsage, nearest

KINDS = ("reward", "model")


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """All that `plaudit check` takes."""

    kind: str = field(metadata={"positional": 1, "placeholder": "KIND"})
    """reward or model"""
    name: str = field(metadata={"positional": 1, "placeholder": "NAME"})
    """a name of the table, a folder, or a reward of your own: my_module:MyReward or ./file.py:MyReward"""
    device: str | None = None
    """cpu, cuda or mps; left out: a GPU if there is one"""


def run(options: CheckOptions) -> int:
    """Load it, run the contract, say that it holds; a broken promise is an error with its own sentence."""
    if options.kind not in KINDS:
        hint = nearest(options.kind, KINDS) or f" It is one of: {', '.join(KINDS)}."
        raise WrongUsage(f"{options.kind!r} cannot be checked.{hint}")
    from plaudit.shells.drawing import device_of
    from plaudit.shells.licences import tell_licences

    device = device_of(options.device)
    if options.kind == "reward":
        from plaudit.rewards.check import check_reward
        from plaudit.rewards.table import REWARDS, load_rewards, read_spec

        tell_licences(REWARDS, [read_spec(options.name)[0]])
        # A weight is no part of the contract, so that a spec can be checked as it stands elsewhere.
        ((label, (_, reward)),) = load_rewards([options.name], device=device).parts.items()
        check_reward(reward, device=str(device), name=label)
    else:
        from plaudit.generators.check import check_generator
        from plaudit.generators.plan_check import check_plan_policy
        from plaudit.generators.plan_generator import PlanGenerator
        from plaudit.generators.table import GENERATORS, load_generator
        from plaudit.generators.token_check import check_token_policy, prompts_for
        from plaudit.generators.token_generator import TokenGenerator

        tell_licences(GENERATORS, [options.name])
        generator = load_generator(options.name, device=device)
        if isinstance(generator, PlanGenerator):
            check_plan_policy(generator.policy)
        elif isinstance(generator, TokenGenerator):
            check_token_policy(generator.policy, prompts_for(generator.policy))
        else:
            check_generator(generator)
    print(f"{options.name} keeps the contract of a {options.kind}")
    return 0


COMMAND = Command(
    name="check",
    purpose="Run the contract of rewards or models on small inputs; the first broken promise is named.",
    examples="""
plaudit check reward pocket-hps
plaudit check model pocket-turbo
plaudit check reward ./my_clip                          a folder in CLIPModel's format
plaudit check reward my_module:MyReward                 a class of your own
""",
    options=CheckOptions,
    run=run,
)
