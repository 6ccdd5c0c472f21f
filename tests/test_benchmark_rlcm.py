"""The benchmark of RLCM compares two ways that make the same images and gradient, and says how fast each is."""

import json
import sys
from pathlib import Path

import pytest
import torch
from conftest import save_stable_diffusion

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for name in ("rlcm", "rlcm_published"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import rlcm

    yield rlcm
    for name in ("rlcm", "rlcm_published"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def lcm_folder(tmp_path_factory):
    folder = save_stable_diffusion(tmp_path_factory.mktemp("lcm"), scheduler="lcm")
    from diffusers import UNet2DConditionModel

    config = json.loads((folder / "unet" / "config.json").read_text())
    torch.manual_seed(3)
    UNet2DConditionModel.from_config({**config, "time_cond_proj_dim": 8}).save_pretrained(str(folder / "unet"))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "LatentConsistencyModelPipeline"}))
    return folder


def report_of(benchmark, *line):
    options = benchmark.read_options([*line, "--device", "cpu", "--repeats", "1", "--images", "4", "--steps", "3"])
    return benchmark.compare(options)


@pytest.mark.parametrize("objective", ["ppo", "rebel"])
def test_both_ways_draw_the_same_and_have_the_same_gradient(benchmark, sd_folder, lcm_folder, objective):
    report = report_of(benchmark, "--model", str(sd_folder), str(lcm_folder), "--objective", objective)
    assert [row["policy"] for row in report["models"]] == ["DDIMPolicy", "LatentConsistency"]
    for row in report["models"]:
        assert row["same_gradient"]
        assert row["gradient_cosine"] == pytest.approx(1, abs=1e-3)
        assert row["gradient_norm_ratio"] == pytest.approx(1, abs=1e-2)
        assert row["image_difference"] < 1e-4
        rates = {way: run["samples_per_second"] for way, run in row["runs"].items()}
        assert all(rate > 0 for rate in rates.values())
        assert row["speed_ratio"] == pytest.approx(rates["ours"] / rates["published"], rel=0.05, abs=0.02)
        assert row["met"] is (row["speed_ratio"] >= report["bar"])
    assert str(lcm_folder) in benchmark.as_table(report)


def test_a_gradient_of_something_else_is_noticed(benchmark, sd_folder, monkeypatch):
    published = sys.modules["rlcm_published"]
    honest = published.moved_at
    signs = torch.tensor([1.0, -1.0])
    monkeypatch.setattr(published, "moved_at", lambda *given: honest(*given) * signs.repeat(len(given[2]) // 2))
    (row,) = report_of(benchmark, "--model", str(sd_folder))["models"]
    assert not row["same_gradient"]


def test_what_is_not_built_in_is_left_out_and_said(benchmark, sd_folder, monkeypatch):
    monkeypatch.setattr(benchmark, "DEFAULT_MODELS", (str(sd_folder), "pocket-nothing"))
    report = report_of(benchmark)
    assert len(report["models"]) == 1
    (said,) = report["left_out"]
    assert said.startswith("pocket-nothing: no model named")


def test_the_report_is_one_json_object(benchmark, sd_folder, tmp_path, capsys):
    line = ["--model", str(sd_folder), "--device", "cpu", "--repeats", "1", "--images", "2", "--steps", "2"]
    assert benchmark.main([*line, "--json", str(tmp_path / "report.json")]) == 0
    assert "bar: at least x2" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["images"] == 2


@pytest.mark.parametrize("line", [["--steps", "1"], ["--images", "3"], ["--repeats", "0"], ["--batch-size", "0"]])
def test_settings_that_cannot_work_are_refused(benchmark, line, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(line)
    assert "error:" in capsys.readouterr().err
