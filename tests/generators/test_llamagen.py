import math

import pytest
import torch
from tiny_t5 import make_t5
from tiny_token_models import (
    CAPTION_DIM,
    CAPTIONS,
    CLASSES,
    DIM,
    GRID,
    HEADS,
    IMAGE_SIZE,
    LAYERS,
    PREFIX,
    VOCABULARY,
    T,
    llama_weights,
    prompts_of,
    small_policy,
    some_tokens,
)

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.generators.conditions import MaskedStates
from plaudit.generators.llama_transformer import LlamaSizes, LlamaTransformer, feed_forward_width, rotary_turns, turned
from plaudit.generators.llamagen import padded_before
from plaudit.generators.token_check import check_token_policy
from plaudit.generators.token_policy import Sampling, TokenPolicy
from plaudit.generators.token_rollout import draw_tokens, score_tokens, uniforms_for

pytest_plugins = ["tiny_llamagen"]


def plain_logits(w, prefix, mask, tokens):
    """One row's logits (T, V), float64, place by place, of a prefix (P, D), its mask (P) and tokens (T)."""
    w = {name: weight.double() for name, weight in w.items()}
    width, count = DIM // HEADS, len(prefix)
    x = torch.cat([prefix.double(), w["tok_embeddings.weight"][tokens[:-1]]])

    def rms(rows, weight):
        return torch.stack([row / math.sqrt(float((row * row).mean()) + 1e-5) for row in rows]) * weight

    def turn(vector, place):
        if place < count:
            return torch.zeros_like(vector)
        row, column = divmod(place - count, GRID)
        found = torch.zeros_like(vector)
        for pair in range(width // 2):
            along, number = (row, pair) if pair < width // 4 else (column, pair - width // 4)
            angle = along * 10000 ** (-2 * number / (width // 2))
            number = complex(float(vector[2 * pair]), float(vector[2 * pair + 1])) * complex(
                math.cos(angle), math.sin(angle)
            )
            found[2 * pair], found[2 * pair + 1] = number.real, number.imag
        return found

    for layer in range(LAYERS):
        name = f"layers.{layer}"
        read = rms(x, w[f"{name}.attention_norm.weight"]) @ w[f"{name}.attention.wqkv.weight"].T
        seen = torch.zeros(len(x), DIM, dtype=torch.float64)
        for head in range(HEADS):
            here = slice(head * width, (head + 1) * width)
            queries, keys, values = (read[:, part * DIM : (part + 1) * DIM][:, here] for part in range(3))
            for place in range(len(x)):
                others = [it for it in range(place + 1) if it == place or it >= count or mask[it]]
                query = turn(queries[place], place)
                scores = torch.stack([query @ turn(keys[it], it) / math.sqrt(width) for it in others])
                seen[place, here] = sum(share * values[it] for share, it in zip(scores.softmax(0), others, strict=True))
        x = x + seen @ w[f"{name}.attention.wo.weight"].T
        read = rms(x, w[f"{name}.ffn_norm.weight"])
        gate = read @ w[f"{name}.feed_forward.w1.weight"].T
        inside = gate / (1 + (-gate).exp()) * (read @ w[f"{name}.feed_forward.w3.weight"].T)
        x = x + inside @ w[f"{name}.feed_forward.w2.weight"].T
    return (rms(x, w["norm.weight"]) @ w["output.weight"].T)[count - 1 :]


def plain_projection(w, states):
    inside = states.double() @ w["cls_embedding.cap_proj.fc1.weight"].double().T
    inside = 0.5 * inside * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inside + 0.044715 * inside**3)))
    return inside @ w["cls_embedding.cap_proj.fc2.weight"].double().T


def test_a_class_and_tokens_have_the_logits_of_the_published_maths(by_class):
    w, tokens = llama_weights(), some_tokens()
    condition = by_class.beside_none(by_class.encode(["0", "3", "4"]))
    with torch.no_grad():
        found = by_class.logits(by_class.hidden(tokens.repeat(2, 1), condition))
    for row, label in enumerate([0, 3, 4, CLASSES, CLASSES, CLASSES]):
        prefix = w["cls_embedding.embedding_table.weight"][label][None]
        expected = plain_logits(w, prefix, [1], tokens[row % 3])
        assert torch.allclose(found[row].double(), expected, atol=1e-5)
    assert found.std() > 0.1


def test_a_caption_and_tokens_have_the_logits_of_the_published_maths(by_caption):
    w, tokens = llama_weights(captions=True), some_tokens()
    tokenizer, t5 = make_t5(width=CAPTION_DIM)
    condition = by_caption.beside_none(by_caption.encode(CAPTIONS))
    with torch.no_grad():
        found = by_caption.logits(by_caption.hidden(tokens.repeat(2, 1), condition))
        for row, caption in enumerate(CAPTIONS):
            ids = tokenizer(caption, truncation=True, max_length=PREFIX, return_tensors="pt")["input_ids"]
            states = t5.eval()(ids).last_hidden_state[0]
            told = torch.zeros(PREFIX, CAPTION_DIM)
            told[PREFIX - len(states) :] = states
            mask = [int(place >= PREFIX - len(states)) for place in range(PREFIX)]
            expected = plain_logits(w, plain_projection(w, told), mask, tokens[row])
            assert torch.allclose(found[row].double(), expected, atol=1e-5)
            nothing = plain_projection(w, w["cls_embedding.uncond_embedding"])
            expected = plain_logits(w, nothing, mask, tokens[row])
            assert torch.allclose(found[3 + row].double(), expected, atol=1e-5)
    assert {int(it) for it in condition.mask.sum(dim=1)} == {2, 4}


def test_it_keeps_the_contract_of_token_policies(policy):
    assert isinstance(policy, TokenPolicy)
    check_token_policy(policy, tuple(prompts_of(policy)))
    assert (policy.num_tokens, policy.vocabulary) == (T, VOCABULARY)
    images = policy.decode(some_tokens())
    assert images.shape == (3, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    assert policy.image_size == IMAGE_SIZE


def test_reading_tokens_one_by_one_on_the_cache_finds_the_states_of_reading_all_at_once(policy):
    tokens = some_tokens(6)
    with torch.no_grad():
        condition = policy.beside_none(policy.encode(prompts_of(policy)))
        together = policy.hidden(tokens, condition)
        reading = policy.begin(condition)
        for place in range(T):
            assert torch.allclose(reading.hidden, together[:, place], atol=1e-4)
            reading.read(tokens[:, place])
    assert together.std() > 0.1


def test_drawn_tokens_are_as_likely_when_they_are_scored(policy):
    condition, keys = policy.encode(prompts_of(policy)), [("image", row) for row in range(3)]
    sampling = Sampling(guidance=2.0, temperature=1.3, top_k=15)
    drawn = draw_tokens(policy, condition, uniforms_for(keys, T), sampling)
    with torch.no_grad():
        scored = score_tokens(policy, drawn.tokens, condition, sampling=sampling)
    assert torch.allclose(drawn.log_probs, scored.log_probs, atol=1e-4)


def test_a_row_does_not_depend_on_its_batch(policy):
    tokens, condition = some_tokens(), policy.encode(prompts_of(policy))
    with torch.no_grad():
        together = policy.hidden(tokens, condition)
        for row in range(3):
            alone = policy.hidden(tokens[row : row + 1], policy.encode(prompts_of(policy)[row : row + 1]))
            assert torch.allclose(alone[0], together[row], atol=1e-5)
        turned_round = policy.hidden(tokens[[2, 0]], condition[[2, 0]])
    assert torch.allclose(turned_round, together[[2, 0]], atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_padding_does_not_matter(by_caption):
    tokens = some_tokens(1)
    padded = by_caption.encode(["star"])
    count = int(padded.mask.sum())
    bare = MaskedStates(states=padded.states[:, -count:], mask=padded.mask[:, -count:])
    other = MaskedStates(
        states=torch.where(padded.mask[..., None] == 1, padded.states, torch.full_like(padded.states, 7.0)),
        mask=padded.mask,
    )
    w = llama_weights(captions=True)
    expected = plain_logits(w, plain_projection(w, bare.states[0]), [1] * count, tokens[0])
    with torch.no_grad():
        for condition in (padded, other):
            assert torch.allclose(
                by_caption.logits(by_caption.hidden(tokens, condition))[0].double(), expected, atol=1e-5
            )
    assert count < PREFIX


def test_a_caption_stands_at_the_end_of_its_places_behind_zeros():
    states = torch.arange(1.0, 9.0).reshape(2, 4, 1)
    found = padded_before(states, torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]))
    assert found.states.squeeze(-1).tolist() == [[0, 0, 1, 2], [5, 6, 7, 8]]
    assert found.mask.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]


def test_asked_for_nothing_are_the_rows_that_the_caller_drops(policy):
    condition = policy.encode(prompts_of(policy))
    drop = torch.tensor([False, True, False])
    some, both = policy.asking_nothing(condition, drop), policy.beside_none(condition)
    tokens = some_tokens()
    with torch.no_grad():
        pairs = policy.hidden(tokens.repeat(2, 1), both)
        found = policy.hidden(tokens, some)
    assert torch.allclose(found[[0, 2]], pairs[:3][[0, 2]], atol=1e-6)
    assert torch.allclose(found[1], pairs[4], atol=1e-6)
    assert not torch.allclose(pairs[1], pairs[4], atol=1e-2)


def test_gradients_reach_the_transformer_alone_and_only_if_it_is_trained(policy):
    condition, tokens = policy.encode(prompts_of(policy)), some_tokens()
    assert not policy.logits(policy.hidden(tokens, condition)).requires_grad
    policy.transformer.requires_grad_(True)
    policy.logits(policy.hidden(tokens, condition)).square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in policy.transformer.parameters())
    others = [policy.image_tokenizer] + ([policy.text_encoder] if policy.text_encoder is not None else [])
    assert all(weight.grad is None for network in others for weight in network.parameters())


def test_recomputing_activations_runs_the_layers_again_and_changes_no_gradient(policy):
    condition, tokens, found, runs = policy.encode(prompts_of(policy)), some_tokens(), [], []
    policy.transformer.layers[0].register_forward_pre_hook(lambda *_: runs.append(policy.transformer.checkpointing))
    policy.transformer.requires_grad_(True)
    for enabled in (False, True):
        policy.use_checkpointing(enabled)
        loss = policy.logits(policy.hidden(tokens, condition)).square().sum()
        found.append(torch.autograd.grad(loss, policy.transformer.layers[0].attention.wqkv.weight)[0])
    assert torch.allclose(*found)
    assert runs == [False, True, True]


def test_a_training_that_told_everything_still_drops_nothing(policy):
    condition, tokens = policy.encode(prompts_of(policy)), some_tokens()
    with torch.no_grad():
        before = policy.hidden(tokens, condition)
        policy.transformer.train()
        assert torch.equal(policy.hidden(tokens, condition), before)


def test_rotary_turns_by_hand():
    turns = rotary_turns(2, 8, prefix=1)
    assert turns.shape == (5, 4, 2)
    assert turns[0].abs().sum() == 0
    slow = 10000**-0.5
    # Row 1, column 0: the first two pairs turn, by 1 and by a hundredth; the others rest.
    expected = [[math.cos(1), math.sin(1)], [math.cos(slow), math.sin(slow)], [1, 0], [1, 0]]
    assert torch.allclose(turns[3], torch.tensor(expected))
    # Row 0, column 1: the other way round.
    assert torch.allclose(turns[2], torch.tensor([expected[2], expected[3], expected[0], expected[1]]))
    pair = turned(torch.tensor([1.0, 0.0, 0.0, 1.0]).reshape(1, 1, 1, 4), torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]))
    assert pair.flatten().tolist() == [0.0, 1.0, -1.0, 0.0]


@pytest.mark.parametrize(
    ("dim", "layers", "heads", "millions"),
    [(768, 12, 12, 111), (1024, 24, 16, 343), (1280, 36, 20, 775), (1536, 48, 24, 1411), (3200, 24, 32, 3096)],
)
def test_the_published_sizes_have_their_published_numbers_of_parameters(dim, layers, heads, millions):
    sizes = LlamaSizes(dim=dim, layers=layers, heads=heads, hidden=feed_forward_width(dim), classes=1000)
    with torch.device("meta"):
        found = sum(weight.numel() for weight in LlamaTransformer(sizes).parameters()) / 1e6
    assert found == pytest.approx(millions, rel=0.01)


def test_classes_are_found_by_name_and_by_number_in_any_case():
    policy = small_policy(class_names=["red circle", "blue star", "7", "ring", "heart"])
    assert policy.encode(["Blue  Star", "0", "7", "4"]).labels.tolist() == [1, 0, 2, 4]
    with pytest.raises(UnknownName, match="no class is called 'blue stars'; the nearest are 'blue star'"):
        policy.encode(["blue stars"])
    with pytest.raises(UnknownName, match="no class 5; this model knows the classes 0 to 4"):
        policy.encode(["5"])
    with pytest.raises(UnknownName, match="by number alone, 0 to 4"):
        small_policy().encode(["blue star"])
    with pytest.raises(BadConfig, match="5 classes need as many different names, got 1"):
        small_policy(class_names=["ring"])


def test_a_start_for_a_training_is_drawn_from_its_own_stream_and_says_nothing_yet():
    one, other = (LlamaTransformer(small_policy().transformer.sizes) for _ in range(2))
    for made in (one, other):
        made.draw_weights(torch.Generator().manual_seed(4))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert one.output.weight.abs().sum() == 0
    assert one.tok_embeddings.weight.std().item() == pytest.approx(0.02, rel=0.2)
