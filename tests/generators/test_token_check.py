"""The contract of token policies, broken one promise at a time."""

import pytest
import torch
from toy_tokens import ToyReading, ToyTokens

from plaudit.core.errors import BadConfig, BrokenContract, UnknownName
from plaudit.generators.check import PROMPTS as CAPTIONS
from plaudit.generators.token_check import check_token_policy, prompts_for
from plaudit.generators.token_generator import TokenGenerator
from plaudit.generators.token_policy import Sampling

PROMPTS = ("a", "to", "the")


def test_the_toy_keeps_it():
    policy = ToyTokens()
    policy.transformer.requires_grad_(False)
    check_token_policy(policy, PROMPTS)
    assert not any(p.requires_grad for p in policy.transformer.parameters()), "as it was before"


class Unguided(ToyTokens):
    """Was taught no way to be asked for nothing."""

    def __init__(self):
        super().__init__()
        self.guidable = False

    def beside_none(self, condition):
        raise BadConfig("cannot be guided")


def test_what_cannot_be_guided_is_checked_without():
    check_token_policy(Unguided(), PROMPTS)
    TokenGenerator(Unguided(), Sampling(temperature=0.5))
    with pytest.raises(BadConfig, match=r"Unguided was taught no way .* draws without guidance \(1\) only, got 1.5"):
        TokenGenerator(Unguided(), Sampling(guidance=1.5))
    lying = Unguided()
    lying.guidable = True
    with pytest.raises(BadConfig, match="cannot be guided"):
        check_token_policy(lying, PROMPTS)


class OfClasses(ToyTokens):
    def encode(self, prompts):
        if not all(prompt.isdecimal() for prompt in prompts):
            raise UnknownName("no such class")
        return super().encode(prompts)


def test_prompts_are_those_that_the_policy_understands():
    assert prompts_for(ToyTokens()) == CAPTIONS
    assert prompts_for(OfClasses()) == ("0", "1", "2")


class Forgetful(ToyTokens):
    """Read one by one, it forgets the place."""

    def begin(self, condition):
        reading = ToyReading(self, condition)
        reading.place = 1
        reading._know(torch.full((len(condition),), self.vocabulary))
        reading.place = 0
        return reading


class Mixing(ToyTokens):
    """A row is told what the batch wants on average."""

    def hidden(self, tokens, condition):
        found = super().hidden(tokens, condition)
        return found + found.mean(dim=0)

    def begin(self, condition):
        reading = ToyReading(self, condition)
        reading.hidden = reading.hidden + reading.hidden.mean(dim=0)
        return reading


class Dropping(ToyTokens):
    def hidden(self, tokens, condition):
        return torch.nn.functional.dropout(super().hidden(tokens, condition), 0.2)


class Insistent(ToyTokens):
    """Asks for the prompt where it should ask for nothing."""

    def beside_none(self, condition):
        return type(condition)(torch.cat([condition.values, condition.values]))


class Loud(ToyTokens):
    def decode(self, tokens):
        return super().decode(tokens) * 3 + 0.5


class Detached(ToyTokens):
    def hidden(self, tokens, condition):
        return super().hidden(tokens, condition).detach()

    def logits(self, hidden):
        return super().logits(hidden).detach()


class Silent(ToyTokens):
    def logits(self, hidden):
        return super().logits(hidden) * torch.nan


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (Forgetful, "as likely as when drawn one by one"),
        (Mixing, "must not depend on its batch"),
        (Dropping, "drop nothing at random"),
        (Insistent, "must ask for nothing"),
        (Loud, r"must lie in \[0, 1\]"),
        (Detached, "must reach the transformer if"),
        (Silent, "must be finite"),
    ],
)
def test_every_broken_promise_is_named(policy, said):
    with pytest.raises(BrokenContract, match=said):
        check_token_policy(policy(), PROMPTS)
