"""Every error code of tlplat and its plugins, found by walking their syntax trees: message, exit code, fix."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tlplat import errors

CODE = re.compile(r"TL-[A-Z0-9]+(-[A-Z0-9]+)*")
CLASSES = {
    name: cls.exit_code
    for name, cls in vars(errors).items()
    if isinstance(cls, type) and issubclass(cls, errors.TlplatError)
}
"""Exit code by class name."""
MOST_HELPERS = 4
"""How many functions may pass a code on before it reaches its error."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Texts = Mapping[str, ast.expr | None]


@dataclass(frozen=True)
class Place:
    """One way in which a code is raised; expressions in the texts are shown as ``<name>``."""

    exit_code: int
    message: str
    fix: str


@dataclass
class Module:
    """A file's tree, the strings that its constants hold, and the function around each call."""

    path: Path
    tree: ast.Module
    constants: dict[str, ast.expr] = field(default_factory=dict)
    calls: list[tuple[ast.Call, Function | None]] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path) -> Module:
        module = cls(path, ast.parse(path.read_text(encoding="utf-8")))
        for node in module.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                module.constants[node.targets[0].id] = node.value
        module._collect(module.tree, None)
        return module

    def function(self, name: str) -> ast.FunctionDef | None:
        """The function of that name at the module's top."""
        return next((n for n in self.tree.body if isinstance(n, ast.FunctionDef) and n.name == name), None)

    def _collect(self, node: ast.AST, inside: Function | None) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                self.calls.append((child, inside))
            self._collect(child, child if isinstance(child, Function) else inside)


def sources(root: Path) -> list[Path]:
    """The Python files of the core and of the plugins."""
    return sorted([*(root / "tlplat").rglob("*.py"), *(root / "plugins").glob("*/tlplat_*/**/*.py")])


def mentioned(root: Path) -> set[str]:
    """Codes that stand alone in a string of the code: what :func:`collect` must find, at the least."""
    trees = (ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for path in sources(root))
    strings = (n.value for tree in trees for n in tree if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return {text for text in strings if CODE.fullmatch(text)}


def collect(root: Path) -> dict[str, list[Place]]:
    """Where each code comes from, by code in alphabetical order."""
    modules = [Module.of(path) for path in sources(root)]
    found: dict[str, list[Place]] = {}
    for module in modules:
        for call, inside in module.calls:
            name = _name(call)
            if name not in CLASSES or len(call.args) < 2:
                continue
            fix = next((k.value for k in call.keywords if k.arg == "fix"), None)
            texts = {"code": call.args[0], "message": call.args[1], "fix": fix}
            for code, message, advice in _expanded(texts, module, inside, modules, MOST_HELPERS):
                place = Place(CLASSES[name], message, advice)
                if place not in found.setdefault(code, []):
                    found[code].append(place)
    return dict(sorted(found.items()))


def _expanded(
    texts: Texts, module: Module, inside: Function | None, modules: Iterable[Module], depth: int
) -> Iterator[tuple[str, str, str]]:
    """Code, message and fix; what a helper receives as an argument is looked up where the helper is called."""
    parameters = _parameters(inside)
    passed = {k for k, e in texts.items() if isinstance(e, ast.Name) and e.id in parameters}
    if passed and inside is not None and depth:
        for other in [module] if inside.name.startswith("_") else modules:
            for call, caller in other.calls:
                if _name(call) == inside.name:
                    bound = _bound(call, inside)
                    moved = {k: bound.get(e.id) if k in passed else e for k, e in texts.items()}  # type: ignore[union-attr]
                    yield from _expanded(moved, other, caller, modules, depth - 1)
        return
    for code in _codes(texts["code"], module, inside):
        yield code, _text(texts["message"], module, inside), _text(texts["fix"], module, inside)


def _codes(expression: ast.expr | None, module: Module, inside: Function | None) -> Iterator[str]:
    if isinstance(expression, ast.Constant) and isinstance(expression.value, str) and CODE.fullmatch(expression.value):
        yield expression.value
    elif isinstance(expression, ast.IfExp):
        yield from _codes(expression.body, module, inside)
        yield from _codes(expression.orelse, module, inside)
    elif isinstance(expression, ast.Name):
        yield from _codes(module.constants.get(expression.id), module, inside)
    elif isinstance(expression, ast.JoinedStr) and isinstance(head := expression.values[0], ast.Constant):
        variable = expression.values[1]
        assert isinstance(variable, ast.FormattedValue)
        for word in _strings(_assigned(ast.unparse(variable.value), inside)):
            if CODE.fullmatch(f"{head.value}{word}"):
                yield f"{head.value}{word}"


def _text(expression: ast.expr | None, module: Module, inside: Function | None = None) -> str:
    """A message as a pattern; with ``inside`` also local names are looked up."""
    if expression is None:
        return ""
    if isinstance(expression, ast.Constant):
        return str(expression.value)
    if isinstance(expression, ast.JoinedStr):
        return "".join(_text(part, module) for part in expression.values)
    if isinstance(expression, ast.FormattedValue):
        value = expression.value
        if isinstance(value, ast.IfExp):  # a plural, or a detail that may be missing
            return max(_text(value.body, module), _text(value.orelse, module), key=len)
        return _text(value, module)
    if isinstance(expression, ast.BinOp):
        return _text(expression.left, module, inside) + _text(expression.right, module, inside)
    if isinstance(expression, ast.IfExp):
        return f"{_text(expression.body, module, inside)} / {_text(expression.orelse, module, inside)}"
    if isinstance(expression, ast.Name) and inside is not None:
        said = [_text(value, module) for value in _assigned(expression.id, inside)]
        if expression.id in module.constants:
            said.append(_text(module.constants[expression.id], module))
        text = " / ".join(dict.fromkeys(said))
        return text if text and not re.fullmatch(r"<[\w.]+>", text) else f"<{expression.id}>"
    if isinstance(expression, ast.Call) and _name(expression) == "did_you_mean":
        return ""
    if isinstance(expression, ast.Call) and inside is not None and (helper := module.function(_name(expression))):
        returned = [n.value for n in ast.walk(helper) if isinstance(n, ast.Return)]
        return _text(returned[-1], module, helper)
    return f"<{_short(expression)}>"


def _short(expression: ast.expr) -> str:
    """A word or two for an expression: its last name."""
    if isinstance(expression, ast.Call):
        inner = expression.args[0] if expression.args else expression.func
        return _short(expression.func) if isinstance(inner, ast.Constant | ast.GeneratorExp) else _short(inner)
    if isinstance(expression, ast.Attribute):
        return expression.attr
    if isinstance(expression, ast.Name):
        return expression.id
    if isinstance(expression, ast.Subscript):
        return _short(expression.value)
    return "..."


def _assigned(name: str, inside: Function | None) -> list[ast.expr]:
    nodes = ast.walk(inside) if inside is not None else iter(())
    pairs = [(n.targets[0], n.value) for n in nodes if isinstance(n, ast.Assign)]
    return [value for target, value in pairs if isinstance(target, ast.Name) and target.id == name]


def _strings(expressions: Iterable[ast.expr]) -> Iterator[str]:
    for expression in expressions:
        for node in ast.walk(expression):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def _parameters(function: Function | None) -> list[str]:
    if function is None:
        return []
    return [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]


def _bound(call: ast.Call, function: Function) -> dict[str, ast.expr]:
    """The arguments of a call by parameter, defaults included."""
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
    defaults = dict(zip(reversed(names), reversed(function.args.defaults), strict=False))
    if isinstance(call.func, ast.Attribute) and names[:1] in (["self"], ["cls"]):
        names = names[1:]
    keywords = {k.arg: k.value for k in call.keywords if k.arg}
    return {**defaults, **dict(zip(names, call.args, strict=False)), **keywords}


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
