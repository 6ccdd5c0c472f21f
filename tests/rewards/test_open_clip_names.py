import torch
from published_formats import open_clip_weights, save_clip_settings
from transformers import CLIPConfig, CLIPModel

from plaudit.rewards.open_clip_names import to_open_clip, to_transformers


def test_the_map_is_complete_both_ways(tmp_path):
    config = save_clip_settings(tmp_path)
    model = CLIPModel(CLIPConfig.from_pretrained(str(tmp_path)))
    published = open_clip_weights(config["text_config"]["vocab_size"])
    assert to_transformers(published).keys() == model.state_dict().keys()
    assert to_open_clip(model.state_dict()).keys() == published.keys()


def test_there_and_back_nothing_has_changed():
    published = open_clip_weights(60)
    again = to_open_clip(to_transformers(published))
    assert again.keys() == published.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in published.items())


def test_what_is_kept_differently_is_turned_and_cut():
    published = open_clip_weights(60)
    found = to_transformers(published)
    assert torch.equal(found["visual_projection.weight"], published["visual.proj"].T)
    assert torch.equal(found["text_projection.weight"], published["text_projection"].T)
    layer = "vision_model.encoder.layers.1.self_attn"
    joined = torch.cat([found[f"{layer}.{part}_proj.weight"] for part in "qkv"])
    assert torch.equal(joined, published["visual.transformer.resblocks.1.attn.in_proj_weight"])


def test_a_name_of_neither_stays_as_it_is():
    assert to_transformers({"visual.attn_pool.query": torch.ones(1)}).keys() == {"visual.attn_pool.query"}
