"""char-lstm: recurrent networks that write character by character, and what their cells see.

A network reads a text and foretells each next character; its state is all that it knows of what came before:

    state[t] = cell(character[t], state[t - 1]),    p(character[t + 1]) = softmax(head(state[t])).

Plain recurrent networks, LSTMs and GRUs of equal numbers of parameters, one to three layers deep, of three sizes, read
the text in four ways (Karpathy, Johnson and Fei-Fei 2015; the cells are in nn/recurrent.py). One continues passages
greedily, by beam search and by drawing (Holtzman et al. 2020, arXiv:1904.09751).

    etudes run char-lstm                     10 minutes on two cores, 14 variants, 5 seeds: scenes of Shakespeare
    etudes run char-lstm --scale python      a minute, one network: brackets and quotation marks, in programs
    etudes generate char-lstm "ROMEO:" --variant lstm-2 --top-p 0.95

Departures from the paper: networks of a twentieth of the size that see their text once; Adam for RMSProp; an embedding,
scaled logits and an orthogonal start (nn/recurrent.py). Nothing is chosen on validation but the cells that are shown.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from torch import Tensor
from torch.nn import functional

from etudes.core import Claim, Paper, Run, Scale, Study, Variant
from etudes.core.claims import above, alike, at_least, below, between, higher, lower, positive, within
from etudes.core.files import read_json, write_text
from etudes.data.tokens import Tokenizer, ids
from etudes.generate.samples import samples
from etudes.measure.bits import bits_per_byte, nats
from etudes.measure.size import count_parameters
from etudes.nn.recurrent import Recurrent, hidden_units, walk
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves, pictures
from etudes.studies.language.char_lstm.cells import middle
from etudes.studies.language.char_lstm.dictionary import english
from etudes.studies.language.char_lstm.findings import continuations, errors, passages, watch_cells
from etudes.studies.language.char_lstm.measures import BITS, distinct_gain, repetition_gain, size_gain, spelling_gain
from etudes.studies.language.char_lstm.reading import HiddenState, prepare, reader
from etudes.train import Adam, adam, descend, fitted, seeded, weights

PROMPT = 64  # characters that are continued
SHOWN = 250  # characters of a sample, at most


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "shakespeare"  # a text set, as listed by `etudes data`
    characters: Annotated[int, at_least(0)] = 0  # of the training works, from their beginnings; 0: all
    share: Annotated[float, within(0, 1)] = 1.0  # of these that is trained on, again and again
    tested: Annotated[int, at_least(200)] = 60_000  # characters of each held-out part, from the works' beginnings
    kind: Literal["rnn", "lstm", "gru"] = "lstm"  # plain, or with gates
    layers: Annotated[int, at_least(1)] = 1  # of recurrent units
    parameters: Annotated[int, at_least(1000)] = 2_200_000  # that the hidden units are counted for
    size: Annotated[float, positive] = 1.0  # of the network, as a multiple of `parameters`
    dropout: Annotated[float, within(0, 1)] = 0.0  # share of what a layer hands up that is set to zero
    layer_norm: bool = False  # layer normalisation in the cells
    reading: Literal["lanes", "forgetful", "windows", "neighbours"] = "lanes"  # what a step reads (reading.py)
    context: Annotated[int, at_least(1)] = 100  # characters that gradients go back through
    batch: Annotated[int, at_least(1)] = 100  # places in the text that are read at once
    lr: Annotated[float, positive] = 2e-3  # peak learning rate
    schedule: Schedule = "linear"  # learning rate over the steps
    clip: Annotated[float, positive] = 1.0  # largest norm of a gradient
    window: Annotated[int, at_least(8)] = 1024  # characters read in one go where bits are measured
    probed: Annotated[int, at_least(200)] = 8000  # characters of a held-out work where cells and errors are watched
    decoding: bool = False  # whether all ways of decoding are compared, or one
    continued: Annotated[int, at_least(2)] = 24  # test passages that are continued
    length: Annotated[int, at_least(10)] = 800  # characters of each continuation: about 200 words and marks
    beam: Annotated[int, at_least(1)] = 8  # beginnings that beam search keeps
    dictionary: bool = True  # whether words are looked up in a dictionary of English, or else in the training text


def network(cfg: Config, vocabulary: int, used: int) -> Recurrent:
    """Of the size asked for, counting those of its `vocabulary` that the training text uses."""
    hidden = hidden_units(cfg.kind, used, cfg.layers, round(cfg.size * cfg.parameters))
    return Recurrent(cfg.kind, vocabulary, hidden, cfg.layers, cfg.dropout, cfg.layer_norm)


def load_network(cfg: Config, folder: Path) -> tuple[Recurrent, Tokenizer]:
    """The network of a finished run, and its tokenizer."""
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    used = int(read_json(folder / "result.json", f"delete {folder} and run it again")["train/vocabulary"])
    return weights.load(folder / "model.safetensors", network(cfg, tokenizer.size, used)), tokenizer


def train(cfg: Config, run: Run) -> None:
    text = prepare(run, cfg.dataset, cfg.characters, cfg.share, cfg.tested)
    seen = frozenset(text.lexicon)
    lexicons = {"spelling": seen, "dictionary": english() if cfg.dictionary else seen}
    tokenizer, scored = text.tokenizer, text.scored
    tokens = text.tokens.roll(int(run.rng("begin").integers(len(text.tokens))))  # where the reading begins
    used = len(tokens.unique())

    def make() -> Recurrent:
        return network(cfg, tokenizer.size, used)

    model = seeded(run, "init", make)
    opt, schedule = adam(model, cfg, betas=(0.9, 0.99))
    hidden = HiddenState(model.start(cfg.batch))
    stride = cfg.window * 7 // 8  # of the windows where bits are measured: an eighth is read before what counts
    read = reader(cfg.reading, tokens, cfg.context, cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:  # several processes would all do the same: a state belongs to its rows
        block, goes_on = read(i)
        block = block.to(run.device)
        logits, state = model.next(block[:, :-1], hidden.state if goes_on else model.start(cfg.batch))
        hidden.keep(state)
        loss = functional.cross_entropy(logits.float().flatten(0, 1), block[:, 1:].flatten())
        return {"train/loss": descend(loss, opt, schedule, cfg.clip)}

    def bits(split: str) -> dict[str, float]:
        return {f"{split}/bits-per-byte": bits_per_byte(model, tokenizer, scored[split], cfg.window, stride)}

    def evaluate() -> dict[str, float]:
        return bits("validation") | bits("train")

    parts = {"model": model, "opt": opt, "schedule": schedule, "hidden": hidden}
    run.result(**fitted(run, cfg, parts, step, evaluate))
    model.eval()
    with run.autocast():
        run.result(**bits("test"), **text.baselines)
    unused = (tokenizer.size - used) * (2 * model.hidden + 1)  # of the bytes that no training text has
    run.result(parameters=count_parameters(model) - unused, **{"train/vocabulary": used})
    held_out = {split: scored[split][0][: cfg.probed] for split in ("validation", "test")}
    nets = {"": model, "-untrained": seeded(run, "init", make).eval()}
    run.result(**watch_cells(run, nets, tokenizer, held_out, middle("\n".join(text.train))))

    test = ids(tokenizer, scored["test"]).to(run.device)
    losses = nats(model, test[: len(tokenizer.encode(held_out["test"])) + 1], cfg.window, stride)
    run.result(**errors(losses, tokenizer, held_out["test"], text.foreseen[: len(losses)], text.lexicon))
    texts, beam = passages(test, cfg.continued, PROMPT + cfg.length), cfg.beam if cfg.decoding else 0
    run.result(**continuations(model, tokenizer, texts, PROMPT, beam, lexicons, run.seed("draws")))
    weights.save(run.path("model.safetensors"), model)
    if run.leader:
        writing = samples(model, tokenizer, (held_out["test"][:PROMPT],), min(SHOWN, cfg.length), run.seed("samples"))
        write_text(run.path("samples.txt"), writing)
        tokenizer.save(run.path("tokenizer.json"))


LATE = "test/auroc-late-in-line"
HOLTZMAN = "Holtzman et al. 2020 (arXiv:1904.09751)"
ZAREMBA = "Zaremba et al. 2014 (arXiv:1409.2329), table 1"
BA = "Ba et al. 2016 (arXiv:1607.06450), sec. 6"
LITTLE = {"share": 0.05}
MARGIN, COARSE = 0.02, 0.05  # bits per byte that are too few to matter; of networks that overfit or read badly
LAPTOP = {"parameters": 100_000, "context": 32, "batch": 32, "lr": 1e-2, "steps": 1000}
SMOKE = {"dataset": "python", "characters": 6000, "tested": 2500, "parameters": 6000, "window": 64, "probed": 1500}
SMOKE |= {"context": 8, "batch": 4, "lr": 1e-2, "steps": 20, "log_every": 4}
SMOKE |= {"continued": 3, "length": 20, "beam": 2, "dictionary": False}
SAMPLES = "The same passage of the test text, continued."
CELL = """The cell that tells the second half of a line from the first best in validation text, over test text: blue
above its mean, red below, in full colour at two standard deviations."""
ALONE = {"seeds": 1, "judges": False, "variants": ("lstm-2",)}
DEPTHS = ("rnn", "gru", "lstm", "lstm-2", "lstm-3")

STUDY = Study(
    name="char-lstm",
    question="Do gates and depth pay in a recurrent network that writes by characters, and what do its cells see?",
    paper=Paper(
        "Visualizing and Understanding Recurrent Networks",
        "Karpathy, Johnson, Fei-Fei",
        2015,
        "https://arxiv.org/abs/1506.02078",
    ),
    config=Config,
    program=train,
    generator=load_network,
    variants=(
        Variant("rnn", {"kind": "rnn"}, "no gates"),
        Variant("lstm", says="one layer"),
        Variant("lstm-2", {"layers": 2, "decoding": True}, "two layers"),
        Variant("lstm-3", {"layers": 3}, "three layers"),
        Variant("gru", {"kind": "gru"}, "one layer of gated recurrent units"),
        Variant("lstm-half", {"size": 0.5}, "half the parameters"),
        Variant("lstm-double", {"size": 2.0}, "twice the parameters"),
        Variant("forgetful", {"reading": "forgetful"}, "no state from step to step"),
        Variant("windows", {"reading": "windows"}, "no state; a step reads pieces from anywhere"),
        Variant("neighbours", {"reading": "neighbours"}, "no state; a step reads one stretch in pieces"),
        Variant("little-text", LITTLE, "a twentieth of the text, again and again"),
        Variant("little-text-double", LITTLE | {"size": 2.0}, "the same, twice the parameters"),
        Variant("little-text-dropout", LITTLE | {"dropout": 0.5}, "the same, half of the outputs dropped"),
        Variant("little-text-layer-norm", LITTLE | {"layer_norm": True}, "the same, layer normalisation in the cell"),
    ),
    scales={
        "smoke": Scale(SMOKE, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(
            LAPTOP | {"eval_every": 250},
            seeds=(5, 8, 12, 20),
            minutes=10,
            offline={"dataset": "python", "characters": 1_000_000, "dictionary": False},
        ),
        "python": Scale(
            LAPTOP | {"dataset": "python", "characters": 1_000_000, "steps": 3000, "dictionary": False},
            minutes=1,
            **ALONE,
        ),
        "dickinson": Scale(LAPTOP | {"dataset": "dickinson", "steps": 1500}, minutes=1, **ALONE),
        "paper": Scale(
            {"dataset": "shakespeare-plays", "steps": 23_000, "eval_every": 460, "log_every": 50}, seeds=3, minutes=2000
        ),
    },
    words={
        BITS: "bits per byte of the test text",
        "train/bits-per-byte": "bits per byte of the training text",
        "test/bits-per-byte-five-gram": "bits per byte of a five-gram",
        "test/bits-per-byte-unigram": "bits per byte of a unigram",
        LATE: "AUROC of the best cell for the second half of a line",
        "test/auroc-late-in-line-untrained": "the same AUROC before training",
        "test/repetition-beam": "share of beam-search continuations that end in a repetition",
        "test/repetition-human": "share of human continuations that end in a repetition",
    },
    idea=walk,
    claims={
        "an LSTM needs fewer bits per byte than a plain recurrent network of equal size": lower(
            "lstm", "rnn", "sec. 4.1", of=BITS, matters=MARGIN
        ),
        "an LSTM of two layers needs fewer bits per byte than one of one layer and equal size": lower(
            "lstm-2", "lstm", "sec. 4.1", of=BITS, matters=MARGIN
        ),
        "an LSTM that carries its state from step to step needs fewer bits per byte than one that empties it": lower(
            "lstm", "forgetful", "no paper", of=BITS, matters=MARGIN
        ),
        "steps that read pieces from anywhere lead to fewer bits per byte than steps that read one stretch": lower(
            "windows", "neighbours", "no paper", of=BITS, matters=COARSE
        ),
        "on little text an LSTM of twice the size needs more bits per byte": lower(
            "little-text", "little-text-double", "no paper", of=BITS, matters=COARSE
        ),
        "on little text an LSTM needs fewer bits per byte with dropout than without": lower(
            "little-text-dropout", "little-text", ZAREMBA, of=BITS, matters=COARSE
        ),
        "on little text an LSTM needs fewer bits per byte with layer normalisation than without": lower(
            "little-text-layer-norm", "little-text", BA, of=BITS, matters=COARSE
        ),
        "a GRU and an LSTM of equal size differ by less than 0.05 bits per byte": alike(
            "gru", "lstm", 0.05, "sec. 4.1, whose results are mixed", of=BITS
        ),
        "of LSTMs of three sizes each step up needs fewer bits per byte": Claim(
            size_gain,
            below(0),
            "sec. 4.1, table 1",
            matters=MARGIN,
            number="bits per byte changed by the less useful step in size",
        ),
        "more continuations by beam search end in a repetition than human ones or draws from the nucleus do": Claim(
            repetition_gain,
            above(0),
            f"{HOLTZMAN}, table 1",
            paper=0.2894 - 0.0036,
            number="share of repetitions above that of human text or of the nucleus, whichever is larger",
        ),
        "temperature 0.7 and the nucleus of 0.95 both write more words that a dictionary knows than pure draws": Claim(
            spelling_gain,
            above(0),
            f"{HOLTZMAN}, sec. 3",
            matters=0.02,
            number="share of words in the dictionary above that of pure draws, of the worse way",
        ),
        "temperature 0.7 and the nucleus of 0.95 both write fewer different pairs of words than pure draws": Claim(
            distinct_gain,
            below(0),
            f"{HOLTZMAN}, sec. 3",
            matters=0.01,
            number="share of different pairs of words above that of pure draws",
        ),
        "one cell of an LSTM tells the second half of lines from the first, with an AUROC above 0.9": between(
            "lstm-2", 0.9, math.inf, "sec. 4.2, whose cells are shown and not measured", of=LATE
        ),
        "the best cell of an LSTM tells the halves of lines apart better after training than before": higher(
            ("lstm-2", LATE), ("lstm-2", f"{LATE}-untrained"), "no paper", matters=0.05
        ),
    },
    charts=(
        bars(
            BITS,
            "train/bits-per-byte",
            title="Bits per byte by cell, size, reading and text",
            sections={
                "Gates and depth": DEPTHS,
                "Size": ("lstm-half", "lstm", "lstm-double"),
                "How the text is read": ("lstm", "forgetful", "windows", "neighbours"),
                "On little text": tuple(f"little-text{more}" for more in ("", "-double", "-dropout", "-layer-norm")),
            },
        ),
        curves("validation/bits-per-byte", title="Bits per byte during training, by gates and depth", variants=DEPTHS),
        pictures("samples.txt", title="Samples", says=SAMPLES),
        pictures("cell.png", title="A cell that knows its place in the line", says=CELL, variants=("rnn", "lstm-2")),
        bars(LATE, f"{LATE}-untrained", title="How well one cell knows its place in the line, trained and untrained"),
        bars("test/forget-open", "test/forget-shut", title="Forget gates that are nearly open or shut"),
    ),
    revisions=(
        "margins are named; the claim on spelling asks a dictionary and no longer the training text; beam search is "
        "compared with human text and the nucleus in one claim, as neither of these two ever ended in a repetition.",
    ),
    origin="C",
)
