"""What a study is, as plain values: no tensors, no files, no work at import.

A `Study` holds variants and scales as mappings of changed `Config` fields, and claims as a number per seed with the
interval where the paper puts it. `Study.plan` turns them into `Spec`s, one for each run.
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from etudes.core.errors import Problem, unknown

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
Trial = Mapping[str, Mapping[str, float]]  # {variant: {metric: number}} under one seed
Changes = Mapping[str, Any]


@dataclass(frozen=True)
class Paper:
    title: str
    authors: str
    year: int
    url: str


@dataclass(frozen=True)
class Interval:
    """A range of numbers with its ends. In a `Claim` it says where the paper puts a number; as the annotation of a
    Config field (`alpha: Annotated[float, above(0)]`) it says which values are possible."""

    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if self.low == -math.inf:
            return f"at most {self.high:g}"
        if self.high == math.inf:
            return f"at least {self.low:g}"
        return f"between {self.low:g} and {self.high:g}"


def above(low: float) -> Interval:
    return Interval(low=low)


def below(high: float) -> Interval:
    return Interval(high=high)


def within(low: float, high: float) -> Interval:
    return Interval(low, high)


@dataclass(frozen=True)
class Variant:
    """A named change of Config fields: what is compared."""

    name: str
    changes: Changes = field(default_factory=dict)
    says: str = ""


@dataclass(frozen=True)
class Scale:
    """A named size of the whole study: changed Config fields, the number of seeds, and the minutes it takes.

    `minutes` is for all runs together, on two cores for "smoke" and "laptop". `judges` is False where the scale is too
    small for verdicts. `offline` holds further changes, announced when they are made, for when no source of the
    scale's data is reachable; they enter the config before it is hashed, so results bear the name of the data used, on
    which no claim is judged. The words in it name what stands in, such as a dataset ("a and b": two).
    `variants` are those that the scale runs where none are named, such as the end points of a long one; (): all.
    """

    changes: Changes
    seeds: int
    minutes: float
    judges: bool = True
    offline: Changes = field(default_factory=dict)
    variants: Sequence[str] = ()

    @property
    def substitutes(self) -> dict[str, str]:
        """The fields of `offline` that name something, with what stands in there."""
        return {name: value for name, value in self.offline.items() if isinstance(value, str)}


@dataclass(frozen=True)
class Claim:
    """One statement of the paper, as a number per seed and the interval where the statement puts it.

    `measure` sees the finished numbers of one seed and nothing else. `where` is the section or table of the paper;
    `paper` is the paper's own figure, shown apart from ours (nan: it gives none).
    """

    name: str
    says: str
    where: str
    measure: Callable[[Trial], float]
    expect: Interval
    paper: float = math.nan


def difference(variant: str, other: str, metric: str = "test/error") -> Callable[[Trial], float]:
    """A measure: `metric` of `variant` minus that of `other`, under one seed."""
    return lambda trial: trial[variant][metric] - trial[other][metric]


@dataclass(frozen=True)
class Spec:
    """All that decides the numbers of one run. Every field is hashed into `key`."""

    study: str
    scale: str
    variant: str
    seed: int
    config: Changes
    precision: str
    revision: int

    @property
    def key(self) -> str:
        """study/scale/variant/seed-hash8: the run's folder below the root."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"{self.study}/{self.scale}/{self.variant}/{self.seed}-{digest}"


@dataclass(frozen=True)
class Study:
    """A question, the paper that answers it, and the program that tests the answer.

    `threads` is how many threads a run can use, 0: as many as there are; small runs are performed side by side.
    `precision` is "auto" (bf16 autocast where the hardware has it) or "fp32" for studies whose numbers need it.
    `generator(config, folder)` is (network, tokenizer) of a finished run in `folder`, where the study's runs keep one
    that writes: what `etudes generate` takes.
    `origin` names the list of course projects that asked for the study. A change of claims, variants or program that
    makes earlier results incomparable bumps `revision`.

    Raises Problem, at definition, on unknown fields, impossible values, duplicate or malformed names, no claims, no
    "smoke" scale, or a judged scale with fewer than three seeds.
    """

    name: str
    question: str
    paper: Paper
    config: type
    program: Callable[[Any, Any], None]
    variants: Sequence[Variant]
    scales: Mapping[str, Scale]
    claims: Sequence[Claim]
    charts: Sequence[Any] = ()
    origin: str = ""
    revision: int = 1
    threads: int = 0
    precision: Literal["auto", "fp32"] = "auto"
    generator: Callable[[Any, Path], tuple[Any, Any]] | None = None

    def __post_init__(self) -> None:
        if not SLUG.fullmatch(self.name):
            raise Problem(f"study name '{self.name}' must be lower-case words joined by hyphens")
        self._check_names("variant", [v.name for v in self.variants])
        self._check_names("claim", [c.name for c in self.claims], slug=False)
        self._check_names("chart", [c.name for c in self.charts], empty=True)
        if "smoke" not in self.scales:
            raise Problem(f"study '{self.name}' has no scale 'smoke'; every study needs one that runs in seconds")
        for name, scale in self.scales.items():
            if scale.seeds < (3 if scale.judges else 1):
                raise Problem(f"study '{self.name}': scale '{name}' judges on {scale.seeds} seeds; it needs 3 or more")
            both = set(self._varied()) & ({*scale.changes} | {*scale.offline})
            if both:
                raise Problem(
                    f"study '{self.name}': '{min(both)}' is changed by variants and by scale '{name}'; choose one"
                )
            self.plan(name)
            self.plan(name, offline=True)

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

    def plan(
        self,
        scale: str = "laptop",
        *,
        precision: str = "fp32",
        variants: Sequence[str] = (),
        seeds: int | None = None,
        offline: bool = False,
        **overrides: Any,
    ) -> list[Spec]:
        """The runs of one scale, seeds outermost, so that whole trials are finished first.

        `variants` keeps those named (by default the scale's); `overrides` are Config fields set for every run. A field
        in which the variants differ can be overridden for a single named variant only. Raises Problem on unknown
        names and impossible values.
        """
        if scale not in self.scales:
            raise unknown(f"scale of {self.name}", scale, self.scales)
        by_name = {variant.name: variant for variant in self.variants}
        plain = self.scales[scale]
        for name in (*variants, *plain.variants):
            if name not in by_name:
                raise unknown(f"variant of {self.name}", name, by_name)
        chosen = [by_name[name] for name in variants or plain.variants or by_name]
        configure(self.name, self.config, overrides)  # an impossible value is told before a forbidden one
        varied = [name for name in overrides if name in self._varied()]
        if varied and len(chosen) > 1:
            raise Problem(
                f"{self.name}: '{varied[0]}' is what the variants differ in; "
                f"name one of them to set it, as in --variants {chosen[-1].name}"
            )
        count = plain.seeds if seeds is None else seeds
        if count < 1:
            raise Problem(f"{self.name}: seeds is {count}; it must be at least 1")
        common = {**plain.changes, **(plain.offline if offline else {})}
        configs = {v.name: configure(self.name, self.config, {**common, **v.changes, **overrides}) for v in chosen}
        return [
            Spec(self.name, scale, name, seed, dataclasses.asdict(config), precision, self.revision)
            for seed in range(count)
            for name, config in configs.items()
        ]


def configure(study: str, config: type, changes: Changes) -> Any:
    """A `config` with the changed fields, each checked against its type and range. Raises Problem."""
    hints = get_type_hints(config, include_extras=True)
    for name in changes:
        if name not in hints:
            raise unknown(f"config field of {study},", name, hints)
    values = {f.name: f.default for f in dataclasses.fields(config)} | dict(changes)
    return config(**{name: _checked(study, name, value, hints[name]) for name, value in values.items()})


def _checked(study: str, name: str, value: Any, hint: Any) -> Any:
    kind, ranges = (get_args(hint)[0], get_args(hint)[1:]) if get_origin(hint) is Annotated else (hint, ())
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise unknown(f"{name} of {study},", str(value), map(str, get_args(kind)))
        return value
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise Problem(f"{study}: {name} is {value!r}; it must be of type {kind.__name__}")
    if kind is float and not math.isfinite(value):
        raise Problem(f"{study}: {name} is {value}; it must be finite")
    for interval in ranges:
        if isinstance(interval, Interval) and value not in interval:
            raise Problem(f"{study}: {name} is {value:g}; it must be {interval}")
    return value
