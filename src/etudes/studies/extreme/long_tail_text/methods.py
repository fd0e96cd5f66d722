"""What each method trains, and how it scores labels."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from etudes.core import Run
from etudes.core.errors import Problem
from etudes.data.batches import Batches
from etudes.losses import imbalance
from etudes.measure.ranking import propensities
from etudes.measure.size import count_parameters
from etudes.studies.extreme.long_tail_text import sampling
from etudes.studies.extreme.long_tail_text.networks import TextNetwork, learn, logits
from etudes.studies.extreme.long_tail_text.tasks import Matrix, Task
from etudes.train import seeded, weights

if TYPE_CHECKING:
    from etudes.studies.extreme.long_tail_text import Config

Score = Callable[[Matrix], np.ndarray]  # documents x [n, terms] -> scores [n, labels]; higher is more likely
SCALE = 30.0  # of cosines under LDAM: the authors' code
BETA = 0.999  # of the effective number of examples
DEFERRED = 0.8  # share of the steps after which LDAM weighs classes: 160 of 200 epochs in the paper
ONE_ONLY = ("undersampled", "ldam", "balanced", "retrained", "normalised", "mixed", "smote")


def network(cfg: "Config", run: Run, task: Task, stream: str, cosine: bool = False) -> TextNetwork:
    sizes = (task.train.x.shape[1], cfg.hidden, task.train.y.shape[1])
    model = seeded(run, stream, lambda: TextNetwork(*sizes, cosine))
    if cfg.task == "many":  # labels are rare to begin with: learning that first would take most of the steps
        share = torch.from_numpy((task.counts + 0.1) / (task.train.x.shape[0] + 0.2)).float()
        with torch.no_grad():
            model.classify.bias.copy_(share.logit())
    return model


def propensity(cfg: "Config", task: Task) -> np.ndarray:
    return propensities(task.counts, task.train.x.shape[0], cfg.propensity_a, cfg.propensity_b)


def plain_loss(cfg: "Config", y: Matrix, positive: Tensor | None = None) -> Callable[[Tensor, np.ndarray, int], Tensor]:
    """Cross-entropy, or with many labels the sum of binary ones, whose true labels count `positive` [labels] times."""

    def loss(z: Tensor, rows: np.ndarray, i: int) -> Tensor:
        truth = torch.from_numpy(y[rows].toarray()).to(z.device)
        if cfg.task == "one":
            return functional.cross_entropy(z.float(), truth.argmax(1))
        terms = functional.binary_cross_entropy_with_logits(z.float(), truth, pos_weight=positive, reduction="sum")
        return terms / len(rows)

    return loss


def class_loss(cfg: "Config", task: Task, label: np.ndarray) -> Callable[[Tensor, np.ndarray, int], Tensor]:
    """The loss of the methods that change it, for documents of classes `label` [n]."""
    counts, truth = torch.from_numpy(task.counts), torch.from_numpy(label)
    prior, even = imbalance.shares(counts), torch.ones(len(counts))
    heavy = imbalance.effective_weights(counts, BETA, 1.0 if cfg.method == "ldam" else cfg.strength)
    margins = imbalance.ldam_margins(counts, cfg.strength)

    def loss(z: Tensor, rows: np.ndarray, i: int) -> Tensor:
        z, y = z.cpu(), truth[rows]
        if cfg.method == "weighted":
            return imbalance.weighted_cross_entropy(z, y, heavy)
        if cfg.method == "balanced":
            return imbalance.logit_adjusted(z, y, prior, cfg.strength)
        return imbalance.ldam(z, y, margins, SCALE, heavy if i >= DEFERRED * cfg.steps else even)

    return loss


def plain(cfg: "Config", run: Run, task: Task, member: int = 0) -> TextNetwork:
    """The network that nothing is done for the tail of; one a member, which all variants of the seed share."""
    fields = {name: value for name, value in asdict(cfg).items() if name not in ("method", "strength")}

    def make(own: Run) -> None:
        batches = Batches(task.train.x.shape[0], cfg.batch, own.seed("order", member))
        model = network(cfg, own, task, f"init-{member}")
        learn(own, cfg, model, task.train.x, plain_loss(cfg, task.train.y), lambda i: batches.at(i).numpy())
        weights.save(own.path("model.safetensors"), model)
        own.result(parameters=count_parameters(model))

    record = run.once(f"plain-{member}", fields, make)
    return weights.load(record.folder / "model.safetensors", network(cfg, run, task, f"init-{member}"))


def examples(cfg: "Config", run: Run, task: Task) -> tuple[Matrix, Matrix]:
    """The documents x and labels y that a method trains on: fewer, or more of them, where it changes that."""
    x, y = task.train.x, task.train.y
    if cfg.method not in ("undersampled", "mixed", "smote"):
        return x, y
    label, rng = np.asarray(y.argmax(1)).ravel(), run.rng(cfg.method)
    if cfg.method == "undersampled":
        rows = sampling.undersample(label, task.counts, cfg.strength, rng)
        return x[rows], y[rows]
    lacks = sampling.missing(task.counts, cfg.strength)
    if cfg.method == "mixed":
        made, classes = sampling.mix(task.words, label, lacks, rng)
        made = task.weigh(made) if made.shape[0] else x[:0]
    else:
        made, classes = sampling.smote(x, label, lacks, rng)
    one_hot = sparse.csr_matrix(
        (np.ones(len(classes), np.float32), (range(len(classes)), classes)), (len(classes), y.shape[1])
    )
    return sparse.vstack([x, made]).tocsr(), sparse.vstack([y, one_hot]).tocsr()


def drawing(cfg: "Config", run: Run, task: Task, stream: str) -> Callable[[int], np.ndarray]:
    """Rows of step i, drawn with chances that favour rare labels; with many of them by a document's rarest one."""
    y = task.train.y
    if cfg.task == "one":
        chance = sampling.drawing_probabilities(np.asarray(y.argmax(1)).ravel(), task.counts, cfg.strength)
    else:
        rarest = (y @ sparse.diags(1 / np.maximum(task.counts, 1))).max(1).toarray().ravel()
        chance = rarest**cfg.strength
        chance /= chance.sum()
    return lambda i: run.rng(stream, i).choice(len(chance), cfg.batch, p=chance)


def train_network(cfg: "Config", run: Run, task: Task) -> TextNetwork:
    """The network of a method that changes examples, their order, or the loss."""
    x, y = examples(cfg, run, task)
    batches = Batches(x.shape[0], cfg.batch, run.seed("order", 0))
    rows_at = lambda i: batches.at(i).numpy()  # noqa: E731
    loss = plain_loss(cfg, y)
    if cfg.method == "oversampled":
        rows_at = drawing(cfg, run, task, "draw")
    elif cfg.method == "weighted" and cfg.task == "many":
        positive = torch.from_numpy(propensity(cfg, task) ** -cfg.strength).float().to(run.device)
        loss = plain_loss(cfg, y, positive)
    elif cfg.method in ("weighted", "balanced", "ldam"):
        loss = class_loss(cfg, task, np.asarray(y.argmax(1)).ravel())
    model = network(cfg, run, task, "init-0", cosine=cfg.method == "ldam")
    return learn(run, cfg, model, x, loss, rows_at)


def retrain(cfg: "Config", run: Run, task: Task) -> TextNetwork:
    """The plain network with a new last layer, learnt on classes drawn alike (cRT: Kang et al. 2019, sec. 4.2)."""
    model = plain(cfg, run, task)
    model.classify = seeded(run, "classifier", lambda: torch.nn.Linear(cfg.hidden, task.train.y.shape[1]))
    model.words.weight.requires_grad_(False)
    recipe = replace(cfg, steps=cfg.later_steps)
    model.train()
    learn(run, recipe, model, task.train.x, plain_loss(cfg, task.train.y), drawing(cfg, run, task, "later"))
    return model


def likelihood(cfg: "Config", z: np.ndarray) -> np.ndarray:
    """Logits as logarithms of probabilities: of one class, or of each label by itself."""
    found = torch.from_numpy(z)
    return (functional.log_softmax(found, 1) if cfg.task == "one" else functional.logsigmoid(found)).numpy()


def cosines(task: Task, x: Matrix) -> np.ndarray:
    """Cosines [n, labels] of documents and the labels' own texts: no training document is asked."""
    if task.names is None:
        raise Problem("this set's labels have no texts; leave out the variants that read them (--variants)")
    return np.asarray((x[:, :-1] @ task.names[:, :-1].T).toarray())  # without the column of ones


def scorer(cfg: "Config", run: Run, task: Task) -> Score:
    """What scores labels by cfg.method, after its training."""
    if cfg.task == "many" and cfg.method in ONE_ONLY:
        raise Problem(f"{cfg.method} is for documents of one class; take --task one")
    if cfg.method == "names":
        return lambda x: cosines(task, x)
    if cfg.method == "ensemble":
        members = [plain(cfg, run, task, k) for k in range(cfg.members)]
        return lambda x: np.log(np.mean([np.exp(likelihood(cfg, logits(m, x))) for m in members], 0) + 1e-30)
    if cfg.method in ("plain", "adjusted", "combined", "normalised"):
        model = plain(cfg, run, task)
        if cfg.method == "normalised":
            with torch.no_grad():
                model.classify.weight.copy_(imbalance.tau_normalise(model.classify.weight, cfg.strength))
                model.classify.bias.zero_()
        return lambda x: _afterwards(cfg, task, likelihood(cfg, logits(model, x)), x)
    model = retrain(cfg, run, task) if cfg.method == "retrained" else train_network(cfg, run, task)
    scale = SCALE if cfg.method == "ldam" else 1.0
    return lambda x: likelihood(cfg, scale * logits(model, x))


def _afterwards(cfg: "Config", task: Task, score: np.ndarray, x: Matrix) -> np.ndarray:
    if cfg.method == "adjusted":
        prior = task.counts / task.counts.sum() if cfg.task == "one" else propensity(cfg, task)
        return imbalance.adjust(torch.from_numpy(score), torch.from_numpy(prior), cfg.strength).numpy()
    return score + cfg.strength * cosines(task, x) if cfg.method == "combined" else score
