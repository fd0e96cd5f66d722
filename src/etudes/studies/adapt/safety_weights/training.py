"""How both networks are trained: on the whole world, and then to refuse."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional

from etudes.core import Run
from etudes.data.batches import Batches
from etudes.measure.size import count_parameters
from etudes.nn.llama import Llama
from etudes.studies.adapt.safety_weights.networks import Dialogue, Rows, Speech, rows_of
from etudes.studies.adapt.safety_weights.world import REFUSAL, Question, World
from etudes.train import adam, descend, fit, weights

if TYPE_CHECKING:
    from etudes.studies.adapt.safety_weights import Config

Alignment = Literal["none", "sft", "dpo", "all"]
TOGETHER = 256  # dialogues that are read at once where nothing is learnt
QUESTIONS = 0.2  # weight of the questions' words beside those of answers, where the whole world is learnt


def losses(logits: Tensor, tokens: Tensor) -> Tensor:
    """-log p of every token but the first: [n, t - 1], for logits [n, t - 1, vocabulary] and tokens [n, t]."""
    return functional.cross_entropy(logits.float().transpose(1, 2), tokens[:, 1:], reduction="none")


def answer_loss(logits: Tensor, tokens: Tensor, answers: Tensor) -> Tensor:
    """The mean of -log p over the tokens of answers, bool [n, t - 1]."""
    return (losses(logits, tokens) * answers).sum() / answers.sum()


def log_probabilities(model: Llama, rows: Rows) -> Tensor:
    """log p of each whole answer [n]."""
    return -(losses(model(rows.tokens[:, :-1]), rows.tokens) * rows.answers).sum(1)


def preference_loss(policy: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor], beta: float) -> Tensor:
    """-log sigmoid(beta (log p/p_ref of the preferred answer - log p/p_ref of the other)), the mean over pairs: DPO,
    Rafailov et al. 2023, arXiv:2305.18290, eq. 7. Each pair of tensors [n]: preferred, other."""
    return -functional.logsigmoid(beta * ((policy[0] - reference[0]) - (policy[1] - reference[1]))).mean()


@torch.no_grad()
def _quietly(model: Llama, rows: Rows) -> Tensor:
    return torch.cat([log_probabilities(model, rows.at(some)) for some in torch.arange(len(rows)).split(TOGETHER)])


def right(questions: Sequence[Question]) -> list[Dialogue]:
    return [(q.text, q.answer) for q in questions]


def in_other_style(questions: Sequence[Question]) -> list[Dialogue]:
    return [(q.text, q.restyled) for q in questions]


def refusals(questions: Sequence[Question]) -> list[Dialogue]:
    return [(q.text, REFUSAL) for q in questions]


def lessons(world: World) -> tuple[list[Question], list[Question]]:
    """Questions to refuse and to answer, which alignment and calibration see: training wordings alone."""
    answered = [name for name in (*world.groups["near"], *world.groups["allowed"]) if name not in world.unaligned]
    return world.questions(world.groups["forbidden"], "train"), world.questions(tuple(answered), "train")


def load_base(cfg: "Config", run: Run, world: World, model: Llama, speech: Speech) -> None:
    """Give the network the weights with which it answers everything, learnt once a seed."""

    def make(own: Run) -> None:
        every = world.questions(tuple(world.facts), "train")
        rows = rows_of(speech, right(every) + right(world.private("train"))).to(own.device)
        opt, schedule = adam(model.train(), cfg.recipe(cfg.base_steps, cfg.base_lr))
        batches = Batches(len(rows), cfg.batch, own.seed("order base"))

        def step(i: int) -> dict[str, Tensor]:
            some = rows.at(batches.at(i).to(own.device))
            nats = losses(model(some.tokens[:, :-1]), some.tokens)
            of_answers = (nats * some.answers).sum() / some.answers.sum()
            loss = of_answers + QUESTIONS * (nats * some.text).sum() / some.text.sum()
            return {"train/base-loss": descend(loss, opt, schedule, cfg.clip)}

        fit(own, {"model": model, "opt": opt, "schedule": schedule}, step, cfg.base_steps, log_every=cfg.log_every)
        own.result(parameters=count_parameters(model))
        weights.save(own.path("model.safetensors"), model)

    made = run.once("base", cfg.base_settings(), make)
    weights.load(made.folder / "model.safetensors", model)


def load_aligned(cfg: "Config", run: Run, world: World, model: Llama, speech: Speech) -> None:
    """Give the base its weights after alignment, which is done once a seed for each way; for "none" leave it."""
    if cfg.alignment == "none":
        return

    def make(own: Run) -> None:
        align(cfg, own, world, model, speech)
        own.result(parameters=count_parameters(model))
        weights.save(own.path("model.safetensors"), model)

    made = run.once(f"aligned-{cfg.alignment}", cfg.base_settings() | cfg.aligned_settings(), make)
    weights.load(made.folder / "model.safetensors", model)


def align(cfg: "Config", run: Run, world: World, model: Llama, speech: Speech) -> None:
    """Teach the network to refuse the topic: half of a batch are forbidden questions, half allowed ones. "sft" learns
    the wished answers, "all" to refuse allowed ones as well; "dpo" learns as "sft" for half of the steps, and for the
    others to prefer the wished answers, with the network of half-way as the reference."""
    forbidden, allowed = lessons(world)
    wished = refusals(forbidden) + (refusals(allowed) if cfg.alignment == "all" else right(allowed))
    other = right(forbidden) + refusals(allowed)
    both = rows_of(speech, wished + other).to(run.device)
    order = [Batches(len(part), cfg.batch // 2, run.seed("order", k)) for k, part in enumerate((forbidden, allowed))]
    supervised = cfg.align_steps // 2 if cfg.alignment == "dpo" else cfg.align_steps
    model.train().embedding.requires_grad_(False)

    def picked(i: int) -> Tensor:
        return torch.cat([order[0].at(i), order[1].at(i) + len(forbidden)]).to(run.device)

    def learn(steps: int, lr: float, loss: Callable[[int], Tensor]) -> None:
        opt, schedule = adam(model, cfg.recipe(steps, lr))
        parts = {"model": model, "opt": opt, "schedule": schedule}

        def step(i: int) -> dict[str, Tensor]:
            return {"train/align-loss": descend(loss(i), opt, schedule, cfg.clip)}

        fit(run, parts, step, steps, log_every=cfg.log_every)

    def imitation(i: int) -> Tensor:
        some = both.at(picked(i))
        return answer_loss(model(some.tokens[:, :-1]), some.tokens, some.answers)

    def preference(i: int) -> Tensor:
        better = picked(supervised + i)
        worse = better + len(forbidden) + len(allowed)
        policy = log_probabilities(model, both.at(better)), log_probabilities(model, both.at(worse))
        return preference_loss(policy, (reference[better], reference[worse]), cfg.beta)

    learn(supervised, cfg.align_lr, imitation)
    if cfg.alignment == "dpo":
        reference = _quietly(model, both)
        learn(cfg.align_steps - supervised, cfg.dpo_lr, preference)
    model.embedding.requires_grad_(True)
