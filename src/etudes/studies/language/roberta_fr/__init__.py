"""roberta-fr: a small RoBERTa learns French from novels, fills gaps in newspaper sentences, and learns from few labels.

An encoder is shown a text in which a share of the tokens is hidden, and tells them from both sides (Devlin et al. 2018;
Liu et al. 2019). Its loss is taken at the hidden places h alone,

    loss = -1 / |h| * sum over i in h of log p(token i | the text with h hidden).

Static masking hides the same tokens whenever a text is met; dynamic masking draws anew each time. Afterwards the
encoder learns from labels which paragraphs are direct speech, beside one that has not read before.

    etudes run roberta-fr                       10 minutes on two cores, 7 variants, 5 seeds: masks, size, text, labels
    etudes run roberta-fr --scale sizes         360 minutes, 3 seeds: BERT's tiny, mini and small on all novels

With `--variants tiny --articles FILE` the gaps of your own sentences are filled too.

To expect: bits well below those of token frequencies, and above those of counted neighbours, which a minute of
training does not reach. Reading before is worth most where labels are few.

Departures from the paper: some millionths of its arithmetic, on French novels of 1870 to 1920, read as 1,024 pieces of
words. Windows are cut without regard to sentences and begin with one special token. Heads begin by looking at the
places beside (nn/roberta.py), and the output's biases as the logarithms of how often tokens occur.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from torch import Tensor

from etudes.core import Claim, Paper, Problem, Run, Scale, Study, Trial, Variant
from etudes.core.claims import above, alike, at_least, higher, lower, positive, within
from etudes.core.files import write_text
from etudes.data.text import texts
from etudes.data.tokens import Tokenizer
from etudes.nn.roberta import Roberta
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves, pictures
from etudes.studies.language.roberta_fr.findings import AMOUNTS, fill_gaps, hidden_tokens, label_curve
from etudes.studies.language.roberta_fr.masking import Hidden, hide
from etudes.studies.language.roberta_fr.networks import adamw, begin_at_frequencies, encoder, masked_loss
from etudes.studies.language.roberta_fr.reading import Reading, read
from etudes.train import Adam, descend, fitted, part, scheduled, seeded, shard, weights

BITS = "test/bits"


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "eltec-fra"  # a text set, as listed by `etudes data`
    unseen: Literal["sequoia", "own"] = "sequoia"  # sentences whose gaps are filled: newspaper ones, or six of our own
    articles: str = ""  # a file of your own text, of whose sentences the gaps are filled too; "": none
    characters: Annotated[int, at_least(0)] = 0  # of the training works, from their beginnings; 0: all
    share: Annotated[float, within(0, 1)] = 1.0  # of their windows that is trained on, drawn by the seed
    tested: Annotated[int, at_least(1000)] = 60_000  # characters of each held-out part's works, from their beginnings
    vocabulary: Annotated[int, at_least(300)] = 1024  # pieces of words, and three special tokens
    size: Literal["half-tiny", "tiny", "mini", "small", "base"] = "tiny"  # layers and width: networks.py
    context: Annotated[int, at_least(4)] = 32  # tokens that are seen at once, the first of them special
    beside: bool = True  # whether heads begin by looking at the places beside (nn/roberta.py)
    dropout: Annotated[float, within(0, 1)] = 0.0  # share set to zero of attention weights and of what layers add
    rate: Annotated[float, within(0, 1)] = 0.15  # of the tokens that are hidden in training
    patterns: Annotated[int, at_least(0)] = 0  # masks drawn for each window beforehand, met in turn; 0: always new ones
    pretrain: bool = True  # whether the network reads before it meets labels
    batch: Annotated[int, at_least(1)] = 32  # windows a step, over all processes together
    lr: Annotated[float, positive] = 3e-3  # peak learning rate of AdamW
    schedule: Schedule = "warmup"  # learning rate over the steps
    weight_decay: Annotated[float, at_least(0)] = 0.01  # AdamW's, on matrices
    finetune: bool = False  # whether it then learns from labels
    task: Literal["speech", "genre"] = "speech"  # which paragraphs of novels are speech, or what kind of text it is
    marks: str = "—–-"  # such marks; in French novels they begin direct speech
    labels: tuple[int, int, int] = (10, 30, 1000)  # texts that are learnt from: few, some and many
    draws: Annotated[int, at_least(1)] = 4  # of so many labels each, over which accuracies are averaged
    length: Annotated[int, at_least(4)] = 32  # tokens of a labelled text, from its beginning
    tuning_steps: Annotated[int, at_least(1)] = 120  # of fine-tuning, with batches of 16
    tuning_lr: Annotated[float, positive] = 1e-3  # its peak learning rate


def network(cfg: Config, vocabulary: int) -> Roberta:
    return encoder(cfg.size, vocabulary, max(cfg.context, cfg.length), cfg.dropout, cfg.beside)


def load_network(cfg: Config, folder: Path) -> tuple[Roberta, Tokenizer]:
    """The encoder of a finished run, and its tokenizer."""
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    return weights.load(folder / "model.safetensors", network(cfg, tokenizer.size)), tokenizer


def opened(cfg: Config, run: Run) -> Reading:
    d = texts(cfg.dataset).take(cfg.characters)
    run.note(data=d.source)
    settings = {"dataset": cfg.dataset, "characters": cfg.characters, "tested": cfg.tested, "context": cfg.context}
    settings |= {"vocabulary": cfg.vocabulary, "task": cfg.task, "marks": cfg.marks, "length": cfg.length}
    return read(run, d, settings)


def pretrain(cfg: Config, run: Run, model: Roberta, reading: Reading) -> dict[str, float]:
    """Train the network in place; its last validation."""
    order = run.rng("share").permutation(len(reading.windows))
    windows = reading.windows[order[: max(1, round(cfg.share * len(order)))]]
    begin_at_frequencies(model, windows)
    shard(model)
    hidden = Hidden(windows, cfg.batch, cfg.rate, cfg.patterns, len(model.bias), run.seed)
    opt = adamw(model, cfg.lr, cfg.weight_decay)
    schedule = scheduled(opt, cfg)

    def step(i: int) -> dict[str, Tensor]:
        loss = masked_loss(model, *part(*(tensor.to(run.device) for tensor in hidden.at(i))))
        return {"train/loss": descend(loss, opt, schedule, 1.0)}

    def evaluate() -> dict[str, float]:
        return {"validation/bits": hidden_tokens(model, *reading.held_out["validation"])["bits"]}

    found = fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate)
    return found | {"train/passes": cfg.steps * cfg.batch / len(windows)}


def train(cfg: Config, run: Run) -> None:
    if cfg.articles and not Path(cfg.articles).is_file():
        raise Problem(f"--articles names no file: {cfg.articles}; give the path of a text in UTF-8")
    reading = opened(cfg, run)
    run.result(**reading.metrics)
    model = seeded(run, "init", lambda: network(cfg, reading.tokenizer.size))
    if cfg.pretrain:
        run.result(**pretrain(cfg, run, model, reading))
        model.eval()
        with run.autocast():
            told = hidden_tokens(model, *reading.held_out["test"])
            run.result(**{f"test/{name}": value for name, value in told.items()})
            numbers, writing = fill_gaps(cfg.unseen, cfg.articles, model, reading.tokenizer, run)
        run.result(**numbers)
        weights.save(run.path("model.safetensors"), model)
        if run.leader:
            write_text(run.path("completions.txt"), writing)
            reading.tokenizer.save(run.path("tokenizer.json"))
    if cfg.finetune:
        recipe = Adam(steps=cfg.tuning_steps, batch=16, lr=cfg.tuning_lr, schedule="warmup")
        run.result(**label_curve(run, model, reading.labelled, cfg.labels, cfg.draws, recipe))


ALIKE = 0.3  # bits within which two ways are alike: a seventh of what tiny saves on token frequencies
OFFLINE = {"dataset": "python", "unseen": "own", "marks": "#"}  # where nothing can be reached
LITTLE = {"share": 1 / 256}
LAPTOP = ("tiny", "scratch", "half-tiny", "sixty-fourth", "ten-masks", "little", "little-static")


FEW, SOME, MANY = (f"test/accuracy-{amount}-labels" for amount in AMOUNTS)


def more_with_few(trial: Trial) -> float:
    """What reading adds to the accuracy with 30 labels, minus what it adds with 1,000."""
    few, many = (trial["tiny"][name] - trial["scratch"][name] for name in (SOME, MANY))
    return few - many


STUDY = Study(
    name="roberta-fr",
    question="What does a small RoBERTa learn of French, and what do masks, size, text and labels change?",
    paper=Paper(
        "RoBERTa: A Robustly Optimized BERT Pretraining Approach",
        "Liu et al.",
        2019,
        "https://arxiv.org/abs/1907.11692",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("tiny", {"finetune": True}, "two layers of 128, dynamic masking of 15 %, then labels"),
        Variant("scratch", {"pretrain": False, "finetune": True}, "labels alone, without reading before"),
        Variant("half-tiny", {"size": "half-tiny"}, "two layers of 64"),
        Variant("mini", {"size": "mini"}, "four layers of 256"),
        Variant("small", {"size": "small"}, "four layers of 512"),
        Variant("base", {"size": "base"}, "twelve layers of 768: RoBERTa's base"),
        Variant("sixty-fourth", {"share": 1 / 64}, "a sixty-fourth of the text, as many steps"),
        Variant("ten-masks", {"share": 1 / 64, "patterns": 10}, "the same text, ten masks for each window in turn"),
        Variant("little", LITTLE, "a two-hundred-and-fifty-sixth of the text, as many steps"),
        Variant("little-static", LITTLE | {"patterns": 1}, "the same, and always the same tokens hidden"),
    ),
    scales={
        "smoke": Scale(
            OFFLINE
            | {"characters": 20_000, "tested": 1500, "vocabulary": 300}
            | {"context": 16, "length": 16, "batch": 4, "steps": 8, "log_every": 2}
            | {"labels": (4, 10, 20), "draws": 1, "tuning_steps": 4},
            seeds=2,
            minutes=0.1,
            judges=False,
            variants=LAPTOP,
        ),
        "laptop": Scale(
            {"characters": 6_000_000, "steps": 1000, "eval_every": 100},
            seeds=(5, 8),
            minutes=10,
            variants=LAPTOP,
            offline=OFFLINE,
        ),
        "sizes": Scale(
            {"vocabulary": 4096, "context": 128, "steps": 20_000, "eval_every": 1000, "tuning_steps": 200},
            seeds=3,
            minutes=360,
            judges=False,
            variants=("tiny", "scratch", "mini", "small"),
            threads=2,
        ),
        "paper": Scale(
            {"dataset": "oscar-fr", "vocabulary": 50_265, "context": 512, "dropout": 0.1}
            | {"batch": 256, "lr": 6e-4, "steps": 1_000_000, "eval_every": 5000},  # sec. 4; at this width lr is 1e-4
            seeds=3,
            minutes=1e6,
            judges=False,
            variants=("base",),
            offline=OFFLINE,
        ),
    },
    words={
        BITS: "bits for a hidden token of unseen novels",
        "test/accuracy": "share of them told right",
        f"{BITS}-unigram": "bits of whoever knows how often tokens occur",
        f"{BITS}-neighbours": "bits of counted neighbours",
        "test/words-unseen": "share of whole newspaper words told right",
        FEW: "accuracy with 10 labels",
        SOME: "accuracy with 30 labels",
        MANY: "accuracy with 1,000 labels",
    },
    idea=hide,
    claims={
        "in some thirty passes, ten masks a window in turn cost as many bits, up to 0.3, as always new ones": alike(
            "ten-masks", "sixty-fourth", ALIKE, "sec. 4.1, table 1", of=BITS
        ),
        "on little text, hiding always the same tokens costs more bits than always others": higher(
            "little-static", "little", "sec. 4.1, as its reason", of=BITS, matters=ALIKE
        ),
        "after as many tokens an encoder twice as wide needs fewer bits for a hidden token": lower(
            "tiny", "half-tiny", "Turc et al. 2019, table 1 (of other tasks)", of=BITS
        ),
        "as much training on a sixty-fourth of the text needs as few bits, up to 0.3, as on all of it": alike(
            "sixty-fourth", "tiny", ALIKE, "CamemBERT, sec. 6.1 (of other tasks)", of=BITS
        ),
        "as much training on a two-hundred-and-fifty-sixth of the text needs more bits than on all of it": higher(
            "little", "tiny", "CamemBERT, sec. 6.1, at less text than there", of=BITS
        ),
        "with 30 labels an encoder that has read tells speech better than one that has not": higher(
            "tiny", "scratch", "BERT, sec. 4", of=SOME
        ),
        "reading before adds more to the accuracy with 30 labels than with 1,000": Claim(
            more_with_few,
            above(0),
            "BERT, sec. 4.1 (of small sets)",
            number="accuracy gained by reading, with 30 labels minus with 1,000",
        ),
        "a word's last token needs fewer bits where the rest of the word shows than where all of it is hidden": lower(
            ("tiny", "test/bits-inside-word"),
            ("tiny", "test/bits-whole-word"),
            "beyond the paper; whole-word masking",
            of=BITS,
        ),
    },
    charts=(
        bars(
            BITS,
            title="Bits for a hidden token by size, text and masks",
            sections={
                "Its size": ("half-tiny", "tiny", "mini", "small", "base"),
                "How much text": ("tiny", "sixty-fourth", "little"),
                "Static masks": ("sixty-fourth", "ten-masks", "little", "little-static"),
            },
        ),
        bars(
            *(FEW, SOME, MANY),
            title="Accuracy from few labels, after reading and without",
            sections={"Before the labels": ("tiny", "scratch")},
        ),
        curves("validation/bits", title="Bits for a hidden token during training"),
        bars(
            "test/words-unseen",
            *(f"test/error-{kind}" for kind in ("agreement", "function", "name", "rest")),
            title="Newspaper words told right, and errors by kind",
            sections={"": ("half-tiny", "tiny", "mini", "small", "base")},
        ),
        pictures("completions.txt", title="Completions", says="The hidden word in brackets; below, what was told."),
    ),
    origin="A2",
)
