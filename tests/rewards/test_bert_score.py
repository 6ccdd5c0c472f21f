"""BERTScore's recall against an independent reading of its formula, on a tiny DeBERTa."""

import json
import math

import pytest
import torch
from tiny_encoders import save_deberta

from plaudit.core.errors import BadConfig
from plaudit.rewards import bert_score
from plaudit.rewards.bert_score import BertScore, TokenVectors, greedy_recall

LAYER = 3
CPU = torch.device("cpu")
CANDIDATES = ["a red star and a blue ring", "The image is a circle", "what is this", "two", "a red star"]
REFERENCES = [f"The image contains {thing}" for thing in ("a red star", "a circle", "three rings", "two", "a red star")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_deberta(tmp_path_factory.mktemp("deberta"))


@pytest.fixture(scope="module")
def texts(folder):
    return BertScore.from_pretrained(folder, layer=LAYER)


def vectors(*rows, counted=None):
    found = torch.tensor(rows)
    counted = [True] * len(rows) if counted is None else counted
    return TokenVectors(vectors=found / found.norm(dim=-1, keepdim=True), counted=torch.tensor(counted))


def read_by_the_paper(folder, candidate, reference):
    """One text at a time through the whole published model, its hidden states, and two loops."""
    from transformers import AutoTokenizer, DebertaForSequenceClassification

    model = DebertaForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def layer_of(text):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            states = model.deberta(ids, output_hidden_states=True).hidden_states
        assert (int(ids[0, 0]), int(ids[0, -1])) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        return states[LAYER][0].double()

    said, wanted = layer_of(candidate), layer_of(reference)[1:-1]
    total = 0.0
    for token in wanted:
        total += max(float(token @ other / (token.norm() * other.norm())) for other in said)
    return total / len(wanted)


def test_recall_is_that_of_the_papers_formula(texts, folder):
    expected = [read_by_the_paper(folder, *pair) for pair in zip(CANDIDATES, REFERENCES, strict=True)]
    assert texts.recall(CANDIDATES, REFERENCES, device=CPU) == pytest.approx(expected, rel=1e-4)
    assert len({round(value, 3) for value in expected}) == len(expected)


def test_recall_by_hand():
    """Of the reference's two words one is there, the other one at 60 degrees; its first mark is not counted."""
    reference = vectors([0.0, -1.0], [1.0, 0.0], [0.5, math.sqrt(0.75)], counted=[False, True, True])
    candidate = vectors([2.0, 0.0], [-1.0, 0.0])
    assert greedy_recall(candidate, reference) == pytest.approx((1 + 0.5) / 2)


def test_it_is_recall_and_not_precision():
    """All of a short reference is in a long candidate, but not the other way round."""
    short, long = vectors([1.0, 0.0]), vectors([1.0, 0.0], [0.0, 1.0])
    assert greedy_recall(long, short) == pytest.approx(1.0)
    assert greedy_recall(short, long) == pytest.approx(0.5)


def test_marks_of_the_candidate_may_be_matched():
    """As in the published code: they weigh nothing, but they are there."""
    candidate = vectors([1.0, 0.0], [0.0, 1.0], counted=[False, True])
    assert greedy_recall(candidate, vectors([1.0, 0.0])) == pytest.approx(1.0)


def test_a_sentence_says_all_of_itself_and_less_of_another(texts):
    same, other = texts.recall([REFERENCES[0]] * 2, [REFERENCES[0], REFERENCES[2]], device=CPU)
    assert same == pytest.approx(1.0, abs=1e-5)
    assert other < 0.99


@pytest.mark.parametrize("nothing", ["", "  \n"])
def test_a_candidate_without_words_scores_nothing(texts, nothing):
    assert texts.recall([nothing, CANDIDATES[0]], REFERENCES[:2], device=CPU)[0] == 0.0


def test_a_text_scores_the_same_alone(texts, monkeypatch):
    together = texts.recall(CANDIDATES, REFERENCES, device=CPU)
    monkeypatch.setattr(bert_score, "TOGETHER", 2)
    texts._kept.clear()
    parts = texts.recall(CANDIDATES, REFERENCES, device=CPU)
    alone = [texts.recall([it], [wanted], device=CPU)[0] for it, wanted in zip(CANDIDATES, REFERENCES, strict=True)]
    assert together == pytest.approx(alone, rel=1e-5)
    assert together == pytest.approx(parts, rel=1e-5)


def test_a_reference_is_encoded_once_and_only_the_latest_are_kept(folder, monkeypatch):
    texts = BertScore.from_pretrained(folder, layer=LAYER)
    read, encode = [], texts._encode
    monkeypatch.setattr(texts, "_encode", lambda given: read.extend(given) or encode(given))
    monkeypatch.setattr(bert_score, "KEPT", 3)
    texts.recall(CANDIDATES, REFERENCES, device=CPU)
    assert sorted(read) == sorted([*set(REFERENCES), *CANDIDATES])
    assert list(texts._kept) == REFERENCES[1:4]
    read.clear()
    texts.recall(CANDIDATES[:1], REFERENCES[3:4], device=CPU)
    assert read == CANDIDATES[:1]


def test_long_texts_are_cut_off(texts, monkeypatch):
    monkeypatch.setattr(bert_score, "LONGEST", 8)
    words = "a red star and " * 20
    cut, short = texts.recall([words, "a red star and a red"], REFERENCES[:1] * 2, device=CPU)
    assert len(texts._encode([words])[0].vectors) == 8
    assert cut == pytest.approx(short, rel=1e-5)


def test_layers_above_are_not_loaded(texts):
    assert len(texts.model.encoder.layer) == LAYER


def test_safetensors_are_read_as_the_pickle_is(texts, tmp_path):
    safe = BertScore.from_pretrained(save_deberta(tmp_path, safe=True), layer=LAYER)
    assert safe.recall(CANDIDATES, REFERENCES, device=CPU) == texts.recall(CANDIDATES, REFERENCES, device=CPU)


def test_a_pickle_of_another_sum_is_not_opened(folder):
    with pytest.raises(BadConfig, match="was not opened: its sha256 is"):
        BertScore.from_pretrained(folder, layer=LAYER, sha256="0" * 64)


@pytest.mark.parametrize(
    ("gone", "sentence"),
    [
        (("config.json",), "is no text encoder"),
        (("vocab.json",), "has no tokenizer"),
        (("pytorch_model.bin",), "has no weights"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused(folder, tmp_path, gone, sentence):
    for file in folder.iterdir():
        if file.name not in gone:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(BadConfig, match=sentence):
        BertScore.from_pretrained(tmp_path, layer=LAYER)


def test_a_layer_that_is_not_there_is_refused(folder):
    with pytest.raises(BadConfig, match="has layers 1 to 4, got 5"):
        BertScore.from_pretrained(folder, layer=5)


def test_weights_that_do_not_fit_are_refused(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 25}))
    with pytest.raises(BadConfig, match=r"does not fit its config\.json"):
        BertScore.from_pretrained(tmp_path, layer=LAYER)
