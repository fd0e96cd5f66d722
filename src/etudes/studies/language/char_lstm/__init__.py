"""char-lstm: recurrent networks that write character by character, and what their cells see.

A network reads a text and foretells each next character; its state is all that it knows of what came before. Plain
recurrent networks, LSTMs and GRUs of equal numbers of parameters, one to three layers deep, of three sizes, read the
text in four ways (Karpathy, Johnson and Fei-Fei 2015). One continues passages greedily, by beam search and by drawing
(Holtzman et al. 2020, arXiv:1904.09751).

    etudes run char-lstm                     10 minutes on two cores, 14 variants, 5 seeds: scenes of Shakespeare
    etudes run char-lstm --scale python      a minute: brackets and quotation marks, in programs
    etudes generate char-lstm "ROMEO:" --variant lstm-2 --top-p 0.95

Departures from the paper: networks of a twentieth of the size that see their text once; Adam for RMSProp; an embedding,
scaled logits and an orthogonal start (nn/recurrent.py). Nothing is chosen on validation but the cells that are shown.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional

from etudes.core.claims import Claim, Trial, above, below, difference, within
from etudes.core.files import read_json, write_text
from etudes.core.run import Run
from etudes.core.spec import Paper, Scale, Study, Variant
from etudes.data.text import beginnings, texts
from etudes.data.tokens import Tokenizer, ids
from etudes.generate.samples import samples
from etudes.measure.bits import bits_per_byte, nats
from etudes.measure.cells import middle
from etudes.measure.size import count_parameters
from etudes.measure.writing import words
from etudes.nn.recurrent import Recurrent, hidden_for
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves, pictures
from etudes.studies.language.char_lstm.findings import errors, look, write
from etudes.studies.language.char_lstm.reading import Carried, prepared, reader
from etudes.train import weights
from etudes.train.loop import fit
from etudes.train.recipe import Recipe, descend, scheduled, seeded

WINDOW, STRIDE = 1024, 896  # characters read in one go where bits are measured: 129 or more are before each
PROMPT = 64  # characters that are continued
SHOWN = 250  # characters of a sample


@dataclass(frozen=True)
class Config(Recipe):
    dataset: str = "shakespeare"  # a text set, as listed by `etudes data`
    characters: Annotated[int, above(0)] = 0  # of the training works, from their beginnings; 0: all
    share: Annotated[float, within(0, 1)] = 1.0  # of these that is trained on, again and again
    tested: Annotated[int, above(200)] = 60_000  # characters of each held-out part, from the works' beginnings
    kind: Literal["rnn", "lstm", "gru"] = "lstm"  # plain, or with gates
    layers: Annotated[int, above(1)] = 1  # of recurrent units
    parameters: Annotated[int, above(1000)] = 2_200_000  # that the hidden units are counted for
    size: Annotated[float, above(0)] = 1.0  # of the network, as a multiple of `parameters`
    dropout: Annotated[float, within(0, 1)] = 0.0  # share of what a layer hands up that is set to zero
    layer_norm: bool = False  # layer normalisation in the cells
    reading: Literal["lanes", "forgetful", "windows", "neighbours"] = "lanes"  # what a step reads (reading.py)
    context: Annotated[int, above(1)] = 100  # characters that gradients go back through
    batch: Annotated[int, above(1)] = 100  # places in the text that are read at once
    lr: Annotated[float, above(0)] = 2e-3  # peak learning rate of Adam
    schedule: Schedule = "linear"  # learning rate
    momentum: Annotated[float, within(0, 1)] = 0.9  # beta1 of Adam
    weight_decay: Annotated[float, above(0)] = 0.0  # L2 penalty of Adam
    clip: Annotated[float, above(0)] = 1.0  # largest norm of a gradient
    probed: Annotated[int, above(200)] = 8000  # characters of a held-out work in which cells and errors are looked at
    decoding: bool = False  # whether all ways of decoding are compared, or one
    continued: Annotated[int, above(2)] = 24  # test passages that are continued
    length: Annotated[int, above(10)] = 800  # characters of each continuation: about 200 words and marks
    beam: Annotated[int, above(1)] = 8  # beginnings that beam search keeps


def network(cfg: Config, vocabulary: int, used: int) -> Recurrent:
    """Of the size asked for, counting those of its `vocabulary` that the training text uses."""
    hidden = hidden_for(cfg.kind, used, cfg.layers, round(cfg.size * cfg.parameters))
    return Recurrent(cfg.kind, vocabulary, hidden, cfg.layers, cfg.dropout, cfg.layer_norm)


def restored(cfg: Config, folder: Path) -> tuple[Recurrent, Tokenizer]:
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    used = int(read_json(folder / "result.json", f"delete {folder} and run it again")["train/vocabulary"])
    return weights.load(folder / "model.safetensors", network(cfg, tokenizer.size, used)), tokenizer


def train(cfg: Config, run: Run) -> None:
    d = texts(cfg.dataset).take(cfg.characters)
    run.note(data=d.source)
    known = Counter(word for work in d.train for word in words(work))
    d = d.take(max(1, round(cfg.share * sum(map(len, d.train)))))
    works = {"train": d.train[: len(d.test)], "validation": d.validation, "test": d.test}
    scored = {split: beginnings(some, cfg.tested) for split, some in works.items()}
    asked = {name: asdict(cfg)[name] for name in ("dataset", "characters", "share", "tested")}
    tokenizer, kept, baselines = prepared(run, d.train, scored["test"], asked)
    tokens = kept["tokens"].roll(int(run.rng("begin").integers(len(kept["tokens"]))))  # where the reading begins
    used = len(tokens.unique())

    def make() -> Recurrent:
        return network(cfg, tokenizer.size, used)

    model = seeded(run, "init", make)
    opt = torch.optim.Adam(model.parameters(), cfg.lr, (cfg.momentum, 0.99), weight_decay=cfg.weight_decay)
    schedule, carried = scheduled(opt, cfg), Carried(model.start(cfg.batch))
    read = reader(cfg.reading, tokens, cfg.context, cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:  # several processes would all do the same: a state belongs to its rows
        block, goes_on = read(i)
        block = block.to(run.device)
        logits, state = model.next(block[:, :-1], carried.state if goes_on else model.start(cfg.batch))
        carried.keep(state)
        loss = functional.cross_entropy(logits.float().flatten(0, 1), block[:, 1:].flatten())
        return {"train/loss": descend(loss, opt, schedule, cfg.clip)}

    def bits(split: str) -> dict[str, float]:
        return {f"{split}/bits-per-byte": bits_per_byte(model, tokenizer, scored[split], WINDOW, STRIDE)}

    def evaluate() -> dict[str, float]:
        return bits("validation") | bits("train")

    parts = {"model": model, "opt": opt, "schedule": schedule, "carried": carried}
    final = fit(run, parts, step, cfg.steps, evaluate=evaluate, eval_every=cfg.eval_every, log_every=cfg.log_every)

    model.eval()
    with run.autocast():
        run.result(**final, **bits("test"), **baselines)
    unused = (tokenizer.size - used) * (2 * model.hidden + 1)  # of the bytes that no training text has
    run.result(parameters=count_parameters(model) - unused, **{"train/vocabulary": used})

    held = {split: scored[split][0][: cfg.probed] for split in ("validation", "test")}
    nets = {"": model, "-untrained": seeded(run, "init", make).eval()}
    run.result(**look(run, nets, tokenizer, held, middle("\n".join(d.train))))
    test = ids(tokenizer, scored["test"]).to(run.device)
    losses = nats(model, test[: len(tokenizer.encode(held["test"])) + 1], WINDOW, STRIDE)
    run.result(**errors(losses, tokenizer, held["test"], kept["foreseen"][: len(losses)], known))

    starts = torch.linspace(0, len(test) - PROMPT - cfg.length, cfg.continued).long()[:, None]
    passages = test[starts.to(run.device) + torch.arange(PROMPT + cfg.length, device=run.device)]
    width = cfg.beam if cfg.decoding else 0
    run.result(**write(model, tokenizer, passages, PROMPT, width, frozenset(known), run.seed("draws")))
    if run.leader:
        told = samples(model, tokenizer, (held["test"][:PROMPT],), SHOWN, run.seed("samples"))
        write_text(run.path("samples.txt"), told)
        weights.save(run.path("model.safetensors"), model)
        tokenizer.save(run.path("tokenizer.json"))


BITS = "test/bits-per-byte"
HOLTZMAN = "Holtzman et al. 2020 (arXiv:1904.09751)"
ZAREMBA = "Zaremba et al. 2014 (arXiv:1409.2329), table 1"
BA = "Ba et al. 2016 (arXiv:1607.06450), sec. 6"
LITTLE = {"share": 0.05}
LAPTOP = {"parameters": 100_000, "context": 32, "batch": 32, "lr": 1e-2, "steps": 1000}
SMOKE = {"dataset": "python", "characters": 12_000, "tested": 12_000, "parameters": 6000, "probed": 2500}
SMOKE |= {"context": 8, "batch": 4, "steps": 6, "continued": 3, "length": 20, "beam": 2, "lr": 1e-2, "log_every": 2}
SAMPLES = "The same passage of the test text, continued."
CELL = """The cell that tells the second half of a line from the first best in validation text, over test text: blue
above its mean, red below, in full colour at two standard deviations."""
ALONE = {"seeds": 1, "judges": False, "variants": ("lstm-2",)}
FEWER = (  # the claims that one variant needs fewer bits than another: name, says, where, variant, other
    ("gates pay", "an LSTM needs fewer bits than a plain network of equal size", "sec. 4.1", "lstm", "rnn"),
    ("depth pays", "two layers need fewer bits than one of equal size", "sec. 4.1", "lstm-2", "lstm"),
    ("the carried state pays", "carrying the state on lowers the bits", "no paper", "lstm", "forgetful"),
    ("diverse batches pay", "reading anywhere beats reading one stretch", "no paper", "windows", "neighbours"),
    ("little text", "on little text, twice the size needs more bits", "no paper", "little-text", "little-text-double"),
    ("dropout", "on little text, dropout lowers the bits", ZAREMBA, "little-text-dropout", "little-text"),
    ("layer norm", "on little text, layer normalisation lowers them", BA, "little-text-layer-norm", "little-text"),
)


def _ways(metric: str) -> Callable[[Trial], list[float]]:
    """How far `metric` of text drawn at temperature 0.7, and from the nucleus of 0.95, is above that of pure draws."""
    names = [f"test/{metric}-{way}" for way in ("temperature-70", "nucleus-95")]
    return lambda t: [t["lstm-2"][name] - t["lstm-2"][f"test/{metric}-pure"] for name in names]


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
    threads=1,
    generator=restored,
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
        "smoke": Scale(SMOKE, seeds=1, minutes=0.5, judges=False),
        "laptop": Scale(
            LAPTOP | {"eval_every": 250},
            seeds=5,
            minutes=10,
            offline={"dataset": "python", "characters": 1_000_000},
        ),
        "python": Scale(LAPTOP | {"dataset": "python", "characters": 1_000_000, "steps": 3000}, minutes=1, **ALONE),
        "dickinson": Scale(LAPTOP | {"dataset": "dickinson", "steps": 1500}, minutes=1, **ALONE),
        "paper": Scale(
            {"dataset": "shakespeare-plays", "steps": 23_000, "eval_every": 460, "log_every": 50}, seeds=3, minutes=2000
        ),
    },
    claims=(
        *(Claim(name, says, where, difference(one, other, BITS), below(0)) for name, says, where, one, other in FEWER),
        Claim(
            "which gates matters little",
            "a GRU and an LSTM of equal size differ by less than 0.05 bits",
            "sec. 4.1, whose results are mixed",
            difference("gru", "lstm", BITS),
            within(-0.05, 0.05),
        ),
        Claim(
            "size pays",
            "of three sizes, each step up needs fewer bits",
            "sec. 4.1, table 1",
            lambda t: max(t["lstm"][BITS] - t["lstm-half"][BITS], t["lstm-double"][BITS] - t["lstm"][BITS]),
            below(0),
        ),
        Claim(
            "beam search goes round in circles",
            "more continuations by beam search end in a repetition than human ones do",
            f"{HOLTZMAN}, table 1",
            lambda t: t["lstm-2"]["test/repetition-beam"] - t["lstm-2"]["test/repetition-human"],
            above(0),
            paper=0.2894 - 0.0028,
        ),
        Claim(
            "the nucleus does not",
            "of continuations drawn from the nucleus of 0.95, as many as of human ones do, to within 0.05",
            f"{HOLTZMAN}, table 1",
            lambda t: t["lstm-2"]["test/repetition-nucleus-95"] - t["lstm-2"]["test/repetition-human"],
            within(-0.05, 0.05),
            paper=0.0036 - 0.0028,
        ),
        Claim(
            "a cut tail spells better",
            "temperature 0.7 and the nucleus of 0.95 both spell more words correctly than pure draws",
            f"{HOLTZMAN}, sec. 3",
            lambda t: min(_ways("spelling")(t)),
            above(0),
        ),
        Claim(
            "and says less",
            "both have fewer different pairs of words than pure draws",
            f"{HOLTZMAN}, sec. 3",
            lambda t: max(_ways("distinct")(t)),
            below(0),
        ),
        Claim(
            "a cell knows the place in the line",
            "one cell's value tells the second half of lines from the first, with an AUROC above 0.9",
            "sec. 4.2, whose cells are shown and not measured",
            lambda t: t["lstm-2"]["test/auroc-late-in-line"],
            above(0.9),
        ),
        Claim(
            "which it has learnt",
            "it does so better than the best cell of the network before training",
            "no paper",
            lambda t: t["lstm-2"]["test/auroc-late-in-line"] - t["lstm-2"]["test/auroc-late-in-line-untrained"],
            above(0),
        ),
    ),
    charts=(
        bars(BITS, "train/bits-per-byte"),
        curves("validation/bits-per-byte"),
        pictures("samples.txt", title="Samples", says=SAMPLES),
        pictures("cell.png", title="A cell that knows its place in the line", says=CELL, variants=("rnn", "lstm-2")),
        bars("test/auroc-late-in-line", "test/auroc-late-in-line-untrained"),
        bars("test/forget-open", "test/forget-shut", title="Forget gates that are nearly open or shut"),
    ),
    origin="D",
)
