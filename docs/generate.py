"""Fills the generated parts of README.md and docs/*.md from the code: ``python docs/generate.py``.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- /generated -->``; :data:`PARTS` says what makes it.
``--check`` writes nothing, names the pages that are out of date, and ends with 1 where there is one.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))

from errorcodes import collect  # noqa: E402

PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)
WIDTH = 100
EXITS = {
    1: "a bug in tlplat",
    2: "usage or configuration",
    3: "data refused",
    4: "model refused",
    5: "plugin or extension",
    6: "resource: disk, network, memory, lock",
    7: "numbers that are not finite",
    8: "a `--require` was not met",
    130: "interrupted (Ctrl-C); the run can be resumed",
    143: "terminated (SIGTERM); the run can be resumed",
}


def cli() -> Iterator[str]:
    """The help of every command and subcommand."""
    import click

    from tlplat.cli.group import COMMANDS, PROGRAM
    from tlplat.cli.group import cli as top

    def said(command: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
        context = click.Context(command, parent=parent, info_name=path.split()[-1], terminal_width=WIDTH)
        yield f"## {path}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
        if isinstance(command, click.Group) and command is not top:
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                yield from said(found, f"{path} {name}", context)

    yield from said(top, PROGRAM, None)
    above = click.Context(top, info_name=PROGRAM, terminal_width=WIDTH)
    for name in COMMANDS:
        command = top.get_command(above, name)
        assert command is not None
        yield from said(command, f"{PROGRAM} {name}", above)


def strategies() -> Iterator[Any]:
    """The built-in strategies, by name, through the same door as everyone's."""
    from tlplat import plugins

    names = [e.name for e in plugins.discover() if e.group == "strategies" and e.distribution == "tlplat"]
    registry = plugins.load("strategies", names)
    yield from (registry.get("strategies", name) for name in names)


def strategy_table() -> Iterator[str]:
    """One line a strategy."""
    yield "| strategy | family | what it does |"
    yield "|---|---|---|"
    for cls in strategies():
        yield f"| [`{cls.name}`](docs/strategies.md#{cls.name}) | {cls.family} | {cls.summary()} |"


def strategy_pages() -> Iterator[str]:
    """Family, paper, text, hyper-parameters and needs of each strategy."""
    for cls in strategies():
        yield f"## {cls.name}\n"
        needs = ", ".join(f"`{need}`" for need in sorted(cls.requires)) or "nothing"
        yield f"- family: {cls.family}\n- paper: {cls.paper}\n- needs of the task: {needs}\n"
        for paragraph in inspect.cleandoc(cls.__doc__ or "").replace("``", "`").split("\n\n"):
            yield paragraph.replace("\n", "  \n") + "\n"
        fields = dataclasses.fields(cls)
        if fields:
            tried = cls().grid()
            yield "| hyper-parameter | default | selection tries |"
            yield "|---|---|---|"
            for item in fields:
                values = list(dict.fromkeys(getattr(one, item.name) for one in tried))
                yield f"| `{item.name}` | `{item.default!r}` | {', '.join(f'`{v!r}`' for v in values)} |"
            yield ""


def tasks() -> Iterator[Any]:
    """The built-in tasks, by name."""
    from tlplat import plugins

    names = [e.name for e in plugins.discover() if e.group == "tasks" and e.distribution == "tlplat"]
    registry = plugins.load("tasks", names)
    yield from (registry.get("tasks", name) for name in names)


def task_pages() -> Iterator[str]:
    """A table of the tasks, then metrics, baseline, needs and text of each."""
    yield "| task | what is predicted | primary metric | trivial baseline |"
    yield "|---|---|---|---|"
    for cls in tasks():
        example = cls.example()
        primary = example.metrics[0]
        score = f"`{primary.name}` ({'higher' if primary.higher_is_better else 'lower'} is better)"
        yield f"| [`{cls.name}`](#{cls.name}) | {cls.summary} | {score} | `{cls.trivial_name}` |"
    for cls in tasks():
        example = cls.example()
        yield f"\n## {cls.name}\n"
        yield f"- metrics: {', '.join(f'`{m.name}`' for m in example.metrics)}"
        yield f"- baseline: `{cls.trivial_name}` {cls.trivial_summary}"
        yield f"- offers: {', '.join(f'`{o}`' for o in sorted(example.info().offers))}"
        yield f"- the loss is over: a {example.loss_unit}\n"
        yield from (_listed(inspect.cleandoc(cls.__doc__ or "")),)


def _listed(text: str) -> str:
    """A docstring's text, with its Args as a list."""
    text = re.sub(r":\w+:`[.\w]*?(\w+)`", r"`\1`", text).replace("``", "`")
    said, _, arguments = text.partition("\nArgs:\n")
    items = re.sub(r"(?m)^    (\w[\w, ]*): ", r"- `\1`: ", arguments)
    return said + ("\n" + re.sub(r"(?m)^        ", "  ", items) if items else "")


def hooks() -> Iterator[str]:
    """Each hook with its exact signature and docstring."""
    source = (ROOT / "tlplat" / "hookspecs.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and any(ast.unparse(d) == "hookspec" for d in node.decorator_list):
            yield f"## {node.name}\n"
            yield f"```python\n{_signature(node, source)}\n```\n"
            yield f"{ast.get_docstring(node)}\n"


def events() -> Iterator[str]:
    """Each event with its fields, their types and meanings."""
    from tlplat.events import EVENTS

    for cls in EVENTS:
        yield f"### {cls.name}\n\n{inspect.cleandoc(cls.__doc__ or '')}\n"
        hints = get_type_hints(cls, include_extras=True)
        fields = dataclasses.fields(cls)
        if fields:
            yield "| field | type | meaning |"
            yield "|---|---|---|"
        for item in fields:
            kind, meaning = get_args(hints[item.name])
            shown = kind.__name__ if type(kind) is type else str(kind).replace("typing.", "")
            yield f"| `{item.name}` | `{shown.replace('|', 'or')}` | {meaning} |"
        yield ""


def error_codes() -> Iterator[str]:
    """Each code with its exit code, the messages that it comes with, and their fixes."""
    for code, places in collect(ROOT).items():
        exits = sorted({place.exit_code for place in places})
        yield f"## {code}\n"
        yield "; ".join(f"Exit {number}: {EXITS[number]}" for number in exits) + ".\n"
        for place in places:
            yield f"- {_literal(place.message)}  \n  *fix:* {_literal(place.fix)}"
        yield ""


def ops() -> Iterator[str]:
    """Each public function of tlplat.ops with its signature and docstring."""
    from tlplat import ops as package

    for name in package.__all__:
        item = getattr(package, name)
        yield f"## {name}\n"
        if inspect.isfunction(item):
            source = inspect.getsource(item)
            node = ast.parse(source).body[0]
            assert isinstance(node, ast.FunctionDef)
            yield f"```python\n{_signature(node, source)}\n```\n"
        yield f"```text\n{inspect.cleandoc(item.__doc__ or '')}\n```\n"


def keras_layers() -> Iterator[str]:
    """The allow-list of layers, with the options that are read."""
    from tlplat.kerasio.layers import KINDS

    yield "| layer | options that are read |"
    yield "|---|---|"
    yield "| `InputLayer` | `batch_shape` |"
    for name, kind in KINDS.items():
        yield f"| `{name}` | {', '.join(f'`{option}`' for option in kind.options) or 'none'} |"


def hook_of_kind() -> Iterator[str]:
    """Entry-point groups."""
    from tlplat.installed import GROUPS

    yield from (f"- `tlplat.{group}`" for group in GROUPS)


def domain_options(module: str, name: str) -> Iterator[str]:
    """The domain's own flags, from its class of options."""
    options = getattr(importlib.import_module(f"{module}.domain"), name)
    yield "| flag | default | meaning |"
    yield "|---|---|---|"
    for name, info in options.model_fields.items():
        default = "" if info.default in (None, ()) else f"`{info.default}`"
        choices = getattr(info.annotation, "__args__", ())
        words = ", ".join(f"`{c}`" for c in choices if isinstance(c, str))
        yield f"| `--{name.replace('_', '-')}` | {default} | {info.description}{f' ({words})' if words else ''} |"


def domain_assets(module: str) -> Iterator[str]:
    """The files that the demo fetches."""
    yield "| asset | from | MB | licence | SHA-256 |"
    yield "|---|---|---|---|---|"
    for asset in importlib.import_module(f"{module}.assets").ALL:
        origin, size = f"{asset.origin.distribution} {asset.origin.version}", (asset.bytes or 0) / 1e6
        yield f"| `{asset.name}` | `{origin}` | {size:.2f} | {asset.license} | `{asset.sha256[:12]}...` |"


def _signature(node: ast.FunctionDef, source: str) -> str:
    """The signature as it stands in the source."""
    lines = source.splitlines()[node.lineno - 1 : node.body[0].lineno - 1]
    return "\n".join(lines).removesuffix(":")


def _literal(text: str) -> str:
    """Text in which Markdown and HTML see nothing of their own, but for code between backticks."""
    pieces = text.split("`")
    return "`".join(p if i % 2 else re.sub(r"([*_<>\[\]|])", r"\\\1", p) for i, p in enumerate(pieces))


def template(kind: str, file: str) -> Iterator[str]:
    """A file of what ``tlplat plugins new KIND my_own`` writes."""
    import jinja2

    folder = ROOT / "tlplat" / "templates" / "plugin" / "{{ distribution }}"
    names = {"kind": kind, "name": "my_own", "module": "tlplat_my_own", "class_name": "MyOwn"}
    text = jinja2.Template((folder / file).read_text(encoding="utf-8")).render(names)
    yield f"```python\n{text.rstrip()}\n```"


def template_code(kind: str) -> Iterator[str]:
    """The module."""
    yield from template(kind, f"{{% if kind == '{kind}' %}}{{{{ module }}}}.py{{% endif %}}.jinja")


def template_tests(kind: str) -> Iterator[str]:
    """Its tests."""
    yield from template(kind, "tests/test_{{ name }}.py.jinja")


PARTS: dict[str, tuple[Callable[[], Iterator[str]], str]] = {
    "cli": (cli, "tlplat"),
    "strategy-table": (strategy_table, "tlplat"),
    "strategies": (strategy_pages, "tlplat"),
    "tasks": (task_pages, "tlplat"),
    "hooks": (hooks, "tlplat"),
    "events": (events, "tlplat"),
    "entry-point-groups": (hook_of_kind, "tlplat"),
    "template-domain": (partial(template_code, "domain"), "tlplat"),
    "template-domain-tests": (partial(template_tests, "domain"), "tlplat"),
    "template-task": (partial(template_code, "task"), "tlplat"),
    "template-task-tests": (partial(template_tests, "task"), "tlplat"),
    "errors": (error_codes, "tlplat"),
    "keras-layers": (keras_layers, "tlplat"),
    "ops": (ops, "tlplat"),
    "genomics-options": (partial(domain_options, "tlplat_genomics", "GenomicsOptions"), "tlplat_genomics"),
    "genomics-assets": (partial(domain_assets, "tlplat_genomics"), "tlplat_genomics"),
    "finance-options": (partial(domain_options, "tlplat_finance", "FinanceOptions"), "tlplat_finance"),
    "medicine-options": (partial(domain_options, "tlplat_medicine", "MedicineOptions"), "tlplat_medicine"),
    "nlp-options": (partial(domain_options, "tlplat_nlp", "NlpOptions"), "tlplat_nlp"),
    "nlp-assets": (partial(domain_assets, "tlplat_nlp"), "tlplat_nlp"),
    "vision-options": (partial(domain_options, "tlplat_vision", "VisionOptions"), "tlplat_vision"),
    "vision-assets": (partial(domain_assets, "tlplat_vision"), "tlplat_vision"),
}
"""What makes each part, and the package that must be installed for it."""


def pages() -> list[Path]:
    """README.md and the pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def parts(text: str) -> list[str]:
    """Names of the parts that a page has."""
    return [match[2] for match in PART.finditer(text)]


@contextmanager
def own_plugins() -> Iterator[None]:
    """Leaves out plugins of third parties, whose commands would stand in the help."""
    before = os.environ.get("TLPLAT_PLUGINS")
    os.environ["TLPLAT_PLUGINS"] = "tlplat"
    try:
        yield
    finally:
        del os.environ["TLPLAT_PLUGINS"]
        if before is not None:
            os.environ["TLPLAT_PLUGINS"] = before


def filled(text: str) -> str:
    """The page with its parts made anew; one whose package is not installed stays as it is."""

    def made(match: re.Match[str]) -> str:
        make, package = PARTS[match[2]]
        if importlib.util.find_spec(package) is None:
            return match[0]
        with own_plugins():
            return match[1] + "\n".join(make()).rstrip() + "\n" + match[3]

    return PART.sub(made, text)


def main() -> int:
    """Write the pages that changed; with ``--check`` only name them and end with 1."""
    changed = {p: new for p in pages() if (new := filled(old := p.read_text(encoding="utf-8"))) != old}
    for path, text in changed.items():
        print(path.relative_to(ROOT))
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    return 1 if changed and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
