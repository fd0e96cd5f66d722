"""Where a plan's runs are kept: a folder, or a URL that fsspec can read and write.

In a folder (of this machine, or a network folder that several mount) runs are written where they stay. A URL has no
renames or locks to build on, so runs are performed in a folder of the cache, and a finished one is copied to the URL,
`result.json` last: whoever reads there sees it whole or not at all. What an unfinished one saved stays on its machine.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from etudes.core.errors import Problem
from etudes.core.files import appearing
from etudes.core.record import is_finished
from etudes.core.spec import Spec


class Store:
    """`root`, a URL or an absolute path, and `folder`, where its runs are on this machine.

    Raises Problem on a URL of a kind that is not known or whose library is not installed.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = str(root)
        self._files: Any = None
        if "://" not in self.root:
            self.folder, self.root = Path(root), str(Path(root).resolve())
            return
        import fsspec

        from etudes.data.sources import cache_folder

        try:
            self._files, self._path = fsspec.core.url_to_fs(self.root)
        except (ValueError, ImportError) as error:
            raise Problem(f"{self.root} cannot be a root of runs: {error}") from None
        self.folder = cache_folder() / "roots" / hashlib.sha256(self.root.encode()).hexdigest()[:16]

    def bring(self, plan: Iterable[Spec]) -> None:
        """Copy those of the plan's runs that are finished at the URL, and not here, into the folder."""
        if self._files is None:
            return
        for spec in plan:
            there, here = f"{self._path}/{spec.key}", self.folder / spec.key
            if is_finished(here) or not self._asked(self._files.exists, f"{there}/result.json"):
                continue
            names = sorted(
                (path.rpartition("/")[2] for path in self._asked(self._files.ls, there, detail=False)),
                key=lambda name: name == "result.json",
            )
            for name in names:
                with appearing(here / name) as draft:
                    self._asked(self._files.get_file, f"{there}/{name}", str(draft))

    def send(self, spec: Spec) -> None:
        """Copy the finished run to the URL."""
        if self._files is None:
            return
        there, here = f"{self._path}/{spec.key}", self.folder / spec.key
        self._asked(self._files.makedirs, there, exist_ok=True)
        files = sorted(
            (path for path in here.iterdir() if path.is_file() and path.name != "lock"),
            key=lambda path: path.name == "result.json",
        )
        for path in files:
            self._asked(self._files.put_file, str(path), f"{there}/{path.name}")

    def _asked(self, do: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return do(*arguments, **options)
        except Exception as error:  # each kind of store has errors of its own
            words = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise Problem(f"{self.root} does not answer ({words}); finished runs are kept in {self.folder}") from None
