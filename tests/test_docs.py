"""The documentation is true: its blocks run, its commands parse, its generated parts are current, its links resolve.

A block says in its info string what is done with it: ``run`` (executed, on the toy domain in place of genomics),
``run after=PAGE`` (after the blocks of that page, in their names), ``file=NAME`` (written to a file), ``check`` (a
command whose data the page's domain accepts). Blocks of docs/walks are run by test_walks.py.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from docpages import FENCE, PAGES, ROOT, Block, blocks

DOMAINS = ("finance", "genomics", "medicine", "nlp", "vision")


def pages_with(language: str, word: str) -> list[Path]:
    return [p for p in PAGES if any(b.language == language and word in b.words for b in blocks(p))]


def title(page: object) -> str:
    return page.name if isinstance(page, Path) else str(page)


def on_toy(text: str) -> str:
    return text.replace("genomics", "toy")


@pytest.fixture
def generate(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    for name in ("generate", "errorcodes"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("generate")


@pytest.fixture
def work(tmp_path, monkeypatch, toy) -> Path:
    """The working folder of a reader who has the toy domain, and a file of new rows."""
    rows = "\n".join(",".join(str(0.1 * (i + j)) for j in range(toy.DIM)) for i in range(3))
    (tmp_path / "new.fasta").write_text(rows, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [p for p in PAGES if "<!-- generated: " in p.read_text(encoding="utf-8")], ids=title)
def test_generated_parts_are_current(page, generate):
    text = page.read_text(encoding="utf-8")
    assert set(generate.parts(text)) <= generate.PARTS.keys()
    assert text.count("<!-- generated: ") == len(generate.parts(text)) == text.count("<!-- /generated -->")
    now, then = (t.split() for t in (generate.filled(text), text))
    assert now == then, f"run `python docs/generate.py`: {page.name} has changed"


def test_every_part_has_its_place(generate):
    placed = [name for page in PAGES for name in generate.parts(page.read_text(encoding="utf-8"))]
    assert sorted(placed) == sorted(generate.PARTS)


def python_blocks(page: Path, after: str | None) -> list[Block]:
    found = [b for b in blocks(page) if b.language == "python" and "run" in b.words]
    return [b for b in found if b.word("after") == after]


@pytest.mark.parametrize("page", [p for p in PAGES if python_blocks(p, None)], ids=title)
def test_python_blocks_run(page, work):
    """The page's blocks in one namespace, then those of other pages that go on from there."""
    following = [block for other in PAGES for block in python_blocks(other, page.name)]
    names: dict[str, object] = {}
    for block in [*python_blocks(page, None), *following]:
        exec(compile(on_toy(block.text), page.name, "exec"), names)


def test_no_python_block_is_left_out():
    names = {page.name for page in PAGES if python_blocks(page, None)}
    marked = [b for page in PAGES for b in blocks(page) if b.language == "python" and "run" in b.words]
    assert marked
    assert {b.word("after") for b in marked} <= {None, *names}


@pytest.mark.parametrize("page", pages_with("console", "run"), ids=title)
def test_console_blocks_run(page, work, capfd):
    from tlplat.cli.entry import main

    for block in blocks(page):
        if block.language == "console" and "run" in block.words:
            assert block.commands()
            for arguments in block.commands():
                code = main([on_toy(argument) for argument in arguments])
                out, err = capfd.readouterr()
                assert code == 0, (arguments, err)
                assert out, arguments


def test_commands_parse():
    """Every command that a page shows has flags and arguments that exist; nothing is carried out."""
    from tlplat.cli.group import cli

    seen = 0
    for page in PAGES:
        for arguments in (a for block in blocks(page) for a in block.commands()):
            if any(d in arguments and find_spec(f"tlplat_{d}") is None for d in DOMAINS):
                continue
            context, rest = cli.make_context("tlplat", list(arguments)), arguments
            while hasattr(context.command, "resolve_command"):
                name, command, rest = context.command.resolve_command(context, rest)
                assert command is not None, (page.name, arguments)
                assert rest or not hasattr(command, "resolve_command"), (page.name, arguments)
                context = command.make_context(name, list(rest), parent=context)
            seen += 1
    assert seen > 10 or find_spec("tlplat_genomics") is None


@pytest.mark.parametrize(
    ("page", "domains", "commands"),
    [("finance", ["finance"], 2), ("genomics", ["genomics"], 6), ("nlp", ["nlp"], 2), ("files", ["finance", "nlp"], 6)],
)
def test_data_of_a_domains_page_are_accepted(page, domains, commands, tmp_path, monkeypatch, capfd):
    """Its files are written, and its commands' data pass the check that precedes a run."""
    for name in domains:
        pytest.importorskip(f"tlplat_{name}.domain")
    from tlplat import plugins
    from tlplat.cli.entry import main
    from tlplat.domain import DataOptions, DomainContext
    from tlplat.registry import Registry

    monkeypatch.chdir(tmp_path)
    checked = 0
    for block in blocks(ROOT / "docs" / f"data-{page}.md"):
        if name := block.word("file"):
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_text(block.text, encoding="utf-8")
        if "check" not in block.words:
            continue
        for command, *flags in block.commands():
            assert command == "run"
            assert main(["config", "show", *flags, "--json"]) == 0
            config = json.loads(capfd.readouterr().out)["config"]
            domain = plugins.domain(config["domain"], Registry())
            data = DataOptions(**{**config["data"], "path": Path(config["data"]["path"])})
            domain.check(domain.Options(**config["options"]), data, DomainContext(Registry(), tmp_path / "cache"))
            checked += 1
    assert checked == commands


def test_the_tutorial_package_works(site, work, registry, capfd):
    """The files of write-a-strategy.md, 40 lines in all: installed, green in the kit, listed, run, frozen as said."""
    import torch

    from tlplat import plugins
    from tlplat.cli.entry import main
    from tlplat.testing.workbench import toybench

    project = work / "project"
    project.mkdir()
    lines = 0
    for block in blocks(ROOT / "docs" / "write-a-strategy.md"):
        if file := block.word("file"):
            (project / file).write_text(block.text, encoding="utf-8")
            lines += sum(bool(line.strip()) for line in block.text.splitlines())
    assert lines <= 40
    alone = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--target"]
    pip = [sys.executable, "-m", "pip", "install", "-q", *alone, str(site.folder), str(project)]
    subprocess.run(pip, check=True, capture_output=True)
    importlib.invalidate_caches()
    (name,) = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"][
        "tlplat.strategies"
    ]
    assert main(["strategies", name]) == 0
    assert "Howard" in capfd.readouterr().out
    short = ["--strategy", name, "--seeds", "1", "--threads", "1", "--set", "train.steps=10", "--out", "out"]
    assert main(["run", "--domain", "toy", *short, "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["verdict"]["winner"] in (name, "zero_shot")
    assert name in [candidate["key"] for candidate in report["candidates"]]

    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "test_head_then_top.py"]
    done = subprocess.run(test, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^[2-9]\d passed", done.stdout, re.MULTILINE), done.stdout

    plugins.load("strategies", [name], registry)
    bench = toybench(registry)
    fitted, start = bench.run(name).model.backbone.state_dict(), bench.source.state
    moved = {key.split(".")[1] for key in start if not torch.equal(fitted[key], start[key])}
    assert moved == {"dense2"}


def test_the_tracker_hears_of_a_run(site, work, monkeypatch, capfd):
    """The two files of write-a-tracker.md, installed by pip: a run of the toy domain is a line."""
    from tlplat import plugins
    from tlplat.cli.entry import main

    project = work / "project"
    project.mkdir()
    for block in blocks(ROOT / "docs" / "write-a-tracker.md"):
        if file := block.word("file"):
            (project / file).write_text(block.text, encoding="utf-8")
    alone = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--target"]
    pip = [sys.executable, "-m", "pip", "install", "-q", *alone, str(site.folder), str(project)]
    subprocess.run(pip, check=True, capture_output=True)
    importlib.invalidate_caches()
    monkeypatch.setenv("TLPLAT_RUNLOG", str(work / "runs.jsonl"))
    plugins._observers.cache_clear()
    short = ["--strategy", "linear_probe", "--seeds", "1", "--jobs", "1", "--threads", "1", "--set", "train.steps=5"]
    assert main(["run", "--domain", "toy", *short, "--out", "out", "--json"]) == 0
    plugins._observers.cache_clear()
    report = json.loads(capfd.readouterr().out)
    (line,) = (work / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["winner"] == report["verdict"]["winner"]
    assert json.loads(line)["run"] == str(work / "out")


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_resolve(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", FENCE.sub("", file.read_text(encoding="utf-8")), re.MULTILINE)
            assert anchor in [slug(h) for h in headings], f"{page.name}: {target}"


def test_every_page_is_linked_from_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [p.name for p in PAGES[1:] if f"]({p.relative_to(ROOT).as_posix()})" not in text]


def test_ci_installs_as_the_readme_says():
    """One pip command for core and plugins, the same in the README and in CI."""
    command = re.search(
        r"pip install (-c constraints\.txt -e .+?) &&", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    assert command is not None
    assert command[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
