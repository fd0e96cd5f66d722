"""names: which language a surname comes from, read letter by letter; and surnames written for a language.

A recurrent network reads the letters x_1 ... x_t into states h_t = f(x_t, h_{t-1}), and p(language | name) is the
softmax of a linear map of the last of them. Read at every letter it says what it would say if the name ended there. The
other way round, a network is told a language and foretells each next letter. Both are PyTorch's tutorials of Sean
Robertson; here names are counted once, held-out names are held out, and logistic regression on 3-grams stands beside.

    etudes run names                  3 minutes on two cores, 14 variants, 5 seeds: surnames of 18 languages
    etudes run names --scale paper    30 minutes, 19 variants, 3 seeds: three times as long, 100,000 names seen

Macro F1 is the mean over the languages of F1, whatever their sizes; of 17,411 names half are Russian and 70 Vietnamese.

Departures from the tutorials: repeated names are left out, small letters alone, batches sorted by length, Adam, and
training, validation and test names; where theirs trained on all lines, one by one, and looked at the same again. Their
writer is told the language at every letter, ours at the start.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from etudes.core import (
    Claim,
    Paper,
    Run,
    Scale,
    Study,
    Variant,
    above,
    at_least,
    higher,
    lower,
    positive,
    within,
)
from etudes.core.claims import Trial
from etudes.data.names import names, split_names
from etudes.reports.charts import bars, curves, pictures
from etudes.studies.language.names.reader import Part, letter_by_letter
from etudes.studies.language.names.training import NAMES, count_trigrams, read_names, write_names
from etudes.train import Adam

F1 = "test/f1"


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "surnames"  # a set of names, as listed by `etudes data`
    task: Literal["read", "write"] = "read"  # say the language of a name, or write names of a language
    kind: Literal["rnn", "lstm", "gru", "trigrams"] = "gru"  # the recurrent layer, or a peer that counts 3-grams
    held_out: Annotated[float, within(0.05, 0.3)] = 0.15  # share of each language's names for validation
    tested: Annotated[float, within(0.05, 0.5)] = 0.25  # share of each language's names for the test
    repeated: bool = False  # whether lines are split as they stand, with their repetitions, as in the tutorials
    hidden: Annotated[int, at_least(1)] = 77  # units of a layer
    layers: Annotated[int, at_least(1)] = 1  # recurrent layers
    dropout: Annotated[float, within(0, 0.9)] = 0.0  # share of what a layer hands up that is set to zero
    evenness: Annotated[float, within(0, 1)] = 0.5  # of the draws of names: 0 all names alike, 1 all languages alike
    part: Part = "all"  # what is read of a name: all letters, or the first or last three
    backwards: bool = False  # whether letters are read from the last to the first
    accents: bool = False  # whether accents stay, in place of ASCII
    optimiser: Literal["adam", "sgd"] = "adam"  # SGD is plain, as in the tutorials
    batch: Annotated[int, at_least(1)] = NAMES  # names a step
    steps: Annotated[int, at_least(1)] = 400  # batches of 64 names; with smaller batches as many names
    share: Annotated[float, positive] = 1.0  # of those names that this variant sees
    lr: Annotated[float, positive] = 1e-2  # peak learning rate
    schedule: Literal["constant", "cosine"] = "cosine"  # learning rate over the steps
    clip: Annotated[float, positive] = 1.0  # largest norm of a gradient
    balanced: bool = False  # whether the regression weighs all languages alike
    c: Annotated[float, positive] = 3.0  # inverse of the penalty of the regression on 3-grams
    written: Annotated[int, at_least(1)] = 100  # names written for each language
    cool: Annotated[float, at_least(0)] = 0.5  # the lower of two temperatures of writing; the other is 1


def act(cfg: Config, run: Run) -> None:
    d = names(cfg.dataset)
    run.note(data=d.source)
    rows = d.rows if cfg.repeated else d.distinct()
    parts = split_names(rows, cfg.held_out, cfg.tested, run.rng("split"), together=not cfg.repeated)
    does = write_names if cfg.task == "write" else count_trigrams if cfg.kind == "trigrams" else read_names
    does(cfg, run, d, parts)


RNN = {"kind": "rnn", "hidden": 128, "lr": 0.005}
SGD = {"optimiser": "sgd", "schedule": "constant", "lr": 0.005, "batch": 1}


def family_ratio(trial: Trial) -> float:
    """A measure: the share of the GRU's errors within families, over the share by chance."""
    return trial["gru"]["test/within-families"] / trial["gru"]["test/within-families-chance"]


def optimism(trial: Trial) -> float:
    """A measure: how much higher the GRU's macro F1 is on the names that it was trained on."""
    return trial["gru"]["train/f1"] - trial["gru"][F1]


LAPTOP = (
    "trigrams", "rnn", "lstm", "gru", "gru-even", "gru-natural", "first-three", "last-three", "gru-repeated",
    "rnn-short", "one-by-one", "one-by-one-fast", "writer", "writer-trigrams",
)  # fmt: skip
MATTERS = 0.02  # of macro F1
TRY = "classification, exercises"
BEYOND = "beyond the tutorials"
EVALUATES = "classification, evaluating the results"

STUDY = Study(
    name="names",
    question="Can a network that reads letters tell where a surname comes from, and write new ones?",
    paper=Paper(
        "Classifying Names with a Character-Level RNN; Generating Names with a Character-Level RNN",
        "Robertson",
        2017,
        "https://docs.pytorch.org/tutorials/intermediate/char_rnn_classification_tutorial.html",
    ),
    config=Config,
    program=act,
    variants=(
        Variant("trigrams", {"kind": "trigrams"}, "logistic regression on 3-grams"),
        Variant("rnn", RNN, "Elman's network, as many parameters as the others"),
        Variant("lstm", {"kind": "lstm", "hidden": 67}),
        Variant("gru"),
        Variant("gru-even", {"evenness": 1.0}, "every language drawn as often, as in the tutorials"),
        Variant("gru-natural", {"evenness": 0.0}, "every name drawn as often"),
        Variant("gru-backwards", {"backwards": True}, "reads from the last letter to the first"),
        Variant("first-three", {"part": "first"}, "a GRU that reads the first three letters"),
        Variant("last-three", {"part": "last"}, "a GRU that reads the last three letters"),
        Variant("gru-repeated", {"repeated": True}, "lines split with their repetitions, as in the tutorials"),
        Variant("rnn-short", RNN | {"share": 0.1, "lr": 0.02}, "a tenth of the names, in batches"),
        Variant("one-by-one", RNN | SGD | {"share": 0.1}, "as many, one name a step, by the tutorial's SGD"),
        Variant("one-by-one-fast", RNN | SGD | {"share": 0.1, "lr": 0.1}, "the same at twenty times the rate"),
        Variant("tutorial", RNN | SGD | {"evenness": 1.0}, "100,000 names one by one, even draws"),
        Variant("gru-wide", {"hidden": 154}, "twice the units"),
        Variant("gru-deep", {"layers": 2}, "two layers"),
        Variant("gru-accents", {"accents": True}, "accents kept, in place of ASCII"),
        Variant("writer", {"task": "write"}, "a GRU that writes names"),
        Variant("writer-trigrams", {"task": "write", "kind": "trigrams"}, "a trigram model that writes names"),
    ),
    scales={
        "smoke": Scale(
            {"dataset": "drawn-names", "steps": 4, "written": 5}, seeds=2, minutes=0.1, judges=False, variants=LAPTOP
        ),
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=3, variants=LAPTOP, offline={"dataset": "drawn-names"}),
        "paper": Scale({"steps": 1563}, seeds=3, minutes=30, judges=False, offline={"dataset": "drawn-names"}),
    },
    words={
        F1: "macro F1 on new names",
        "train/f1": "macro F1 on the training names",
        "test/error": "share of new names given a language that they do not have",
        "test/within-families": "share of errors within families of languages",
        "test/within-families-chance": "share of errors within families by chance",
        "test/recognised": "share of written names that are recognised",
        "test/novelty": "share of written names that are no training names",
        "test/bits": "bits per letter of new names",
    },
    idea=letter_by_letter,
    claims={
        "logistic regression on 3-grams has a higher macro F1 than a GRU that reads letters": higher(
            "trigrams", "gru", BEYOND, of=F1, matters=MATTERS
        ),
        "a GRU has a higher macro F1 than a plain recurrent network of as many parameters": higher(
            "gru", "rnn", TRY, of=F1, matters=MATTERS
        ),
        "for as many names seen, batches with Adam give a higher macro F1 than the tutorial's SGD name by name": higher(
            "rnn-short", "one-by-one", TRY, of=F1
        ),
        "SGD name by name gives a higher macro F1 at a rate of 0.1 than at the tutorial's 0.005": higher(
            "one-by-one-fast", "one-by-one", TRY, of=F1
        ),
        "a GRU has a macro F1 on its training names that is more than 0.1 above that on new names": Claim(
            optimism, above(0.1), EVALUATES, number="test/f1: on training names minus on new names, of gru"
        ),
        "the errors of a GRU fall within families of languages more often than by chance": Claim(
            family_ratio,
            above(1),
            EVALUATES,
            number="share of errors within families, over the share by chance",
            kind="ratio",
        ),
        "languages drawn by the root of their size give a higher macro F1 than names drawn as they stand": higher(
            "gru", "gru-natural", BEYOND, of=F1
        ),
        "languages drawn by the root of their size give a higher macro F1 than languages drawn alike": higher(
            "gru", "gru-even", "classification, training (draws languages alike)", of=F1
        ),
        "the last three letters of a name give a higher macro F1 than the first three": higher(
            "last-three", "first-three", BEYOND, of=F1
        ),
        "a GRU that knows the language needs fewer bits per letter of new names than trigrams of the language": lower(
            "writer", "writer-trigrams", BEYOND, of="test/bits", matters=0.02
        ),
        "names that a GRU writes are recognised less often than names drawn from trigrams": lower(
            "writer", "writer-trigrams", BEYOND, of="test/recognised", matters=0.02
        ),
    },
    charts=(
        bars(
            F1,
            "train/f1",
            title="Macro F1 on new names and on training names",
            sections={
                "Ways of reading": ("trigrams", "rnn", "lstm", "gru", "gru-even", "gru-natural"),
                "What is read of a name": ("gru", "last-three", "first-three"),
                "As the tutorials did": ("gru-repeated", "rnn-short", "one-by-one-fast", "one-by-one"),
            },
            says="An F1 is the harmonic mean of precision and recall; macro F1 is its mean over the languages.",
        ),
        bars(
            "test/within-families",
            "test/within-families-chance",
            title="Errors within families of languages, and by chance",
            sections={"Ways of reading": ("trigrams", "rnn", "lstm", "gru", "gru-even", "gru-natural")},
        ),
        bars(
            "test/recognised",
            "test/novelty",
            "test/bits",
            title="Written names: recognised, new, and how well new names are foretold",
            sections={"Writers": ("writer", "writer-trigrams")},
            says="A classifier that learnt from other names recognises a name if it says the language asked for.",
        ),
        curves("validation/f1", title="Macro F1 during training", variants=("rnn", "lstm", "gru", "gru-even")),
        pictures("samples.txt", title="Written names", says="Six names of each language."),
        pictures("confusions.txt", title="Confusions", says="Languages that were taken for others."),
    ),
    origin="C",
    precision="fp32",
)
