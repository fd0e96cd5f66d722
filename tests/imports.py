"""Writes docs/imports.md, the map from what a study needs to what it imports: python tests/imports.py

It is made from the first line of each module's docstring and from the tables of etudes.core and etudes.train.
"""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "etudes"
PAGE = Path(__file__).parents[1] / "docs" / "imports.md"
FOLDERS = {  # in the order in which a study needs them; what is not there is left out
    "data": "Data",
    "nn": "Networks and layers",
    "losses": "Losses",
    "optim": "Optimisers and schedules",
    "measure": "Measures",
    "generate": "Generation",
    "audio": "Sound",
    "games": "Games",
    "rl": "Reinforcement learning",
    "trees": "Trees",
    "retrieval": "Retrieval",
    "tools": "Networks that several studies share",
    "exhibits": "What runs leave to look at",
}
HEAD = """# I need ... : what to import

Made by `python tests/imports.py` from the first lines of the modules; edit those, not this page.
[Adding a study](adding-a-study.md) says what a study is made of. What is not here may be in PyTorch, NumPy or SciPy,
or belongs into your study's own file.
"""


def page() -> str:
    """The text of docs/imports.md."""
    parts = [HEAD]
    for name, title in (("core", "A study and its parts"), ("train", "Training")):
        lines = ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text())).splitlines()
        table = [line for line in lines if line.startswith("|")]
        parts.append(f"## {title}\n\n`from etudes.{name} import ...`\n\n" + "\n".join(table) + "\n")
    chart = row(PACKAGE / "reports" / "charts.py")
    parts.append(table_of("Charts", [chart] if chart else rows(PACKAGE / "reports" / "charts")))
    parts += [table_of(title, rows(PACKAGE / folder)) for folder, title in FOLDERS.items()]
    return "\n".join(filter(None, parts))


def table_of(title: str, found: list[str]) -> str:
    return (
        f"## {title}\n\n| I need ... | from ... | import |\n|---|---|---|\n" + "\n".join(found) + "\n" if found else ""
    )


def rows(folder: Path) -> list[str]:
    return list(filter(None, map(row, sorted(folder.rglob("*.py")))))


def row(path: Path) -> str:
    """A module's line of the table; "" where it has no docstring, or nothing to import."""
    if not path.is_file():
        return ""
    module = ast.parse(path.read_text())
    said = ast.get_docstring(module)
    names = [
        node.name
        for node in module.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    if not said or not names:
        return ""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    address = ".".join(part for part in parts if part != "__init__")
    first = said.split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    return f"| {first} | `{address}` | {', '.join(f'`{name}`' for name in names)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
