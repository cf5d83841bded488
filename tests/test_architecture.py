"""Rules of the code base that decay unless a test holds them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "tlplat"
FILES = sorted(CORE.rglob("*.py"))

LAYERS = [
    {"errors", "deprecation", "__init__"},
    {"registry", "memory", "progress", "disk", "manifest", "tensorfile", "storage", "hookspecs", "events"},
    {
        "data.examples",
        "data.columns",
        "data.lines",
        "data.opening",
        "data.files",
        "data.labelsets",
        "data.guess",
        "data.records",
        "data.setsplits",
        "data.sheets",
        "data.sides",
        "data.tables",
        "data.order",
        "data.parts",
        "data.__init__",
        "plan",
        "metrics",
        "calibration",
        "origins",
        "intake",
        "archives",
        "weights",
        "sdistonly",
        "pipdownload",
        "fetching",
        "assets",
    },
    {"model", "pretext", "probing", "units"},
    {"edits", "pieces", "tabular", "taps", "athand", "tasks.base", "cache", "checkpoint", "ops"},
    {"tasks", "domain", "strategy", "classical", "data.splits", "data.quality", "data.unlabeled", "transferability"},
    {
        "batches",
        "trainable",
        "features",
        "train",
        "modelio",
        "attribution",
        "outputs",
        "weightsource",
        "onnxio",
        "tablesource",
    },
    {"bench", "combine", "view"},
    {"members", "start", "measure", "checks", "checkup", "importance", "depths"},
    {"strategies", "trial", "evaluate", "pairing", "simultaneous", "pretrain"},
    {"trials", "selection", "budget", "halving", "allowance", "rounds"},
    {
        "isolate",
        "requirement",
        "tomlfile",
        "config",
        "installed",
        "loading",
        "plugins",
        "observing",
        "probe",
        "resolve",
    },
    {"conformance", "scaffold"},
    {"kept", "ranking", "sourcing"},
    {"sourcerank"},
    {"rundir", "stage", "datacheck", "prediction"},
    {"crew", "worker"},
    {"detail", "summary", "report"},
    {"runner", "explanation"},
    {"kerasio"},
    {"arrays", "exporting"},
    {"testing"},
    {"cli", "__main__", "api", "estimators", "serving"},
]
"""From the bottom up: a module imports only from its own layer and those before it."""


def modules(path: Path) -> str:
    return ".".join(path.relative_to(CORE).with_suffix("").parts)


def layer(name: str) -> int:
    """The layer of a module's dotted name below tlplat: its own entry, else its package's."""
    for candidate in (name, name.split(".")[0]):
        for i, group in enumerate(LAYERS):
            if candidate in group:
                return i
    raise AssertionError(f"tlplat.{name} has no layer: put it into LAYERS")


def guarded(tree: ast.Module) -> set[ast.AST]:
    """Nodes below ``if TYPE_CHECKING:``, which import nothing at run time."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            found.update(ast.walk(node))
    return found


def imports(path: Path) -> list[str]:
    """Dotted names below tlplat that the file imports at run time, also inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = guarded(tree)
    found = []
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            names = [f"{base}.{a.name}" for a in node.names]
            found += [n if (CORE / Path(*n.split(".")[1:])).with_suffix(".py").exists() else base for n in names]
    return found


@pytest.mark.parametrize("path", FILES, ids=modules)
def test_imports_point_one_way(path):
    here = modules(path)
    for name in imports(path):
        if name == "tlplat" or not name.startswith("tlplat."):
            continue
        there = name.removeprefix("tlplat.")
        assert layer(there) <= layer(here), f"tlplat.{here} imports tlplat.{there}, which lies above it"


@pytest.mark.parametrize("path", FILES, ids=modules)
def test_the_core_imports_no_plugin(path):
    assert not [n for n in imports(path) if n.startswith("tlplat_")]


def test_plugins_import_only_tlplat_and_themselves():
    for package in sorted((ROOT / "plugins").glob("*/tlplat_*")):
        for path in package.rglob("*.py"):
            others = [n for n in imports(path) if n.startswith("tlplat_") and n.split(".")[0] != package.name]
            assert not others, f"{path} imports {others}"


@pytest.mark.parametrize("path", FILES, ids=modules)
def test_no_pickle_no_bare_except_no_unsafe_load(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
            assert not {"pickle", "dill", "joblib", "cloudpickle"} & set(names), f"{path}:{node.lineno}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path}:{node.lineno}: bare except"
        if isinstance(node, ast.keyword) and node.arg in ("weights_only", "allow_pickle"):
            wanted = node.arg == "weights_only"
            assert isinstance(node.value, ast.Constant), f"{path}: {node.arg} must be a constant"
            assert node.value.value is wanted, f"{path}:{node.value.lineno}: {node.arg}"


@pytest.mark.parametrize("path", FILES, ids=modules)
def test_files_stay_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def test_every_strategy_is_at_most_about_eighty_lines_of_class():
    for path in sorted((CORE / "strategies").glob("*.py")):
        code = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        assert len(code) <= 110, path.name


def test_the_walker_sees_what_it_should(tmp_path):
    """The rule's own test: an arrow that points up is found, also inside a function, and a guarded one is not."""
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from tlplat.runner import run\n", encoding="utf-8")
    assert imports(file) == ["tlplat.runner"]
    file.write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tlplat.runner\n", encoding="utf-8")
    assert "tlplat.runner" not in imports(file)
    assert layer("runner") > layer("train") > layer("plan")
