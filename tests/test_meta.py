"""What is there is tested and documented: hooks, strategies, ops, commands, error codes; and no file names a machine.

"Tested" means that a test names it. That is little, and yet what nobody names decays first.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OWN = {"test_meta.py", "test_docs.py"}
NOT_YET_TESTED: set[str] = set()
"""Error codes without a test; one that has a test must leave this list."""

CONTRACTS = (
    "tlplat.errors",
    "tlplat.registry",
    "tlplat.data.examples",
    "tlplat.plan",
    "tlplat.model",
    "tlplat.edits",
    "tlplat.strategy",
    "tlplat.domain",
    "tlplat.progress",
    "tlplat.tasks.base",
    "tlplat.hookspecs",
    "tlplat.assets",
    "tlplat.runner",
    "tlplat.prediction",
)
PLUGIN_CONTRACTS = ("Backbone", "Baseline", "Behaviour", "Domain", "Edit", "Inputs", "Metric", "Strategy", "Task")
"""Classes that third parties implement: each method says what it must do."""


@functools.cache
def text_of_tests() -> str:
    files = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "plugins").glob("*/tests/**/*.py")]
    return "\n".join(p.read_text(encoding="utf-8") for p in sorted(files) if p.name not in OWN)


def named_in_tests(name: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text_of_tests()) is not None


def quoted_in_tests(name: str) -> bool:
    return re.search(rf"""["']{re.escape(name)}["',]""", text_of_tests()) is not None


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def headed(text: str, heading: str) -> bool:
    return re.search(rf"^## {re.escape(heading)}$", text, re.MULTILINE) is not None


def hooks() -> list[str]:
    tree = ast.parse((ROOT / "tlplat" / "hookspecs.py").read_text(encoding="utf-8"))
    return [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]


def entry_points(group: str) -> list[str]:
    projects = [ROOT / "pyproject.toml", *sorted((ROOT / "plugins").glob("*/pyproject.toml"))]
    read = [tomllib.loads(p.read_text(encoding="utf-8"))["project"].get("entry-points", {}) for p in projects]
    return [name for points in read for name in points.get(group, {})]


def command_paths() -> list[tuple[str, ...]]:
    import click

    from tlplat.cli.group import COMMANDS, cli

    context = click.Context(cli)
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = cli.get_command(context, name)
        inner = command.list_commands(context) if isinstance(command, click.Group) else []
        found += [(name, other) for other in inner] or [(name,)]
    return found


def error_codes() -> list[str]:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        errorcodes = importlib.import_module("errorcodes")
    finally:
        sys.path.remove(str(ROOT / "docs"))
    found = errorcodes.collect(ROOT)
    lost = errorcodes.mentioned(ROOT) - found.keys()
    assert not lost, f"docs/errorcodes.py does not see where these are raised: {lost}"
    return list(found)


@pytest.mark.parametrize("name", hooks())
def test_hooks(name):
    assert named_in_tests(name), f"no test implements {name}"
    assert headed(page("hooks.md"), name)


@pytest.mark.parametrize("name", entry_points("tlplat.strategies"))
def test_strategies(name):
    assert quoted_in_tests(name), f"no test names {name}"
    assert headed(page("strategies.md"), name)


@pytest.mark.parametrize("name", [*entry_points("tlplat.domains"), *entry_points("tlplat.tasks")])
def test_domains_and_tasks(name):
    assert quoted_in_tests(name), f"no test names {name}"
    assert f"`{name}`" in page("concepts.md") or name in page("concepts.md")


@pytest.mark.parametrize("name", importlib.import_module("tlplat.ops").__all__)
def test_ops(name):
    is_result = isinstance(getattr(importlib.import_module("tlplat.ops"), name), type)
    assert is_result or named_in_tests(name), f"no test names {name}"
    assert headed(page("ops.md"), name)


@pytest.mark.parametrize("path", command_paths(), ids=" ".join)
def test_commands(path):
    spelt = r"""["'],\s*["']""".join(map(re.escape, path))
    assert re.search(rf"""["']{spelt}["']""", text_of_tests()), f"no test calls {path}"
    assert headed(page("cli.md"), " ".join(("tlplat", *path)))


@pytest.mark.parametrize("code", error_codes())
def test_error_codes(code):
    assert headed(page("errors.md"), code)
    assert re.fullmatch(r"TL(-[A-Z0-9]+)+", code)
    if code in NOT_YET_TESTED:
        assert not named_in_tests(code), f"{code} has a test now: take it off the list"
    else:
        assert named_in_tests(code), f"no test names {code}"


def test_every_error_says_what_to_do():
    errorcodes = importlib.import_module("errorcodes")
    silent = {code for code, places in errorcodes.collect(ROOT).items() for p in places if not p.fix or not p.message}
    assert not silent


def test_the_list_of_untested_codes_holds_only_codes():
    assert set(error_codes()) >= NOT_YET_TESTED


@pytest.mark.parametrize("name", CONTRACTS)
def test_contracts_have_docstrings(name):
    path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    public = [n for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")]
    for cls in (n for n in public if isinstance(n, ast.ClassDef) and n.name in PLUGIN_CONTRACTS):
        methods = [n for n in cls.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
        public += [m for m in methods if not is_plain(m)]
    assert ast.get_docstring(tree), name
    missing = [n.name for n in public if not ast.get_docstring(n)]
    assert not missing, f"{name}: {missing}"


def is_plain(method: ast.FunctionDef) -> bool:
    """A property, or a body of one expression: the name says it."""
    return "property" in map(ast.unparse, method.decorator_list) or isinstance(method.body[0], ast.Return)


def tracked() -> list[Path]:
    """Text files of the repository; outside a checkout, what lies where they would."""
    ran = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = ran.stdout.split("\n")[:-1]
    if ran.returncode:
        folders = ("tlplat", "docs", "tests", "plugins")
        names = [str(p.relative_to(ROOT)) for f in folders for p in (ROOT / f).rglob("*.*") if p.is_file()]
    suffixes = (".py", ".md", ".toml", ".txt", ".yaml", ".css", ".j2", ".cpp", ".h", ".cu", "")
    return [ROOT / n for n in names if Path(n).suffix in suffixes and (ROOT / n).is_file()]


PLACES = re.compile(
    r"(?<![\w.])/" + r"(?:work|root|home)/\w|\b(?:pypi\.org/simple|files\.pythonhosted|artifactory|index-url=)",
    re.ASCII,
)
WORDS = re.compile(r"\b(?:chatbot|co-authored-by|subagent)\b", re.IGNORECASE)


@pytest.mark.parametrize("path", tracked(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_file_names_a_machine(path):
    text = path.read_text(encoding="utf-8")
    found = [m[0] for m in (*PLACES.finditer(text), *WORDS.finditer(text))] if path.name not in OWN else []
    if path.suffix == ".md":
        found += re.findall(r"\b[Ss]essions?\b", text)
    assert not found


def test_the_rule_sees_what_it_should():
    assert PLACES.search("see " + "/work" + "/main")
    assert PLACES.search('"' + "/root" + '/x"')
    assert not PLACES.search("framework/main, a/work/b")


@pytest.mark.parametrize("path", sorted((ROOT / "bench").glob("*.py")), ids=lambda p: p.stem)
def test_benches_import_what_is_there(path):
    """No suite runs a bench, so a name of tlplat's that was renamed would be missed until somebody wants a figure."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "tlplat":
            module = importlib.import_module(node.module)
            for alias in node.names:
                found = hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}")
                assert found, f"{path.name} imports {alias.name} from {node.module}"
