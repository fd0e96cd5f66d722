"""Where a dataset's bytes come from: its authors' own files, a mirror, the own cache, the hub, a package registry, or
an installed package.

The kinds are tried in the order of KINDS; nothing is fetched at import.
"""

import os
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from etudes.core.errors import Problem, unknown
from etudes.data.sources.carriers import Carrier, cache_path, digest, is_offered
from etudes.data.sources.declared import SOURCES
from etudes.data.sources.source import Source

if TYPE_CHECKING:
    from datasets import DatasetDict

Data = TypeVar("Data")
RULE = 1  # raise it when the same bytes are decoded into other arrays, so that older decoded copies are left alone
KINDS = ("originals", "mirror", "cache", "hub", "carrier", "embedded")


def find(name: str) -> Source:
    """The Source of a declared name, of its hub spelling, or of any folder owner/name of the mirror."""
    if name in SOURCES:
        return SOURCES[name]
    for source in SOURCES.values():
        if name == source.hub:
            return source
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        source = Source(name, "classification", name, "", "see its README.md", 0, {}, ())
        if mirror_folder(source):
            return source
        raise Problem(f"no dataset '{name}' is declared or stands in the mirror; {_mirror_says(source)}")
    raise unknown("dataset", name, SOURCES)


def cache_folder() -> Path:
    """The own cache: $ETUDES_CACHE, else $XDG_CACHE_HOME/etudes, else ~/.cache/etudes."""
    if own := os.environ.get("ETUDES_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "etudes"


def mirror_folder(source: Source) -> Path | None:
    """The dataset's folder in the mirror named by ETUDES_MIRROR, if it stands there.

    Raises Problem where the variable names no folder: a slip of the pen would else be a run on other data.
    """
    root = os.environ.get("ETUDES_MIRROR")
    if not root:
        return None
    if not Path(root).is_dir():
        raise Problem(f"ETUDES_MIRROR is '{root}', which is no folder; name the mirror's folder, or unset it")
    folder = Path(root) / source.folder
    return folder if any(folder.rglob("*.parquet")) else None


def originals_folder(source: Source) -> Path | None:
    """The folder with the set as its authors publish it: in the mirror, there beside its hub copy, or in the cache."""
    root = os.environ.get("ETUDES_MIRROR")
    places = ([Path(root), Path(root) / source.folder] if root else []) + [cache_folder()]
    folders = [place / source.originals for place in places if source.originals]
    return next((folder for folder in folders if folder.is_dir()), None)


def copy_path(source: Source, kind: str, key: str) -> Path:
    """Where the cache keeps what was decoded from the bytes that `key` (a sha256, a revision) stands for."""
    kinds = {"text": ("texts", "json"), "sound": ("sounds", "safetensors")}
    folder, suffix = kinds.get(source.task, ("images", "safetensors"))
    name = "--".join(filter(None, (*source.folder.split("/"), source.rows[1])))  # several sets may share a table
    return cache_folder() / folder / name / f"{kind}-{key}-{RULE}.{suffix}"


def decoded_copies(source: Source) -> list[Path]:
    """The decoded copies that may stand in for the source: of its carrier and revision as declared, of any mirror."""
    copies = [copy_path(source, "carrier", source.carrier.sha256)] if source.carrier else []
    copies += [copy_path(source, "hub", source.revision)] if source.revision else []
    mirrored = copy_path(source, "mirror", "*")
    return [path for path in copies if path.exists()] + sorted(mirrored.parent.glob(mirrored.name))


@cache
def hub_answers() -> bool:
    """Whether the hub answers one request within three seconds; asked once a process."""
    from huggingface_hub.constants import ENDPOINT

    request = urllib.request.Request(ENDPOINT, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=3) as answer:
            return answer.status < 400
    except (OSError, ValueError):  # urllib's own errors are OSErrors
        return False


def offline() -> bool:
    """Whether the environment says to leave the hub alone."""
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    return any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in names)


def has_access(source: Source) -> bool:
    """Whether the hub may let this machine read the source: it is open to all, or a token is set."""
    if not source.gated:
        return True
    from huggingface_hub import get_token

    return bool(get_token())


def possible(kind: str, source: Source) -> bool:
    """Whether a kind is worth trying. For a carrier this asks nobody: trying is the question."""
    return {
        "originals": lambda: originals_folder(source) is not None,
        "mirror": lambda: mirror_folder(source) is not None,
        "cache": lambda: bool(decoded_copies(source)),
        "hub": lambda: bool(source.revision) and not offline() and has_access(source) and hub_answers(),
        "carrier": lambda: source.carrier is not None,
        "embedded": lambda: source.embedded,
    }[kind]()


def reachable(name: str) -> str:
    """The kind that would serve a dataset now, "" for none. Downloads nothing, but may ask the hub or a registry."""
    source = find(name)
    for kind in KINDS:
        if possible(kind, source) and (kind != "carrier" or _carried(source.carrier)):
            return kind
    return ""


def _carried(carrier: Carrier | None) -> bool:
    if carrier is None:
        return False
    file = cache_path(carrier, cache_folder())
    return (file.exists() and digest(file) == carrier.sha256) or is_offered(carrier)


def read_first(source: Source, read: Callable[[str], Data]) -> Data:
    """What `read(kind)` makes of the source, of the first kind in the order of KINDS that is possible and is read.

    Problem where the mirror is damaged, or when no kind can be read.
    """
    failed = {}
    for kind in KINDS:
        if possible(kind, source):
            try:
                return read(kind)
            except Problem as problem:
                if kind in ("originals", "mirror"):  # whoever keeps one wants to know that it is damaged
                    raise
                failed[kind] = str(problem)
    raise unreachable(source, failed)


def unreachable(source: Source, failed: Mapping[str, str]) -> Problem:
    """The Problem of a dataset that no kind serves: what was tried, why each failed, what to do."""
    hub = "no answer"
    if not source.revision:
        hub = "the set is not on the hub"
    elif offline():
        hub = "told to stay offline"
    elif not has_access(source):
        hub = f"accept the terms of {source.hub} there, then set HF_TOKEN to a token of your account"
    tried = {
        "mirror": _mirror_says(source),
        "cache": f"no decoded copy under {cache_folder()}",
        "hub": hub,
        "carrier": "no package carries it",
    } | dict(failed)
    if source.originals:
        tried = {"originals": f"no folder {source.originals} in the mirror or the cache"} | tried
    columns = ", ".join(source.columns)
    made = f" (Parquet with the columns {columns}, from {source.upstream})" if source.upstream else ""
    get = f"connect and run `etudes data get {source.name}`, " if source.revision or source.carrier else ""
    pictures = ("classification", "generation")
    alike = pictures if source.task in pictures else (source.task,)
    embedded = ", ".join(other.name for other in SOURCES.values() if other.embedded and other.task in alike)
    other = f"or use a dataset that is embedded ({embedded})" if embedded else "or use another dataset"
    return Problem(
        f"no source of '{source.name}' can be reached: {'; '.join(f'{k}: {v}' for k, v in tried.items())}. "
        f"Set ETUDES_MIRROR to a folder that holds {source.folder}{made}, {get}{other}"
    )


def _mirror_says(source: Source) -> str:
    root = os.environ.get("ETUDES_MIRROR")
    return f"{root} holds no {source.folder}" if root else "ETUDES_MIRROR is not set"


def read_mirror(source: Source) -> "DatasetDict":
    """The splits in the mirror, held in memory. Problem naming the file that cannot be read."""
    import datasets

    folder = mirror_folder(source)
    assert folder is not None
    # A cache of its own, thrown away: the library's would hand out an older copy of a file changed in place.
    with tempfile.TemporaryDirectory(prefix="etudes-") as temporary, quiet():
        try:
            names = datasets.get_dataset_config_names(str(folder))
            config = source.config if source.config in names else None
            return datasets.load_dataset(str(folder), config, cache_dir=temporary, keep_in_memory=True)
        except Exception as error:
            damaged = next(_damaged(folder), None)
            if damaged:
                raise Problem(f"{damaged} is damaged; copy it into the mirror again, or unset ETUDES_MIRROR") from None
            words = str(error).strip().splitlines() or [type(error).__name__]
            raise Problem(f"{folder} cannot be read as a dataset ({words[0]}); see its README.md") from None


def _damaged(folder: Path) -> Iterator[Path]:
    import pyarrow.parquet

    for file in sorted(folder.rglob("*.parquet")):
        try:
            pyarrow.parquet.read_table(file)
        except (OSError, ValueError):  # pyarrow's errors are one or the other
            yield file


@contextmanager
def quiet() -> Iterator[None]:
    import datasets

    silent = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not silent:
            datasets.enable_progress_bars()


def read_hub(source: Source) -> "DatasetDict":
    """The splits at the hub, at the pinned revision, in the hub library's own cache."""
    import datasets

    try:
        return datasets.load_dataset(source.hub, source.config or None, revision=source.revision)
    except Exception as error:  # the library raises a dozen unrelated kinds
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise Problem(f"{source.hub} could not be loaded from the hub ({words[0]}); try again later") from None
