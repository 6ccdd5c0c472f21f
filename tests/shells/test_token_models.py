"""Models that draw token by token, wherever the command line takes a model."""

import json
import sys
from pathlib import Path

import pytest
import torch

from plaudit.core.errors import BadConfig
from plaudit.core.picture_files import read_image
from plaudit.generators.llamagen_files import load_llamagen, save_llamagen
from plaudit.generators.table import GENERATORS, load_generator
from plaudit.generators.token_generator import TokenGenerator
from plaudit.generators.token_policy import Sampling
from plaudit.shells.cli import main
from plaudit.shells.drawing import sampling_for
from plaudit.shells.fitting import fit_memory
from plaudit.shells.options import DrawingOptions

sys.path.append(str(Path(__file__).parents[1] / "generators"))

from tiny_token_models import small_policy

CLASSES = ("a red circle", "a blue ring", "a green star", "a pink heart", "a cyan cross")
DARK = """
class Dark:
    differentiable = True

    def __call__(self, images, prompts):
        return -images.mean(dim=(1, 2, 3))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny-llamagen")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        policy = small_policy(CLASSES)
        # Sure enough of itself that guidance and temperature show.
        policy.transformer.output.weight.data *= 8
        save_llamagen(policy, folder)
    return str(folder)


@pytest.fixture
def drawn(model, tmp_path, capsys):
    (tmp_path / "dark.py").write_text(DARK)

    def run(name, *more, prompts=("a red circle", "a cyan cross")):
        out = tmp_path / name
        line = ["generate", *prompts, "--model", model, "--reward", f"{tmp_path / 'dark.py'}:Dark", "--device", "cpu"]
        code = main([*line, "--out", str(out), "--json", *more])
        said = capsys.readouterr()
        return code, json.loads(said.out) if code == 0 else None, said.err

    return run


def pictures(made):
    return torch.stack([read_image(Path(image["file"])) for image in made["images"]])


@pytest.mark.parametrize("method", ["none", "best-of-n", "evolve"])
def test_every_method_without_a_gradient_draws_with_one(drawn, method):
    code, made, said = drawn("run", "--method", method, "--steps", "40", "--images-per-prompt", "3")
    assert (code, said) == (0, "")
    gains = [image["total"] - image["first_total"] for image in made["images"]]
    assert min(gains) >= 0
    assert (max(gains) > 0) is (method != "none")


def test_where_no_method_is_said_the_best_of_many_is_taken_and_told_in_a_line(drawn):
    code, made, said = drawn("run", "--steps", "6")
    assert code == 0
    assert made["settings"]["method"] == "best-of-n"
    assert len(said.strip().splitlines()) == 1
    assert "there is no gradient to follow: the best of --steps pictures is taken (--method best-of-n)" in said
    same = drawn("again", "--steps", "6", "--method", "best-of-n")[1]
    assert torch.equal(pictures(made), pictures(same))


def test_following_a_gradient_is_refused_in_a_sentence_before_anything_is_written(drawn, tmp_path):
    code, _, said = drawn("run", "--method", "reno")
    assert code == 1
    assert len(said.strip().splitlines()) == 1
    assert "--method reno follows gradients, and none reaches the noise of" in said
    assert "take --method best-of-n or evolve" in said
    assert not (tmp_path / "run").exists()


def test_the_usual_method_of_other_models_is_still_reno(sd_folder, tmp_path, capsys):
    line = ["generate", "a red circle", "--model", str(sd_folder), "--reward", "compressibility", "--device", "cpu"]
    assert main([*line, "--out", str(tmp_path / "run")]) == 1
    assert "noise optimisation follows gradients, and the reward 'compressibility' has none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--guidance", "3"], {"guidance": 3.0}),
        (["--temperature", "0.25"], {"temperature": 0.25}),
        (["--top-k", "1"], {"top_k": 1}),
        (["--top-p", "0.3"], {"top_p": 0.3}),
    ],
)
def test_sampling_flags_change_pictures_are_recorded_and_repeated_from_a_picture(drawn, tmp_path, flags, said):
    line = ["--method", "none", "--images-per-prompt", "4", "--reward", "compressibility"]
    plain = pictures(drawn("plain", *line)[1])
    _, made, _ = drawn("said", *line, *flags)
    assert not torch.equal(pictures(made), plain)
    expected = {"guidance": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0} | said
    recorded = json.loads((tmp_path / "said" / "run.json").read_text())["settings"]
    assert {name: recorded[name] for name in expected} == expected
    for image in made["images"][:2]:
        assert main(["generate", "--from-image", image["file"], "--out", str(tmp_path / f"again{image['row']}")]) == 0
        (again,) = (tmp_path / f"again{image['row']}" / "images").iterdir()
        assert torch.equal(read_image(again), read_image(Path(image["file"])))


def test_as_drawn_as_the_generator_draws(drawn, model):
    from plaudit.core.random_streams import noise_for

    made = drawn("run", "--method", "none", "--guidance", "2.5", "--top-k", "4")[1]
    generator = TokenGenerator(load_llamagen(model), Sampling(guidance=2.5, top_k=4))
    noise = noise_for([(0, prompt, 0) for prompt in range(2)], generator.noise_shape)
    expected = generator.sample(noise, generator.encode(["a red circle", "a cyan cross"]))
    torch.testing.assert_close(pictures(made), expected, atol=0.51 / 255, rtol=0)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--temperature", "0"], "temperature must be a positive number, got 0.0"),
        (["--top-k", "-1"], "top_k must be at least 0"),
        (["--top-p", "0"], "top_p is a share above 0 and up to 1"),
        (["--sampling-steps", "4"], "draws a picture token by token and takes no sampling steps; leave them out"),
        (["--memory", "8"], "the memory of such models is not planned yet; leave it out"),
    ],
)
def test_what_cannot_be_of_tokens_is_one_sentence(drawn, flags, says):
    code, _, said = drawn("run", "--method", "none", *flags)
    assert code == 1
    assert len(said.strip().splitlines()) == 1
    assert says in said


def test_a_class_that_there_is_not_is_one_sentence(drawn):
    code, _, said = drawn("run", "--method", "none", prompts=("a fox",))
    assert code == 1
    assert "no class is called 'a fox'; the nearest are" in said


@pytest.mark.parametrize("flag", ["--guidance", "--temperature", "--top-k", "--top-p"])
@pytest.mark.parametrize("command", [["generate", "a red circle"], ["evaluate", "pocket"]])
def test_models_without_tokens_refuse_their_flags(command, flag, sd_folder, tmp_path, capsys):
    line = [*command, "--model", str(sd_folder), "--method", "none", flag, "1", "--out", str(tmp_path / "run")]
    assert main(line) == 1
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert (
        f"{flag} is for models that draw token by token, and {str(sd_folder)!r} draws from noise; leave it out" in said
    )


def test_a_row_says_how_it_is_sampled_and_flags_go_over_it():
    from plaudit.generators.tuned import choose

    def sampling(**said):
        return sampling_for(DrawingOptions(**said), choose(said["model"]))

    assert sampling(model="pocket-llamagen") == Sampling(guidance=GENERATORS.find("pocket-llamagen").facts["guidance"])
    assert sampling(model="llamagen-t2i-xl-256") == Sampling(guidance=7.5, top_k=1000)
    assert sampling(model="llamagen-t2i-xl-256", top_k=0, temperature=0.5) == Sampling(guidance=7.5, temperature=0.5)
    assert sampling(model="pocket-turbo") is None


def test_a_pocket_row_loads_its_folder_with_its_guidance(model, monkeypatch):
    monkeypatch.setattr("plaudit.pocket.folders.pocket_folder", lambda _: Path(model))
    for name in ("pocket-llamagen", "pocket-llamagen-t2i"):
        generator = load_generator(name, dtype=torch.bfloat16)
        assert isinstance(generator, TokenGenerator)
        assert generator.sampling == Sampling(guidance=GENERATORS.find(name).facts["guidance"])
        assert generator.policy.transformer.norm.weight.dtype == torch.bfloat16
    assert load_generator(model).sampling == Sampling()


def test_check_runs_the_contract_of_tokens(model, tmp_path, capsys):
    assert main(["check", "model", model, "--device", "cpu"]) == 0
    assert "keeps the contract of a model" in capsys.readouterr().out
    policy = load_llamagen(model)
    policy.transformer.output.weight.data[0] = torch.nan
    save_llamagen(policy, tmp_path / "broken")
    assert main(["check", "model", str(tmp_path / "broken"), "--device", "cpu"]) == 1
    assert "log-probabilities must be finite" in capsys.readouterr().err


def test_check_does_not_guide_what_cannot_be_guided(tmp_path, capsys):
    from tiny_token_models import vqgan_weights

    from plaudit.generators.vqgan import load_published_vqgan, save_vqgan

    torch.save({"state_dict": vqgan_weights()}, tmp_path / "last.ckpt")
    save_vqgan(load_published_vqgan(tmp_path / "last.ckpt", classes=5), tmp_path / "vqgan")
    assert main(["check", "model", str(tmp_path / "vqgan"), "--device", "cpu"]) == 0
    line = ["generate", "0", "--model", str(tmp_path / "vqgan"), "--method", "none", "--reward", "compressibility"]
    capsys.readouterr()
    assert main([*line, "--guidance", "2", "--out", str(tmp_path / "run")]) == 1
    assert "VQGAN was taught no way to be asked for nothing, so it draws without guidance (1) only, got 2" in (
        capsys.readouterr().err
    )


def test_evaluate_draws_with_what_reads_its_prompts(tmp_path, capsys, monkeypatch):
    """A model of captions; its sampling decides the verdicts, and so is among the settings."""
    from tiny_t5 import make_t5
    from tiny_token_models import CAPTION_DIM, PREFIX

    from plaudit.generators.llama_transformer import LlamaSizes, LlamaTransformer
    from plaudit.generators.llamagen import LlamaGen

    sizes = {"dim": 16, "layers": 1, "heads": 2, "hidden": 24, "vocabulary": 12, "grid": 2}
    transformer = LlamaTransformer(LlamaSizes(**sizes, caption_dim=CAPTION_DIM, prefix=PREFIX))
    transformer.cls_embedding.uncond_embedding.normal_()
    captions = LlamaGen(transformer, small_policy().image_tokenizer, text=make_t5(width=CAPTION_DIM))
    # The judge reads scenes of 64 x 64 pixels.
    decode = LlamaGen.decode
    monkeypatch.setattr(
        LlamaGen, "decode", lambda *given: decode(*given).repeat_interleave(16, 2).repeat_interleave(16, 3)
    )
    save_llamagen(captions, tmp_path / "captions")
    line = ["evaluate", "pocket", "--model", str(tmp_path / "captions"), "--prompts", "6", "--images-per-prompt", "1"]
    line += ["--device", "cpu", "--out", str(tmp_path / "scores")]
    assert main([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 6
    settings = json.loads((tmp_path / "scores" / "evaluation.json").read_text())["settings"]
    assert (settings["guidance"], settings["method"]) == (1.0, "none")
    assert main([*line, "--guidance", "2"]) == 1
    assert "holds an evaluation with another guidance" in capsys.readouterr().err


def test_models_are_listed_with_their_kind(capsys):
    assert main(["list", "models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    for name in ("pocket-llamagen", "pocket-llamagen-t2i"):
        assert (rows[name]["kind"], rows[name]["image_size"], rows[name]["plays"]) == ("tokens", 64, "LlamaGen")


def test_a_plan_says_that_there_is_none_for_tokens(model, capsys):
    for name in ("pocket-llamagen", "llamagen-l-256", model):
        assert main(["doctor", "--plan", name]) == 1
        assert f"{name!r} draws token by token, and the memory of such models is not planned yet" in (
            capsys.readouterr().err
        )


def test_on_a_gpu_the_missing_plan_is_said_once(model, capsys):
    from plaudit.generators.tuned import choose

    options = DrawingOptions(model=model, reward=("compressibility",))
    assert fit_memory(options, choose(model), torch.device("cuda")) is None
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert "the memory of such models is not planned yet; take fewer images at once with --batch-size" in said
    assert fit_memory(options, choose(model), torch.device("cpu")) is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", [["check", "model"], ["generate", "a red ring", "--method", "none", "--model"]])
def test_what_is_not_built_says_how_to_build_it(command, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("plaudit.pocket.folders.WEIGHTS", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main([*command, "pocket-llamagen"]) == 1
    said = capsys.readouterr().err
    assert "'pocket-llamagen' is not in this installation; build it with: plaudit pocket build pocket-llamagen" in said


def test_nothing_is_fetched_for_the_pocket_rows(capsys):
    assert main(["fetch", "pocket-llamagen", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fetched"][0]["repositories"] == []


def test_a_lora_of_another_kind_is_not_laid_over_tokens(model, tmp_path):
    from safetensors.torch import save_file

    file = tmp_path / "pytorch_lora_weights.safetensors"
    save_file({"unet.a.lora_A.weight": torch.zeros(1, 1)}, file)
    with pytest.raises(BadConfig, match="is of a model that draws from noise, and cannot be laid over one that draws"):
        load_generator(model, lora=file)
