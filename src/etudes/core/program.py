"""What a study's numbers follow from, as hashes: its own program, and the project's modules below it.

The program's hash is over the syntax of the function and of all that it reaches by name in its own file and in the
modules beside it. So an edited step makes other runs, while docstrings, comments, claims, charts and the words of STUDY
can change and the runs stay. It is the same under every version of Python.
"""

import ast
import dataclasses
import functools
import hashlib
import inspect
import json
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
PLAIN = (bool, int, float, complex, str, bytes, tuple, type(None))
ASIDE = ("core", "exhibits", "reports", "studies", "sweep", "web")  # folders whose modules decide no number of a run


def digest(program: Callable[..., Any]) -> str:
    """The first 8 digits of the sha256 over the program and what it reaches in its study's own files."""
    file = _file(program)
    if file is None:
        return _sha256(sorted(_cells(program)))
    return _sha256(_Reached(file, program.__qualname__.partition(".")[0]).syntax())


def measure_digest(measure: Any) -> str:
    """As `digest`, of what a claim measures: a function, a lambda, what it closes over, or an object that is called."""
    return _sha256(_described(measure))


def _described(value: Any) -> Any:
    if isinstance(value, types.FunctionType):
        file, node = _file(value), _node(value)
        closed = {name: _described(cell.cell_contents) for name, cell in _closed(value)}
        if file is None or node is None:
            return [_compiled(value), closed, sorted(map(json.dumps, _cells(value)))]
        names = sorted({child.id for child in ast.walk(node) if isinstance(child, ast.Name)} - closed.keys())
        # What of the library it calls goes by its name alone, as in `digest`.
        return [_tree(node), closed, [_Reached(file, name).syntax() for name in names]]
    if isinstance(value, functools.partial):
        return [_described(value.func), _described(list(value.args)), _described(value.keywords)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [
            type(value).__qualname__,
            {f.name: _described(getattr(value, f.name)) for f in dataclasses.fields(value)},
        ]
    if isinstance(value, Mapping):
        return {str(key): _described(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return sorted(map(repr, value)) if isinstance(value, set | frozenset) else [_described(item) for item in value]
    return repr(value) if isinstance(value, PLAIN) else [type(value).__qualname__, getattr(value, "__qualname__", "")]


def _closed(function: types.FunctionType) -> Iterator[tuple[str, types.CellType]]:
    return zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)


def _node(function: types.FunctionType) -> ast.AST | None:
    """The definition of a function in its file, found by where its instructions stand; None without it."""
    file, code = _file(function), function.__code__
    if file is None or Path(code.co_filename) != file:
        return None
    places = [p for p in code.co_positions() if None not in p and p[2] != p[3]]
    start, end = min((p[0], p[2]) for p in places[1:] or places), max((p[1], p[3]) for p in places[1:] or places)
    around = [
        node
        for node in ast.walk(_parsed(file, file.stat().st_mtime_ns))
        if isinstance(node, ast.Lambda | ast.FunctionDef)
        and (node.lineno, node.col_offset) <= start
        and (node.end_lineno, node.end_col_offset) >= end
    ]
    return max(around, key=lambda node: (node.lineno, node.col_offset), default=None)


@functools.cache
def _parsed(file: Path, changed: int) -> ast.Module:
    return ast.parse(file.read_bytes())


def library(program: Callable[..., Any]) -> str:
    """The first 8 digits of the sha256 over the project's modules that the study imports, directly or not."""
    file = _file(program)
    if file is None:
        return ""
    own = _Reached(file, program.__qualname__.partition(".")[0]).files
    found: set[Path] = set()
    waiting = [path for mine in own for path in _used(mine)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _used(path)
    return _sha256([[path.relative_to(PACKAGE).as_posix(), _module_digest(path)] for path in sorted(found)])


def _file(program: Callable[..., Any]) -> Path | None:
    name = getattr(sys.modules.get(program.__module__), "__file__", None)
    return Path(name) if name and Path(name).is_file() else None


def _cells(program: Callable[..., Any]) -> Iterator[Any]:
    """What a program of a notebook reaches by name there: its functions and classes as syntax, and plain constants."""
    around, waiting, seen = getattr(program, "__globals__", {}), [program], {id(program)}
    while waiting:
        part = waiting.pop()
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(part)))
        except (OSError, TypeError, SyntaxError):  # without its source: what this version of Python made of it
            yield _compiled(part)
            continue
        yield [part.__qualname__, _tree(tree)]
        for name in sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & around.keys()):
            value = around[name]
            if isinstance(value, PLAIN):
                yield [name, repr(value)]
            own = isinstance(value, type | types.FunctionType) and value.__module__ == program.__module__
            if own and id(value) not in seen:
                seen.add(id(value))
                waiting.append(value)


def _compiled(part: Any) -> Any:
    code = getattr(part, "__code__", part)
    if not isinstance(code, types.CodeType):
        return [type(part).__name__, []]
    return [code.co_qualname if hasattr(code, "co_qualname") else code.co_name, _bytes(code)]


def _bytes(code: types.CodeType) -> Any:
    inner = [_bytes(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), inner, list(code.co_names)]


class _Reached:
    """The top-level statements that a name of a file reaches, there and in the modules beside it."""

    def __init__(self, file: Path, name: str) -> None:
        self.home = file.parent
        self.files: dict[Path, dict[str, list[ast.stmt]]] = {}
        self.statements: dict[tuple[str, int], ast.stmt] = {}
        self.outside: set[str] = set()
        self._seen: set[tuple[Path, str]] = set()
        self.visit(file, name)

    def syntax(self) -> Any:
        return [
            sorted(self.outside),
            [[file, _tree(node)] for (file, _), node in sorted(self.statements.items(), key=lambda item: item[0])],
        ]

    def visit(self, file: Path, name: str) -> None:
        if (file, name) in self._seen:
            return
        self._seen.add((file, name))
        if file not in self.files:
            self.files[file] = _defined(ast.parse(file.read_bytes()))
            self.visit(file, "")  # what is done at import, whatever is asked for
        for node in self.files[file].get(name, []):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._follow(file, node, name)
                continue
            self.statements[file.relative_to(self.home).as_posix(), node.lineno] = node
            for child in ast.walk(node):
                if isinstance(child, ast.Name):
                    self.visit(file, child.id)
                elif isinstance(child, ast.Import | ast.ImportFrom):
                    for alias in child.names:
                        self._follow(file, child, alias.asname or alias.name.partition(".")[0])

    def _follow(self, file: Path, node: ast.Import | ast.ImportFrom, name: str) -> None:
        """Go on in the file that an import brings `name` from, where that lies beside the study's."""
        for alias in node.names:
            if name not in (alias.asname or alias.name.partition(".")[0], "*"):
                continue
            module = node.module or "" if isinstance(node, ast.ImportFrom) else alias.name
            wanted = alias.name if isinstance(node, ast.ImportFrom) else "*"
            level = node.level if isinstance(node, ast.ImportFrom) else 0
            submodule, whole = self._beside(file, level, f"{module}.{wanted}"), self._beside(file, level, module)
            if submodule:
                self._visit_all(submodule)
            elif whole and wanted == "*":
                self._visit_all(whole)
            elif whole:
                self.visit(whole, wanted)
            else:
                self.outside.add(f"{'.' * level}{module} {wanted}")

    def _visit_all(self, file: Path) -> None:
        self.visit(file, "")
        for name in self.files[file]:
            self.visit(file, name)

    def _beside(self, file: Path, level: int, module: str) -> Path | None:
        """The file of a module in the study's own folder, or None."""
        parts = [part for part in module.split(".") if part and part != "*"]
        if level:
            folder = file.parents[level - 1]
        elif PACKAGE in file.parents:
            if parts[:1] != ["etudes"]:
                return None
            folder, parts = PACKAGE, parts[1:]
        else:
            folder = self.home
        path = _source(folder, parts)
        # A study of the catalogue that is one file has no modules beside it: its neighbours are other studies.
        alone = PACKAGE in self.home.parents and self.home.parent.name == "studies"
        return path if path and self.home in path.parents and not alone else None


def _source(folder: Path, parts: list[str]) -> Path | None:
    if not parts:
        return None
    path = folder.joinpath(*parts)
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def _defined(module: ast.Module) -> dict[str, list[ast.stmt]]:
    """{name: the top-level statements that bind it}; under "" those that are performed at import in any case."""
    found: dict[str, list[ast.stmt]] = {"": []}
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.asname or alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not _changes_a_part(node):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            names = []  # a docstring
        else:
            names = [""]
        for name in names:
            found.setdefault(name, []).append(node)
    return found


def _changes_a_part(node: ast.Assign | ast.AnnAssign) -> bool:
    """Whether it sets something inside an object, as in `TABLE["a"] = 1` or `torch.backends.x = y`."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Attribute | ast.Subscript) for target in targets)


def _tree(node: Any) -> Any:
    """The syntax as nested lists, without docstrings and without what only some versions of Python write."""
    if isinstance(node, ast.AST):
        fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
        body = fields.get("body")
        if isinstance(body, list) and _is_docstring(body[0]) and hasattr(node, "body"):
            fields["body"] = body[1:]
        for name in ("ctx", "kind", "type_comment"):
            fields.pop(name, None)
        return [type(node).__name__, *([name, _tree(value)] for name, value in sorted(fields.items()))]
    return [_tree(item) for item in node] if isinstance(node, list) else repr(node)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@functools.cache
def _module_digest(path: Path) -> str:
    return _sha256(_tree(ast.parse(path.read_bytes())))


@functools.cache
def _used(path: Path) -> tuple[Path, ...]:
    """The project's modules that a file imports, at its top or later, but for those that decide no number."""
    return tuple(
        found
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for found in _imported(path, node)
        if found.relative_to(PACKAGE).parts[0] not in ASIDE and len(found.relative_to(PACKAGE).parts) > 1
    )


def _imported(path: Path, node: ast.Import | ast.ImportFrom) -> Iterator[Path]:
    for alias in node.names:
        if isinstance(node, ast.Import):
            folder, parts = PACKAGE.parent, alias.name.split(".")
        else:
            folder = path.parents[node.level - 1] if node.level else PACKAGE.parent
            parts = (node.module or "").split(".") if node.module else []
        module = _source(folder, parts) or (folder / "__init__.py" if not parts else None)
        deeper = _source(folder, [*parts, alias.name]) if isinstance(node, ast.ImportFrom) else None
        if module and PACKAGE in module.parents:
            yield deeper or _behind_face(module, alias.name) or module


def _behind_face(module: Path, name: str) -> Path | None:
    """The file from which a package's `__init__` takes a name that it only hands on."""
    if module.name != "__init__.py":
        return None
    for node in ast.parse(module.read_bytes()).body:
        if isinstance(node, ast.ImportFrom) and name in [alias.asname or alias.name for alias in node.names]:
            return next(iter(_imported(module, ast.ImportFrom(node.module, [ast.alias(name)], node.level))), None)
    return None


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:8]
