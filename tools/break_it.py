"""Breaks chosen lines on purpose, one at a time, and checks that a test notices each.

    python tools/break_it.py             all of them
    python tools/break_it.py clip        those whose name holds "clip"

A test suite proves something only about lines whose breaking it notices. Every break is made in a copy of the
package, so that the work tree is never touched. Exit code 1 if a break went unnoticed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Break:
    """One line made wrong, and the tests that must fail for it."""

    name: str
    file: str
    """below src/plaudit"""
    right: str
    """text that occurs exactly once in the file"""
    wrong: str
    tests: str
    """what to give to pytest, below tests/; a -k may follow"""


BREAKS = (
    Break(
        name="an abbreviated flag is let through",
        file="shells/flags.py",
        right="if looks_like_flag and name not in known:",
        wrong="if looks_like_flag and not any(flag.startswith(name) for flag in known):",
        tests="shells/test_cli.py",
    ),
    Break(
        name="a half-written file is left behind",
        file="core/whole_files.py",
        right="        part.unlink(missing_ok=True)\n",
        wrong="        pass\n",
        tests="core/test_whole_files.py",
    ),
    Break(
        name="a run takes another run's folder",
        file="runs/folder.py",
        right='if (path / "run.json").exists():',
        wrong='if (path / "no.json").exists():',
        tests="runs/test_folder.py",
    ),
    Break(
        name="run.json is written before the pictures",
        file="runs/folder.py",
        right="        records = [self._keep_one(result, plan_of) for result in results]\n",
        wrong="        self.save()\n        records = [self._keep_one(result, plan_of) for result in results][:-1]\n",
        tests="runs/test_folder.py",
    ),
    Break(
        name="prompts are not escaped in the report",
        file="runs/report.py",
        right="<h3>{escape(record.prompt)}{number}</h3>",
        wrong="<h3>{record.prompt}{number}</h3>",
        tests="runs/test_report.py",
    ),
    Break(
        name="plans are not escaped in the report",
        file="runs/report.py",
        right="<dd>{escape(plan) or NO_WORDS}</dd>",
        wrong="<dd>{plan or NO_WORDS}</dd>",
        tests="runs/test_report.py",
    ),
    Break(
        name="the plan that is told is the start's, not the kept picture's",
        file="runs/records.py",
        right="plan=plan_of(result.noise) if plan_of else None,",
        wrong="plan=plan_of(result.first_noise) if plan_of else None,",
        tests="shells/test_generate_plans.py -k told",
    ),
    Break(
        name="the plans of the next batch's start are forgotten with the last one's",
        file="generators/told_plans.py",
        right="        self._told = dict(self._last)\n",
        wrong="        self._told = {}\n",
        tests="generators/test_told_plans.py",
    ),
    Break(
        name="an edited plan is drawn with another noise than the picture's",
        file="shells/generate.py",
        right='settings.get("noise_offset", 0) + made["best_step"]',
        wrong='settings.get("noise_offset", 0)',
        tests="shells/test_generate_plans.py -k edited_plan",
    ),
    Break(
        name="a plan that cannot be read counts as one that meets its prompt",
        file="suites/plan_agreement.py",
        right="meets=read is not None and plan_meets(read, request),",
        wrong="meets=read is None or plan_meets(read, request),",
        tests="suites/test_plan_agreement.py",
    ),
    Break(
        name="finished images are drawn again on resume",
        file="shells/generate.py",
        right="[row for row in job.rows if row not in done]",
        wrong="[row for row in job.rows]",
        tests="shells/test_generate.py",
    ),
    Break(
        name="an image is repeated from another noise",
        file="shells/generate.py",
        right='"prompt_offset": made["prompt_index"]',
        wrong='"prompt_offset": 0',
        tests="shells/test_generate.py",
    ),
    Break(
        name="the penalty forgets one degree of freedom",
        file="methods/losses.py",
        right="return 0.5 * norm.square() - (dimension - 1) * norm.log()",
        wrong="return 0.5 * norm.square() - dimension * norm.log()",
        tests="methods/test_losses.py",
    ),
    Break(
        name="short gradients are lengthened",
        file="methods/losses.py",
        right="(limit / length.clamp(min=1e-12)).clamp(max=1.0)",
        wrong="(limit / length.clamp(min=1e-12))",
        tests="methods/test_losses.py",
    ),
    Break(
        name="Nesterov's step does not look ahead",
        file="methods/losses.py",
        right="(gradient + momentum * velocity), velocity",
        wrong="velocity, velocity",
        tests="methods/test_losses.py",
    ),
    Break(
        name="the lean decoder forgets the activation's slope",
        file="generators/lean_decoder.py",
        right="slope = torch.ops.aten.silu_backward(slope.contiguous(), _normalise(x, weight, bias, ctx.norm)[0])",
        wrong="slope = slope.contiguous()",
        tests="generators/test_lean_decoder.py",
    ),
    Break(
        name="R0 leaves a reward's gradient as long as it comes",
        file="methods/directions.py",
        right='    parts = [found if normalise == "none" else unit(found) for found in directions.values()]\n',
        wrong="    parts = list(directions.values())\n",
        tests="methods/test_directions.py",
    ),
    Break(
        name="weights decay to 0 and not to the pretrained ones",
        file="methods/anchor.py",
        right="parameter.lerp_(start.to(parameter.dtype), 1 - factor)",
        wrong="parameter.mul_(factor)",
        tests="methods/test_anchor.py",
    ),
    Break(
        name="the last step of a policy draws",
        file="generators/ddim_policy.py",
        right="        spread[-1] = 0.0\n",
        wrong="",
        tests="generators/test_ddim_policy.py",
    ),
    Break(
        name="a log-probability leaves the spread out",
        file="generators/step_policy.py",
        right="density = -distances / (2 * spread**2) - count",
        wrong="density = -distances / 2 - count",
        tests="generators/test_step_policy.py",
    ),
    Break(
        name="a consistency model's picture is mixed with this step's noise, not the next one's",
        file="generators/lcm.py",
        right="(alpha_bars, following.sqrt(), (1 - following).sqrt(), skip, out)",
        wrong="(alpha_bars, alpha_bars.sqrt(), (1 - following).sqrt(), skip, out)",
        tests="generators/test_lcm.py",
    ),
    Break(
        name="a reward's cap is forgotten",
        file="rewards/capped.py",
        right=".clamp(max=self.maximum)",
        wrong="",
        tests="rewards/test_composed.py",
    ),
    Break(
        name="a reward's looks are drawn anew at every call",
        file="rewards/smoothed.py",
        right='generator=stream(self.seed, "smooth", number)).tolist()',
        wrong=").tolist()",
        tests="rewards/test_composed.py",
    ),
    Break(
        name="a normalised reward's slope is that of the raw one",
        file="rewards/mix.py",
        right="(weight / part.std, part.reward)",
        wrong="(weight, part.reward)",
        tests="methods/test_wrapped_rewards.py",
    ),
    Break(
        name="a reward normalised in training never learns",
        file="methods/rlcm.py",
        right="        self.rewards.see(parts)\n",
        wrong="",
        tests="methods/test_wrapped_rewards.py",
    ),
    Break(
        name="a checkpoint forgets what a normalised reward has seen",
        file="methods/rlcm.py",
        right='if name.startswith("rewards.")',
        wrong='if name.startswith("reward.")',
        tests="methods/test_wrapped_rewards.py",
    ),
    Break(
        name="a cached reward's key leaves the prompt out",
        file="rewards/cached.py",
        right="str(tuple(image.shape)), prompt)",
        wrong="str(tuple(image.shape)))",
        tests="rewards/test_cached.py",
    ),
    Break(
        name="a cached reward cuts the gradient",
        file="rewards/cached.py",
        right="if self.differentiable and images.requires_grad",
        wrong="if not self.differentiable and images.requires_grad",
        tests="rewards/test_cached.py",
    ),
    Break(
        name="code of a reward runs because a picture names it",
        file="shells/generate.py",
        right="    _refuse_code(path, settings, typed)\n",
        wrong="",
        tests="rewards/test_own.py -k picture",
    ),
    Break(
        name="a reward of one's own may return anything",
        file="rewards/own.py",
        right="if not isinstance(scores, Tensor) or scores.shape != wanted:",
        wrong="if False:",
        tests="rewards/test_own.py -k one_sentence",
    ),
    Break(
        name="a file of reward scores keeps half a line",
        file="runs/scoring.py",
        right="            file.truncate(whole)\n",
        wrong="            pass\n",
        tests="shells/test_score.py -k interrupted",
    ),
    Break(
        name="LOO-FID shrinks what was made and not what is real",
        file="rewards/loo_fid.py",
        right="        self._real = self._fitted(self._reference)\n        self._way: ",
        wrong="        self._real = self._reference\n        self._way: ",
        tests="rewards/test_loo_fid_learning.py -k shrunk",
    ),
    Break(
        name="LOO-FID pulls in by each process's own scores",
        file="rewards/loo_fid.py",
        right="centred(raw, all_rows(raw, team),",
        wrong="centred(raw, raw,",
        tests="rewards/test_loo_fid_processes.py",
    ),
    Break(
        name="LOO-FID's first moments are halfway to zero",
        file="rewards/loo_fid_memory.py",
        right="share = (1 - self.decay) / weight if",
        wrong="share = (1 - self.decay) if",
        tests="rewards/test_loo_fid.py -k without_a_start",
    ),
    Break(
        name="leaving a picture out forgets that the memory lies elsewhere",
        file="rewards/frechet.py",
        right="- mixed - mixed.mT",
        wrong="",
        tests="rewards/test_frechet.py -k exact_leave",
    ),
)


def main(names: Sequence[str]) -> int:
    """The number of breaks that no test noticed, at most 1."""
    chosen = [b for b in BREAKS if not names or any(name in b.name for name in names)]
    missed = [b for b in chosen if not noticed(b)]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} breaks were noticed")
    return 1 if missed else 0


def noticed(broken: Break) -> bool:
    """Whether a test fails with the break, and only with it. Prints one line."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__", "weights"))
        weights = ROOT / "src/plaudit/pocket/weights"
        if weights.is_dir():
            (copy / "plaudit/pocket/weights").symlink_to(weights)
        path = copy / "plaudit" / broken.file
        text = path.read_text()
        if text.count(broken.right) != 1:
            sys.exit(f"{broken.name!r}: its line occurs {text.count(broken.right)} times in {broken.file}")
        path.write_text(text.replace(broken.right, broken.wrong))
        caught = _run(copy, broken.tests).returncode == 1
    print(f"{'noticed' if caught else 'MISSED '}  {broken.name}")
    return caught


def _run(source: Path, tests: str) -> "subprocess.CompletedProcess[bytes]":
    """pytest on the tests with the package taken from `source`. Exit code 1 means that a test failed."""
    arguments = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *f"tests/{tests}".split()]
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
