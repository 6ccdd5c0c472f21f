"""The layout is tested: who may import whom, how long things may be, what nothing does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "src" / "plaudit"
FILES = sorted(ROOT.rglob("*.py"))

LAYERS = [
    "core",
    "folders",
    "rewards",
    "generators",
    "pocket",
    "methods",
    "suites",
    "presets",
    "runs",
    "claims",
    "shells",
]
"""each may import those before it, and itself"""

OWN_LAYER = {"pocket/folders.py": "folders", "pocket/packed.py": "folders"}
"""where the weights lie is known below the tables that load them"""

FORBIDDEN_NAMES = ("utils", "util", "common", "helper", "helpers", "manager", "base_trainer", "misc")
GLOBAL_SEEDS = (
    "torch.manual_seed",
    "random.seed",
    "np.random.seed",
    "numpy.random.seed",
    "torch.cuda.manual_seed_all",
)
SLOW_PACKAGES = ("torch", "diffusers", "transformers", "numpy", "scipy", "matplotlib", "cma", "PIL")
LIGHT = (
    "shells",
    "core/errors.py",
    "core/hub.py",
    "core/registry.py",
    "rewards/feature_table.py",
    "rewards/published.py",
    "rewards/published_captions.py",
    "rewards/published_judges.py",
    "rewards/table.py",
    "suites/detectors_table.py",
    "suites/table.py",
    "generators/published.py",
    "generators/published_tokens.py",
    "generators/table.py",
    "suites/table.py",
)
"""what a help page or a list imports, and so must not wait for anything"""


def parametrize_files(test):
    return pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))(test)


def layer_of(parts: tuple[str, ...]) -> str | None:
    """The layer of a module of ours, from its path below plaudit; None for the package itself."""
    for length in range(len(parts), 0, -1):
        if (layer := OWN_LAYER.get("/".join(parts[:length]) + ".py")) is not None:
            return layer
    return parts[0] if parts and parts[0] in LAYERS else None


def imports_of(tree: ast.Module, *, at_import: bool = False) -> Iterator[str]:
    """The dotted names a file imports; `at_import`: only those at its top level."""
    nodes = list(tree.body) if at_import else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@parametrize_files
def test_imports_point_downwards(path):
    relative = path.relative_to(ROOT)
    layer = layer_of(relative.with_suffix("").parts)
    if layer is None:
        return
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    for name in imports_of(tree_of(path)):
        if name.startswith("plaudit."):
            target = layer_of(tuple(name.split(".")[1:]))
            assert target is None or target in allowed, f"{relative} ({layer}) imports {name} ({target})"


@parametrize_files
def test_every_module_belongs_to_a_layer(path):
    parts = path.relative_to(ROOT).parts
    assert len(parts) == 1 or parts[0] in LAYERS


@parametrize_files
def test_methods_do_not_import_each_other(path):
    """They share records, rows and equations; search may show ReNO's names."""
    shared = {"records", "rows", "losses", "advantages", "entropy", "early_stop", "learner", "judging", "ratios"}
    shared |= {"anchor", "denoising_walk", "directions", "truncation", "token_updates", "prompt_rounds"}
    shared |= {"plan_losses", "plan_updates", "ar_grpo_config", "reasongen_config", "drawn_at_once"}
    relative = path.relative_to(ROOT)
    if relative.parts[0] != "methods":
        return
    for name in imports_of(tree_of(path)):
        if name.startswith("plaudit.methods."):
            assert name.split(".")[2] in {*shared, relative.stem}, f"{relative} imports {name}"


@parametrize_files
def test_functions_and_files_fit_on_a_screen_or_a_few(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.body[0].lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


@parametrize_files
def test_names_say_what_a_thing_is(path):
    words = set(re.split(r"[_/.]", str(path.relative_to(ROOT)).lower()))
    assert words.isdisjoint(FORBIDDEN_NAMES)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ClassDef):
            assert not re.search(r"(Utils?|Helper|Manager)$", node.name)


@parametrize_files
def test_nothing_seeds_globally(path):
    """Constructors of models draw from the global stream: a fork of it may be seeded, for as long as it lasts."""
    tree = tree_of(path)
    forks = [n for n in ast.walk(tree) if isinstance(n, ast.With) and "fork_rng(" in ast.unparse(n.items[0])]
    forked = {id(node) for fork in forks for node in ast.walk(fork)}
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and id(n) not in forked]
    assert not {ast.unparse(call.func) for call in calls} & set(GLOBAL_SEEDS)


@parametrize_files
def test_only_core_and_the_shells_choose_a_device(path):
    """Everywhere else a device is where a tensor or a model already is; the CPU is for reading results."""
    if path.relative_to(ROOT).parts[0] == "core":
        return
    tree = tree_of(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert not name.endswith(".cuda"), f"{name} at line {node.lineno}"
            assert name not in ("torch.cuda.is_available", "torch.set_default_device")
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.fullmatch(r"cuda(:\d+)?|mps", node.value) or compares_type(tree, node), node.lineno


def compares_type(tree: ast.Module, constant: ast.Constant) -> bool:
    """Whether the text only asks what kind a device is, as in `device.type == "cuda"`."""
    compares = [n for n in ast.walk(tree) if isinstance(n, ast.Compare) and constant in ast.walk(n)]
    return any(ast.unparse(compare.left).endswith(".type") for compare in compares)


@parametrize_files
def test_torchvision_is_never_imported(path):
    """One that does not fit torch breaks model libraries; `doctor` looks for it by name."""
    assert all(name.split(".")[0] != "torchvision" for name in imports_of(tree_of(path)))


@parametrize_files
def test_what_a_help_page_needs_imports_nothing_slow(path):
    relative = str(path.relative_to(ROOT))
    if relative.startswith(LIGHT) or path.parent == ROOT:
        slow = {name.split(".")[0] for name in imports_of(tree_of(path), at_import=True)} & set(SLOW_PACKAGES)
        assert not slow, f"{relative} imports {slow} when it is imported"


def test_the_layers_are_those_there_are():
    found = {path.relative_to(ROOT).parts[0] for path in FILES if path.parent != ROOT}
    assert found <= set(LAYERS)
    assert len(FILES) > 30
