"""The contract of plan policies, broken one promise at a time."""

import pytest
import torch
from toy_plans import ToyPlanReading, ToyPlans
from toy_tokens import ToyTokens

from plaudit.core.errors import BrokenContract
from plaudit.generators.plan_check import check_plan_policy

PROMPTS = ("dark", "very light", "not")


class Toy(ToyPlans):
    """What it draws without a plan keeps its own contract."""

    @property
    def direct(self):
        known = ToyTokens()
        known.encode = lambda _: ToyTokens.encode(known, ("a", "to", "the"))
        return known


def broken(kind, said):
    with pytest.raises(BrokenContract, match=said):
        check_plan_policy(kind(), PROMPTS)


def test_the_toy_keeps_it():
    policy = Toy()
    policy.transformer.requires_grad_(False)
    check_plan_policy(policy, PROMPTS)
    assert not any(weight.requires_grad for weight in policy.transformer.parameters()), "as it was before"


def test_signs_are_not_written():
    class Careless(Toy):
        def word_logits(self, states):
            return states.float() @ self.transformer["words"].T + 9 * (torch.arange(8) == 1)

    broken(Careless, "words that are not writable were written")


def test_a_plan_must_be_able_to_end():
    class Endless(Toy):
        def __init__(self):
            super().__init__()
            self.writable = torch.arange(8) > 2

    broken(Endless, "begin-of-image must be writable")


def test_a_reading_that_looks_at_what_it_should_not_is_found():
    class Reading(ToyPlanReading):
        def read_words(self, words, going):
            super().read_words(words, torch.ones_like(going))

    class Confused(Toy):
        def begin(self, prompts, *, guided, writes=True):
            return Reading(self, prompts, guided)

    broken(Confused, "must not depend on its batch|read at once must be as likely")


def test_reading_one_by_one_and_at_once_must_agree():
    class Forgetful(Toy):
        def states(self, texts, tokens):
            return super().states(texts, tokens).roll(1, dims=1)

    broken(Forgetful, "words read at once must be as likely as when drawn one by one; they differ by .* nats")


def test_nothing_may_be_dropped_at_random():
    class Dropping(Toy):
        def states(self, texts, tokens):
            return torch.nn.functional.dropout(super().states(texts, tokens), 0.2)

    broken(Dropping, "the same words must be as likely every time")


def test_plans_must_read_as_they_were():
    class Mute(Toy):
        def words_of(self, plans, *, cut=False):
            return super().words_of([plan[:4] for plan in plans], cut=cut)

    broken(Mute, "a plan in words must read as the text that it was")


def test_an_empty_plan_is_begin_of_image():
    class Wordy(Toy):
        def words_of(self, plans, *, cut=False):
            return super().words_of([plan or "dark" for plan in plans], cut=cut)

    broken(Wordy, "a plan in words must read|an empty plan must be begin-of-image alone")


def test_images_are_encoded_into_as_many_tokens():
    class Short(Toy):
        def encode_images(self, images):
            return super().encode_images(images)[:, 1:]

    broken(Short, r"encode_images must give \(B, 3\) tokens from 0 to 4")


def test_gradients_reach_the_transformer():
    class Detached(Toy):
        def states(self, texts, tokens):
            return super().states(texts, tokens).detach()

        def logits(self, states):
            return super().logits(states).detach()

    broken(Detached, "gradients must reach the transformer if it is trained, and only then")
