"""Janus against transformers' own, token by token; and what is special to it."""

import copy
import json
import math

import pytest
import torch
from tiny_janus import CODES, GRID, MAX_WORDS, PLAIN, SIDE, load_tiny, make_network, make_tokenizer, save_janus_folder
from transformers import GenerationConfig

from plaudit.core.errors import BadConfig
from plaudit.generators import janus_reading
from plaudit.generators.janus import Janus, squared
from plaudit.generators.janus_files import load_janus, save_janus
from plaudit.generators.janus_reading import JanusReading, positions_of
from plaudit.generators.plan_check import check_plan_policy
from plaudit.generators.plan_policy import PlanPolicy, Texts, followed_by, with_begin
from plaudit.generators.plan_rollout import draw_responses, score_responses
from plaudit.generators.plan_training import frozen_plan_start
from plaudit.generators.plan_words import PlanSettings, PlanWords
from plaudit.generators.token_check import check_token_policy
from plaudit.generators.token_policy import Sampling, TokenPolicy
from plaudit.generators.token_rollout import draw_tokens, score_tokens, uniforms_for
from plaudit.generators.trained_part import train_all

PROMPTS = ["a red circle", "two blue squares left of a white ring", "a star"]
GREEDY = Sampling(top_k=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_janus_folder(tmp_path_factory.mktemp("janus") / "tiny")


@pytest.fixture
def policy(folder):
    return load_janus(folder)


def uniforms(policy, rows=3, first=0):
    return uniforms_for([(0, first + row) for row in range(rows)], policy.max_words + policy.num_tokens)


def greedy(policy, condition, guidance=1.0, plans=None):
    image = Sampling(top_k=1, guidance=guidance)
    return draw_responses(policy, condition, uniforms(policy, len(condition)), words=GREEDY, image=image, plans=plans)


def test_a_folder_in_the_published_layout_is_a_plan_policy(policy):
    assert isinstance(policy, PlanPolicy)
    assert isinstance(policy.direct, TokenPolicy)
    assert (policy.num_tokens, policy.vocabulary, policy.image_size) == (GRID * GRID, CODES, SIDE)
    assert not any(weight.requires_grad for weight in policy.network.parameters())


def test_the_contract_is_kept_with_plans_and_without(policy):
    check_plan_policy(policy)
    check_token_policy(policy.direct, tuple(PROMPTS))


@pytest.mark.parametrize("sizes", [{"kv_heads": 2}, {"tied": True}], ids=str)
def test_the_contract_is_kept_with_shared_heads_and_with_a_head_tied_to_the_words(tmp_path, sizes):
    check_plan_policy(load_tiny(tmp_path / "j", **sizes))


@pytest.mark.parametrize("guidance", [2.5, 5.0])
def test_pictures_are_token_by_token_those_of_transformers(policy, guidance):
    """With prompts of different lengths, so with padding; the library's own guidance."""
    texts = with_begin(policy, policy.direct.encode(PROMPTS))
    theirs = policy.network.generate(
        texts.ids, attention_mask=texts.mask.long(), generation_mode="image", do_sample=False, guidance_scale=guidance
    )
    condition = policy.direct.encode(PROMPTS)
    ours = draw_tokens(policy.direct, condition, uniforms(policy)[:, MAX_WORDS:], Sampling(top_k=1, guidance=guidance))
    assert ours.tokens.tolist() == theirs.tolist()
    assert len({tuple(row) for row in theirs.tolist()}) == 3, "the prompts matter"
    plans = policy.words_of(["", "", ""])
    assert greedy(policy, condition, guidance, plans).tokens.tolist() == theirs.tolist()


def test_pictures_after_plans_are_those_of_transformers(policy):
    plans = policy.words_of(["a green star", "", "the ring is on the left"])
    condition = policy.encode(PROMPTS)
    texts = followed_by(condition, *plans)
    theirs = policy.network.generate(
        texts.ids, attention_mask=texts.mask.long(), generation_mode="image", do_sample=False, guidance_scale=3.0
    )
    assert greedy(policy, condition, 3.0, plans).tokens.tolist() == theirs.tolist()


def test_plans_are_word_by_word_what_transformers_writes(policy):
    condition = policy.encode(PROMPTS)
    banned = (~policy.writable).nonzero().flatten().tolist()
    theirs = policy.network.generate(
        condition.ids, attention_mask=condition.mask.long(), do_sample=False, max_new_tokens=MAX_WORDS - 1,
        suppress_tokens=banned, eos_token_id=policy.begin_of_image, pad_token_id=policy.begin_of_image,
    )[:, condition.ids.shape[1] :]  # fmt: skip
    ours = greedy(policy, condition)
    assert ours.words[:, : theirs.shape[1]].tolist() == theirs.tolist()
    assert len({tuple(row) for row in theirs.tolist()}) == 3


def test_the_whole_response_at_once_has_the_librarys_logits(policy):
    response = draw_responses(policy, policy.encode(PROMPTS), uniforms(policy), words=Sampling(), image=Sampling())
    texts = followed_by(policy.encode(PROMPTS), response.words, response.written)
    states = policy.states(texts, response.tokens)
    network, start = policy.network, texts.ids.shape[1]
    rows = torch.cat(
        [
            network.get_input_embeddings()(texts.ids),
            network.prepare_embeddings_for_image_generation(response.tokens[:, :-1]),
        ],
        dim=1,
    )
    seen = torch.cat([texts.mask, torch.ones_like(response.tokens[:, :-1], dtype=torch.bool)], dim=1)
    theirs = network.model.language_model(
        inputs_embeds=rows, attention_mask=seen.long(), position_ids=positions_of(seen)
    ).last_hidden_state
    torch.testing.assert_close(states[seen], theirs[seen], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        policy.logits(states[:, start - 1 :]),
        network.model.generation_head(theirs[:, start - 1 :]),
        atol=1e-3,
        rtol=1e-4,
    )
    logits = network.lm_head(theirs[:, start - 2])
    torch.testing.assert_close(
        policy.word_logits(states[:, start - 2])[:, policy.writable], logits[:, policy.writable], atol=1e-3, rtol=1e-4
    )


def test_pictures_are_decoded_as_transformers_decodes_them(policy):
    tokens = torch.randint(CODES, (2, GRID * GRID), generator=torch.Generator().manual_seed(0))
    theirs = policy.network.decode_image_tokens(tokens).permute(0, 3, 1, 2)
    ours = policy.decode(tokens)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, ((theirs + 1) / 2).clamp(0, 1))
    assert ((ours > 0) & (ours < 1)).any()


def test_images_are_encoded_by_the_direction_of_their_vectors(policy):
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    before = policy.encode_images(images)
    assert before.shape == (2, GRID * GRID)
    coder = policy.image_tokenizer
    with torch.no_grad():
        vectors = coder.quant_conv(coder.encoder(2 * images - 1)).permute(0, 2, 3, 1).flatten(1, 2)
    codes = coder.quantize.embedding.weight
    by_hand = torch.nn.functional.cosine_similarity(vectors[:, :, None], codes[None, None], dim=-1).argmax(-1)
    assert before.tolist() == by_hand.tolist()
    coder.quantize.embedding.weight.data *= torch.rand(CODES, 1) + 0.5
    assert torch.equal(policy.encode_images(images), before), "a code's length says nothing, as when it is decoded"


def test_of_oblong_images_the_middle_is_encoded(policy):
    images = torch.rand(1, 3, SIDE, 2 * SIDE, generator=torch.Generator().manual_seed(1))
    middle = images[..., SIDE // 2 : SIDE // 2 + SIDE]
    assert torch.equal(squared(images, SIDE), middle)
    assert torch.equal(policy.encode_images(images), policy.encode_images(middle))


def test_the_row_that_asks_for_nothing_keeps_two_signs_mask_and_places(policy):
    condition = followed_by(policy.encode(PROMPTS[:2]), *policy.words_of(["a star", "red"]))
    none = policy.asking_nothing(condition)
    assert torch.equal(none.mask, condition.mask)
    for ids, kept, mask in zip(condition.ids, none.ids, condition.mask, strict=True):
        signs = (ids == policy.words.begin) | (ids == policy.begin_of_image)
        assert torch.equal(kept[signs], ids[signs])
        assert set(kept[mask & ~signs].tolist()) == {policy.words.padding}
        assert int((signs & mask).sum()) == 2
    some = policy.asking_nothing(condition, torch.tensor([False, True]))
    assert torch.equal(some.ids[0], condition.ids[0])
    assert torch.equal(some.ids[1], none.ids[1])


def test_a_guided_row_that_waits_reads_its_nothing_with_the_same_gap(policy):
    """Alone, a short plan has no gap before begin-of-image; beside a longer one it has."""
    image = Sampling(guidance=3.0)
    condition = policy.encode(PROMPTS)
    together = draw_responses(policy, condition, uniforms(policy), words=Sampling(), image=image)
    lengths = together.written.sum(dim=1).tolist()
    assert len(set(lengths)) > 1, "or there is no gap"
    for row in range(3):
        alone = draw_responses(policy, condition[[row]], uniforms(policy)[[row]], words=Sampling(), image=image)
        assert torch.equal(alone.words[0], together.words[row])
        assert torch.equal(alone.tokens[0], together.tokens[row])
        torch.testing.assert_close(alone.token_log_probs[0], together.token_log_probs[row], atol=1e-4, rtol=1e-4)


def test_the_prompt_is_read_once_and_nothing_again(policy, monkeypatch):
    """Places that the transformer reads: prompts once, each word of a plan and each token once, and no row that waits.

    With guidance, the other half once.
    """
    read, real = [], type(policy.transformer).read

    def counted(network, rows, *rest, **more):
        read.append(tuple(rows.shape[:2]))
        return real(network, rows, *rest, **more)

    monkeypatch.setattr(type(policy.transformer), "read", counted)
    condition = policy.encode(PROMPTS)
    found = draw_responses(policy, condition, uniforms(policy), words=Sampling(), image=Sampling(guidance=2.0))
    plans, before = found.written.sum(dim=1), condition.ids.shape[1]
    longest = int((condition.mask.sum(dim=1) + plans).max())
    going = [int((plans > place).sum()) for place in range(1, int(plans.max()))]
    assert min(going) < 3, "or no plan ends before another"
    wanted = [(3, before), *[(rows, 1) for rows in going], (3, 1), (3, longest), *[(6, 1)] * (policy.num_tokens - 1)]
    assert read == wanted


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_rows_that_go_on_in_groups_draw_the_same(policy, monkeypatch, guidance):
    condition = policy.encode(PROMPTS * 3)
    given = (policy, condition, uniforms(policy, rows=9))
    together = draw_responses(*given, words=Sampling(), image=Sampling(guidance=guidance))
    assert len(set(together.written.sum(dim=1).tolist())) > 2
    monkeypatch.setattr(janus_reading, "ALIKE", 2)
    apart = draw_responses(*given, words=Sampling(), image=Sampling(guidance=guidance))
    assert torch.equal(apart.words, together.words)
    assert torch.equal(apart.tokens, together.tokens)
    torch.testing.assert_close(apart.token_log_probs, together.token_log_probs, atol=1e-4, rtol=1e-4)


def test_caches_are_as_large_as_needed_and_never_move(policy):
    prompts = policy.encode(PROMPTS)
    reading = JanusReading(policy, prompts, guided=True, words=MAX_WORDS)
    heads, width = 4, 8
    before, longest = prompts.ids.shape[1], int(prompts.mask.sum(dim=1).max()) + MAX_WORDS - 1
    text = reading._cache._kept
    assert [kept.shape for kept in text] == [(2, 3, heads, before + MAX_WORDS - 1, width)] * 2
    addresses = [kept.data_ptr() for kept in text]
    for number in range(MAX_WORDS - 1):
        reading.read_words(torch.tensor([8, 9, 10]), torch.tensor([True, True, number < 2]))
    assert [kept.data_ptr() for kept in reading._cache._kept] == addresses
    assert reading._place == text[0].shape[3]
    reading.begin_picture()
    assert not reading._cache._kept, "handed over"
    (group,) = reading._groups
    picture = group.cache._kept
    assert [kept.shape for kept in picture] == [(2, 6, heads, longest + policy.num_tokens, width)] * 2
    addresses = [kept.data_ptr() for kept in picture]
    for _ in range(policy.num_tokens - 1):
        reading.read(torch.zeros(6, dtype=torch.int64))
    assert [kept.data_ptr() for kept in picture] == addresses
    assert group.texts.ids.shape[1] + reading._place == picture[0].shape[3]


def test_gradients_reach_both_heads_and_no_tower(policy):
    train_all(policy.transformer)
    condition = policy.encode(PROMPTS)
    response = draw_responses(policy, condition, uniforms(policy), words=Sampling(), image=Sampling())
    scored = score_responses(policy, response, condition)
    (scored.words.log_probs.sum() + scored.tokens.log_probs.sum()).backward()
    without = [name for name, weight in policy.transformer.named_parameters() if not bool(weight.grad.abs().sum() > 0)]
    assert without == []
    trained = {id(weight) for weight in policy.transformer.parameters()}
    rest = [weight for weight in policy.network.parameters() if id(weight) not in trained]
    assert rest
    assert all(weight.grad is None for weight in rest)


def test_recomputing_changes_no_gradient(policy):
    train_all(policy.transformer)
    condition = policy.encode(PROMPTS)
    response = draw_responses(policy, condition, uniforms(policy), words=Sampling(), image=Sampling())
    gradients = []
    for recompute in (False, True):
        policy.use_checkpointing(recompute)
        scored = score_responses(policy, response, condition)
        total = scored.words.log_probs.sum() + scored.tokens.entropies.sum()
        gradients.append(torch.autograd.grad(total, list(policy.transformer.language_model.parameters())))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_a_frozen_start_stays_what_the_policy_was(policy):
    condition = policy.encode(PROMPTS)
    response = draw_responses(policy, condition, uniforms(policy), words=Sampling(), image=Sampling())
    before = score_responses(policy, response, condition)
    start = frozen_plan_start(policy)
    train_all(policy.transformer)
    with torch.no_grad():
        for weight in policy.transformer.parameters():
            weight.mul_(1.1)
    after, kept = score_responses(policy, response, condition), score_responses(start, response, condition)
    assert torch.equal(kept.words.log_probs, before.words.log_probs)
    assert torch.equal(kept.tokens.log_probs, before.tokens.log_probs)
    assert not torch.allclose(after.words.log_probs, before.words.log_probs)
    assert not kept.words.log_probs.requires_grad
    direct = [score_tokens(it.direct, response.tokens, condition).log_probs.detach() for it in (policy, start)]
    assert not torch.allclose(*direct), "what it draws without a plan is its own too"


def test_in_bfloat16_weights_it_draws_and_scores(folder):
    policy = load_janus(folder, dtype=torch.bfloat16)
    condition = policy.encode(PROMPTS)
    response = draw_responses(policy, condition, uniforms(policy), words=Sampling(), image=Sampling(guidance=2.0))
    scored = score_responses(policy, response, condition, image=Sampling(guidance=2.0))
    assert scored.tokens.log_probs.dtype == scored.words.log_probs.dtype == torch.float32
    assert float((scored.tokens.log_probs - response.token_log_probs).abs().mean()) < 0.5
    assert policy.decode(response.tokens).dtype == torch.float32


def test_a_saved_janus_is_the_same_and_transformers_reads_it_whole(policy, tmp_path):
    from transformers import JanusForConditionalGeneration

    with torch.no_grad():
        policy.transformer.generation_head.vision_head.bias[3] = 4.0
    start = frozen_plan_start(policy)
    with torch.no_grad():
        start.transformer.generation_head.vision_head.bias[3] = 5.0
    save_janus(start, tmp_path / "saved")
    again = load_janus(tmp_path / "saved")
    assert float(again.transformer.generation_head.vision_head.bias[3]) == 5.0, "what is saved is the policy's own"
    assert again.words.settings == policy.words.settings
    assert again.normal == policy.normal
    response, same = (greedy(it, it.encode(PROMPTS), 2.0) for it in (start, again))
    assert torch.equal(response.tokens, same.tokens)
    _, report = JanusForConditionalGeneration.from_pretrained(str(tmp_path / "saved"), output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


def test_what_was_built_and_saved_here_is_drawn_by_transformers_too(tmp_path):
    network = make_network()
    network.generation_config = GenerationConfig()
    count = network.config.text_config.vocab_size
    built = Janus(network, PlanWords(make_tokenizer(), PLAIN, said={}, count=count))
    save_janus(built, tmp_path / "saved")
    policy = load_janus(tmp_path / "saved")
    texts = with_begin(policy, policy.direct.encode(PROMPTS))
    theirs = policy.network.generate(
        texts.ids, attention_mask=texts.mask.long(), generation_mode="image", do_sample=False, guidance_scale=2.0
    )
    plans = policy.words_of(["", "", ""])
    assert greedy(built, built.direct.encode(PROMPTS), 2.0, plans).tokens.tolist() == theirs.tolist()


def test_a_tied_head_is_saved_once_and_stays_tied(tmp_path):
    policy = load_tiny(tmp_path / "tied", tied=True)
    assert policy.transformer.lm_head is None
    save_janus(policy, tmp_path / "saved", dtype=torch.float16)
    again = load_janus(tmp_path / "saved")
    assert again.transformer.lm_head is None
    assert again.transformer.language_model.embed_tokens.weight.dtype == torch.float32
    start = frozen_plan_start(policy)
    assert start.transformer.language_model.embed_tokens is not policy.transformer.language_model.embed_tokens
    condition = policy.encode(PROMPTS)
    assert torch.equal(greedy(start, condition).words, greedy(policy, condition).words)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("config.json", "has no config.json"),
        ("tokenizer.json", "has no tokenizer.json"),
        ("model.safetensors", "cannot be read"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused_in_one_sentence(tmp_path, lost, said):
    folder = save_janus_folder(tmp_path / "j")
    (folder / lost).unlink()
    with pytest.raises(BadConfig, match=said):
        load_janus(folder)


def test_missing_weights_and_pickles_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_janus_folder(tmp_path / "j")
    weights = load_file(folder / "model.safetensors")
    del weights["model.generation_head.proj_out.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadConfig, match=r"1 weights of a Janus are missing, model.generation_head.proj_out.weight"):
        load_janus(folder)
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(BadConfig, match="cannot be read"):
        load_janus(folder)


def test_a_model_that_cannot_read_so_far_is_refused():
    network, tokenizer = make_network(), make_tokenizer()
    words = PlanWords(tokenizer, PlanSettings(max_words=50, max_prompt=10), said={}, count=51)
    with pytest.raises(BadConfig, match="may take 69 places, and this model knows 64"):
        Janus(network, words)


def test_a_place_is_foretold_by_the_state_before_it_and_by_its_own_head(policy):
    """The map from places to heads: words by the words' head, from begin-of-image on tokens by the tokens'."""
    condition = policy.encode(PROMPTS)
    response = draw_responses(policy, condition, uniforms(policy), words=Sampling(), image=Sampling())
    words_head, tokens_head = [], []
    counted = copy.copy(policy)
    counted.word_logits = lambda states: words_head.append(states) or policy.word_logits(states)
    counted.logits = lambda states: tokens_head.append(states) or policy.logits(states)
    scored = score_responses(counted, response, condition)
    count = int(response.written.sum())
    assert sum(states[..., 0].numel() for states in words_head) == count, "no place of a picture, no padding"
    assert sum(states[..., 0].numel() for states in tokens_head) == 3 * policy.num_tokens
    for row in range(3):
        told = condition.ids[row][condition.mask[row]].tolist()
        plan = response.words[row][response.written[row]].tolist()
        length = len(told) + len(plan)
        ids = torch.tensor([told + plan])
        states = policy.states(Texts(ids=ids, mask=ids >= 0), response.tokens[[row]])[0]
        for number, word in enumerate(plan):
            by_hand = policy.word_logits(states[len(told) + number - 1]).log_softmax(0)[word]
            assert math.isclose(float(by_hand), float(scored.words.log_probs[row, number]), abs_tol=1e-4)
        for number, token in enumerate(response.tokens[row].tolist()):
            by_hand = policy.logits(states[length - 1 + number]).log_softmax(0)[token]
            assert math.isclose(float(by_hand), float(scored.tokens.log_probs[row, number]), abs_tol=1e-4)


def test_a_tokenizer_as_the_hub_has_it_is_read_file_by_file(tmp_path, policy):
    """Written by an older release: its class is Llama's, which would rebuild it, and its signs are a mapping."""
    folder = save_janus_folder(tmp_path / "j")
    told = {
        "tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True, "add_eos_token": False, "legacy": True,
        "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "padding_side": "left",
        "extra_special_tokens": {
            "boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_placeholder>"
        },
        "processor_class": "JanusProcessor", "model_max_length": 16384, "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    again = load_janus(folder)
    assert torch.equal(again.encode(PROMPTS).ids, policy.encode(PROMPTS).ids)
    assert torch.equal(again.writable, policy.writable)
    assert (again.words.image, again.words.end_of_image) == (policy.words.image, policy.words.end_of_image)
    assert again.read_words(*again.words_of(["a red star"])) == ["a red star"]


def test_what_the_understanding_tower_is_shown_is_scaled_as_the_folder_says(tmp_path):
    folder = save_janus_folder(tmp_path / "j")
    assert load_janus(folder).normal == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.4, 0.5, 0.6], "size": {}}))
    assert load_janus(folder).normal == ((0.4, 0.5, 0.6), (0.5, 0.5, 0.5))
    for text in ("{", '{"image_std": 3}', '{"image_std": [1]}'):
        (folder / "preprocessor_config.json").write_text(text)
        with pytest.raises(BadConfig, match="image_mean and image_std as three numbers"):
            load_janus(folder)
