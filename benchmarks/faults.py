"""The fault table: what is done to runs, and whether they stand it. `etudes bench faults` performs it, in minutes.

Each row is a test of tests/faults, which do these things for real: processes are killed, disks filled, files damaged.
"""

import ast
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as Tree
from collections import defaultdict
from pathlib import Path

from etudes.core.errors import Problem

HOUSE = Path(__file__).parents[1]
FILES = ("tests/faults/test_faults.py", "tests/sweep/test_cluster.py")


def rows() -> dict[str, str]:
    """{test: what is done and what must come of it}, from the tests' first lines."""
    found = {}
    for file in FILES:
        for node in ast.parse((HOUSE / file).read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and ast.get_docstring(node):
                found[node.name] = ast.get_docstring(node)
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.xml"
        command = [sys.executable, "-m", "pytest", "-q", *FILES, f"--junitxml={told}"]
        subprocess.run(command, cwd=HOUSE, check=False, stdout=subprocess.DEVNULL)
        outcomes, seconds = defaultdict(list), defaultdict(float)
        for case in Tree.parse(told).iter("testcase"):
            name = case.get("name").partition("[")[0]
            seconds[name] += float(case.get("time"))
            bad = next((part for part in case if part.tag in ("failure", "error", "skipped")), None)
            outcomes[name].append("passed" if bad is None else f"{bad.tag}: {bad.get('message', '').splitlines()[0]}")
    print("| fault | must come of it | outcome | seconds |\n|---|---|---|---|")
    for name, row in rows().items():
        fault, _, result = row.partition(": ")
        outcome = "; ".join(dict.fromkeys(outcomes[name])) or "not run"
        count = f" ({len(outcomes[name])} cases)" if len(outcomes[name]) > 1 else ""
        print(f"| {fault} | {result} | {outcome}{count} | {seconds[name]:.1f} |")
    failed = [
        name for name in rows() if not outcomes[name] or any(o.startswith(("failure", "error")) for o in outcomes[name])
    ]
    if failed:
        raise Problem(f"not every fault was stood: {', '.join(failed)}; `pytest {' '.join(FILES)}` says why")


if __name__ == "__main__":
    main()
