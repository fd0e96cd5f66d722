"""What a study is, as plain values: no tensors, no files, no work at import.

A `Study` holds variants and scales as mappings of changed `Config` fields, and claims as a number per seed with the
interval where the paper puts it. `Study.plan` turns them into `Spec`s, one for each run.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from etudes.core import program
from etudes.core.claims import Claim
from etudes.core.configs import check_fields, configure
from etudes.core.errors import Problem, unknown

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
FOLDERS = re.compile("once|report(-.*)?")  # what else stands beside the variants in a folder of runs
REPLICATION = 500  # the first seed of a replication; those below judge
TUNING = 1000  # the first seed for tuning
Changes = Mapping[str, Any]


def first_seed(seed: int) -> int:
    """The first of the seeds that belong together with this one: of a judgement, a replication, or a tuning."""
    return max(first for first in (0, REPLICATION, TUNING) if seed >= first)


@dataclass(frozen=True)
class Paper:
    title: str
    authors: str
    year: int
    url: str


@dataclass(frozen=True)
class Variant:
    """A named change of Config fields: what is compared."""

    name: str
    changes: Changes = field(default_factory=dict)
    says: str = ""


@dataclass(frozen=True)
class Scale:
    """A named size of the whole study: changed Config fields, the number of seeds, and the minutes it takes.

    `seeds` is the number of seeds, or those of its looks, as in (5, 8, 12, 20): the claims may be judged at each, and
    `--until decided` goes from one to the next (see `etudes.core.verdicts`). `minutes` is for all runs of the first
    look together, on two cores for "smoke" and "laptop". `judges` is False where the scale is too small for verdicts.
    `offline` holds further changes, announced when they are made, for when no source of the scale's data is reachable;
    they enter the config before it is hashed, so results bear the name of the data used, on which no claim is judged.
    The words in it name what stands in, such as a dataset (a tuple of words: several).
    `variants` are those that the scale runs where none are named, such as the end points of a long one; (): all.
    `threads` is what a run computes with; runs go side by side, so more than one pays for few long runs alone.
    """

    changes: Changes
    seeds: int | Sequence[int]
    minutes: float
    judges: bool = True
    offline: Changes = field(default_factory=dict)
    variants: Sequence[str] = ()
    threads: int = 1

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of seeds at which claims may be judged; the first is what a plain run performs."""
        return (self.seeds,) if isinstance(self.seeds, int) else tuple(self.seeds)

    @property
    def substitutes(self) -> dict[str, Any]:
        """The fields of `offline` that name something, or several things, with what stands in there."""
        return {name: value for name, value in self.offline.items() if isinstance(value, str | tuple)}


@dataclass(frozen=True)
class Spec:
    """All that decides the numbers of one run. Every field is hashed into `key`.

    `code` is the hash of the study's own program, see `etudes.core.program`.
    """

    study: str
    scale: str
    variant: str
    seed: int
    config: Changes
    precision: str = "fp32"
    threads: int = 1
    revision: int = 1
    code: str = ""

    @property
    def key(self) -> str:
        """study/scale/variant/seed-hash8: the run's folder below the root."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"{self.study}/{self.scale}/{self.variant}/{self.seed}-{digest}"


@dataclass(frozen=True)
class Study:
    """A question, the paper that answers it, and the program that tests the answer.

    `claims` is {sentence: claim}; each sentence can be read alone.
    `precision` is "auto" (bf16 autocast where the hardware has it) or "fp32" for studies whose numbers need it.
    `generator(config, folder)` is (network, tokenizer) of a finished run in `folder`, where the study's runs keep one
    that writes: what `etudes generate` takes.
    `words` says what its measured numbers are called, {metric: words}, main ones first: they lead its tables.
    `idea` is the function that the study is about, whose docstring has the paper's equation: reports show it.
    `origin` names the list of course projects that asked for the study. `revisions` says, a sentence each, what was
    changed after results had been seen, be it claims, margins, variants or program: each revision has fresh seeds.
    `base` is the study as its author wrote it, where a user has added variants of their own: see `vary`.

    Raises Problem, at definition, on unknown fields, impossible values or types of fields, duplicate or malformed
    names, no claims, no "smoke" scale, or looks that do not grow or judge on fewer than three seeds.
    """

    name: str
    question: str
    paper: Paper
    config: type
    program: Callable[[Any, Any], None]
    variants: Sequence[Variant]
    scales: Mapping[str, Scale]
    claims: Mapping[str, Claim]
    charts: Sequence[Any] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    idea: Callable[..., Any] | None = None
    origin: str = ""
    revisions: Sequence[str] = ()
    precision: Literal["auto", "fp32"] = "auto"
    generator: Callable[[Any, Path], tuple[Any, Any]] | None = None
    base: "Study | None" = None

    def __post_init__(self) -> None:
        if not SLUG.fullmatch(self.name):
            raise Problem(f"study name '{self.name}' must be lower-case words joined by hyphens")
        self._check_names("variant", [v.name for v in self.variants])
        check_fields(self.name, self.config)
        if not isinstance(self.claims, Mapping):
            raise Problem(
                f"study '{self.name}': claims are {{sentence: claim}}, as in {{'a is lower': lower('a', 'b', '')}}"
            )
        self._check_names("claim", [*self.claims], slug=False)
        self._check_names("chart", [c.name for c in self.charts], empty=True)
        if "smoke" not in self.scales:
            raise Problem(f"study '{self.name}' has no scale 'smoke'; every study needs one that runs in seconds")
        for name, scale in self.scales.items():
            if scale.threads < 1:
                raise Problem(f"study '{self.name}': scale '{name}' has {scale.threads} threads; it needs 1 or more")
            self._check_looks(name, scale)
            both = set(self._varied()) & ({*scale.changes} | {*scale.offline})
            if both and self.base is None:  # a variant of a user's own may change what the scale does
                raise Problem(
                    f"study '{self.name}': '{min(both)}' is changed by variants and by scale '{name}'; choose one"
                )
            self.plan(name)
            self.plan(name, offline=True)

    def _check_looks(self, name: str, scale: Scale) -> None:
        looks = scale.looks
        if not looks or looks[0] < (3 if scale.judges else 1):
            raise Problem(f"study '{self.name}': scale '{name}' judges on {scale.seeds} seeds; it needs 3 or more")
        if any(b <= a for a, b in itertools.pairwise(looks)) or looks[-1] > REPLICATION:
            raise Problem(
                f"study '{self.name}': scale '{name}' looks at {scale.seeds} seeds; "
                f"each look needs more than the one before, and at most {REPLICATION}"
            )

    def _check_names(self, kind: str, names: Sequence[str], *, slug: bool = True, empty: bool = False) -> None:
        if not names and not empty:
            raise Problem(f"study '{self.name}' has no {kind}s; it needs at least one")
        for i, name in enumerate(names):
            if name in names[:i]:
                raise Problem(f"study '{self.name}' has two {kind}s named '{name}'")
            if slug and not SLUG.fullmatch(name):
                raise Problem(f"study '{self.name}': {kind} '{name}' must be lower-case words joined by hyphens")

    def _varied(self) -> list[str]:
        return list(dict.fromkeys(name for variant in self.variants for name in variant.changes))

    @property
    def revision(self) -> int:
        """1, and one more for each change that was made after results had been seen."""
        return 1 + len(self.revisions)

    @functools.cached_property
    def configs(self) -> dict[str, dict[str, Changes]]:
        """{scale: {variant: its Config's fields}} as the study has them."""
        names = [variant.name for variant in self.variants]
        return {s: {spec.variant: spec.config for spec in self.plan(s, variants=names, seeds=1)} for s in self.scales}

    @functools.cached_property
    def code(self) -> str:
        """The hash of what the study's own files do for its numbers."""
        return program.digest(self.program)

    @functools.cached_property
    def library(self) -> str:
        """The hash of the project's modules that the study uses. It is recorded, and no part of a run's key."""
        return program.library(self.program)

    def vary(self, own: Mapping[str, Changes]) -> "Study":
        """The study with variants of a user's own, {name: changed Config fields}: what explores, and judges nothing.

        Raises Problem on names that it cannot have, and on unknown fields and impossible values.
        """
        if not isinstance(own, Mapping):
            raise Problem(f"vary is {own!r}; it is {{name: {{field: value}}}}, as in {{'mine': {{'steps': 100}}}}")
        added = []
        for name, changes in own.items():
            if not SLUG.fullmatch(name) or FOLDERS.fullmatch(name):
                raise Problem(
                    f"your variant cannot be named '{name}'; "
                    "take lower-case words joined by hyphens, other than 'once' and 'report'"
                )
            if name in {variant.name for variant in self.variants}:
                raise Problem(f"{self.name} has a variant '{name}' already; give yours another name")
            if not isinstance(changes, Mapping) or not changes:
                raise Problem(f"your variant '{name}' changes no field; `etudes run {self.name} --help` lists them")
            config = configure(self.name, self.config, changes)
            added.append(Variant(name, {field: getattr(config, field) for field in changes}, "your own"))
        return dataclasses.replace(self, variants=(*self.variants, *added), base=self.base or self)

    @property
    def own(self) -> tuple[str, ...]:
        """The names of the variants that are a user's own."""
        return () if self.base is None else tuple(v.name for v in self.variants[len(self.base.variants) :])

    def plan(
        self,
        scale: str = "laptop",
        *,
        precision: str = "fp32",
        variants: Sequence[str] = (),
        seeds: int | None = None,
        threads: int | None = None,
        tune: bool = False,
        replicate: bool = False,
        offline: bool = False,
        **overrides: Any,
    ) -> list[Spec]:
        """The runs of one scale, seeds outermost, so that whole trials are finished first.

        `variants` keeps those named (by default the scale's); a user's own are always among them, by default beside the
        scale's first alone. `overrides` are Config fields set for every run. A field in which the variants differ can
        be overridden for a single named variant only. `seeds` are by default those of the first look. `tune` takes
        seeds that never judge, one by default, and `replicate` those of a replication, which no first judgement has
        seen. Raises Problem on unknown names and impossible values.
        """
        if scale not in self.scales:
            raise unknown(f"scale of {self.name}", scale, self.scales)
        by_name = {variant.name: variant for variant in self.variants}
        plain = self.scales[scale]
        for name in (*variants, *plain.variants):
            if name not in by_name:
                raise unknown(f"variant of {self.name}", name, by_name)
        names = list(variants or plain.variants or by_name)
        if self.own:
            named = [name for name in variants if name not in self.own]
            names = [*(named or list(plain.variants or by_name)[:1]), *self.own]
        chosen = [by_name[name] for name in names]
        configure(self.name, self.config, overrides)  # an impossible value is told before a forbidden one
        varied = [name for name in overrides if name in self._varied()]
        if varied and len(chosen) > 1:
            remedy = (
                "set it in --vary alone" if self.own else f"name one of them to set it, as in --variants {names[-1]}"
            )
            raise Problem(f"{self.name}: '{varied[0]}' is what the variants differ in; {remedy}")
        count = (1 if tune else plain.looks[0]) if seeds is None else seeds
        team = plain.threads if threads is None else threads
        for what, number, most in (("seeds", count, REPLICATION), ("threads", team, 1000)):
            if not 1 <= number <= most:
                raise Problem(f"{self.name}: {what} is {number}; it must be from 1 to {most}")
        common = {**plain.changes, **(plain.offline if offline else {})}
        configs = {v.name: configure(self.name, self.config, {**common, **v.changes, **overrides}) for v in chosen}
        first = TUNING if tune else REPLICATION if replicate else 0
        return [
            Spec(self.name, scale, name, seed, vars(config).copy(), precision, team, self.revision, self.code)
            for seed in range(first, first + count)
            for name, config in configs.items()
        ]
