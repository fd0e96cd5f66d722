"""Texts against the ways that people take, in one run: etudes bench text

Translation  a thousand English sentences into French, greedily, by the network that comes with the demo of the study
             `translation`: many side by side, and by a plain loop as in PyTorch's tutorial, a sentence at a time and a
             word at a time. Both use the same weights, and what they write must be the same. Goal: 10 times.
Adaptation   a step of low-rank adaptation (rank 8, the queries' and values' matrices of all attention) of a T5: by our
             layers and `descend`, and by transformers' Trainer with peft, with the same weights, batches and optimiser,
             in fp32. Batches are made within the step on both sides. Goal: at least as fast.
Pretraining  tokens a second of a RoBERTa that learns to tell hidden tokens: by the network, masks and loss of the study
             `roberta-fr`, and by transformers' RobertaForMaskedLM with its DataCollatorForLanguageModeling, with the
             same weights, windows and optimiser, in a plain loop. Both in fp32 (goal: 1.5 times), then both under bf16
             autocast (goal: at least as fast).

Both sides take turns, and the median of the ratios of neighbouring turns is told: machines drift. One thread each, as
runs have by default.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from engine import turns
from torch import Tensor

from etudes.core import catalogue
from etudes.core.environment import environment
from etudes.core.errors import Problem
from etudes.core.record import read
from etudes.data.pairs import pairs
from etudes.nn.exchange import to_transformers
from etudes.nn.lora import adapt_linear
from etudes.nn.roberta import Roberta
from etudes.nn.t5 import T5, answer_loss, rows
from etudes.studies.language.roberta_fr.masking import Hidden
from etudes.studies.language.roberta_fr.networks import masked_loss
from etudes.studies.language.roberta_fr.reading import FIRST, MASK, PAD
from etudes.studies.language.translation import load_network
from etudes.studies.language.translation.decoding import translate
from etudes.studies.language.translation.networks import Translator
from etudes.train import descend
from etudes.web.demos.ship import TRAINED

SENTENCES, WORDS = 1000, 8  # that are translated, and the most that one has
SHAPE = (4096, 256, 4, 8, 32, 704)  # of the T5: vocabulary, width, blocks, heads, width of a head, of the gated layer
BATCH, TEXT, ANSWER, STEPS = 16, 48, 4, 12  # examples a step, tokens of each, steps a turn
RANK, ALPHA, RATE = 8, 16.0, 1e-3
READER = (2048, 128, 2, 2, 64)  # of the Roberta: vocabulary, width, layers, heads, tokens that it sees at once
WINDOWS, READS = 32, 20  # windows a step, steps a turn


def seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


@torch.no_grad()
def one_by_one(network: Translator, sentences: list[list[int]], end: int) -> list[list[int]]:
    """The tokens of each translation, by a loop over sentences and their words."""
    found = []
    for sentence in sentences:
        memory, state = network.read(torch.tensor([sentence]), torch.tensor([len(sentence)]))
        token, written = network.vocabulary, []
        while len(written) < 2 * len(sentence) + 10:
            logits, state = network.write(torch.tensor([[token]]), memory, state)
            token = int(logits[0, -1].argmax())
            if token == end:
                break
            written.append(token)
        found.append(written)
    return found


def compare_translation(count: int = 3) -> Iterator[str]:
    record = next(found for path in TRAINED.glob("translation/laptop/luong/*") if (found := read(path)))
    network, tokenizer = load_network(catalogue.find("translation").config(**record.spec.config), record.folder)
    try:
        d = pairs("tatoeba-eng-fra")
    except Problem as absent:
        yield f"translation: {absent}"
        return
    short = [english for english, _ in d.test if len(english.split()) <= WORDS][:SENTENCES]
    sentences = [tokenizer.encode(f" {english}") for english in short]
    side_by_side, single = (way(network, sentences, tokenizer.start) for way in (translate, one_by_one))
    alike = sum(a == b for a, b in zip(side_by_side, single, strict=True))
    yield f"translation: {alike} of {len(sentences)} translations are alike"
    found = turns(
        count,
        lambda: seconds(lambda: one_by_one(network, sentences, tokenizer.start)),
        lambda: seconds(lambda: translate(network, sentences, tokenizer.start)),
    )
    yield f"translation: seconds of {len(sentences)} sentences, the loop against side by side {found}; goal at least 10"


def examples() -> list[tuple[list[int], list[int]]]:
    """(text, answer) in random tokens, of as many lengths as texts have."""
    draws = torch.Generator().manual_seed(0)
    sizes = torch.randint(TEXT // 2, TEXT + 1, (BATCH * STEPS,), generator=draws)
    return [
        (
            torch.randint(2, SHAPE[0], (int(n),), generator=draws).tolist(),
            torch.randint(2, SHAPE[0], (ANSWER,)).tolist(),
        )
        for n in sizes
    ]


def our_turn(base: T5, data: list[tuple[list[int], list[int]]]) -> Callable[[], float]:
    model = T5(*SHAPE)
    model.load_state_dict(base.state_dict())
    names = [name for name, _ in base.named_modules() if name.rpartition(".")[2] in ("q", "v")]
    adapt_linear(model, RANK, ALPHA, lambda name: name in names)
    opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(opt, lambda step: 1.0)

    def steps() -> None:
        for i in range(STEPS):
            texts, answers = zip(*data[i * BATCH : (i + 1) * BATCH], strict=True)
            wanted = rows(list(answers))
            float(descend(answer_loss(model(rows(list(texts)), wanted), wanted), opt, schedule, 1.0))

    return lambda: seconds(steps) / STEPS


def their_turn(base: T5, data: list[tuple[list[int], list[int]]]) -> Callable[[], float]:
    """The same by transformers' Trainer with peft. Raises ModuleNotFoundError where one is not installed."""
    import transformers
    from peft import LoraConfig, get_peft_model

    how = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=["q", "v"], task_type="SEQ_2_SEQ_LM")
    model = get_peft_model(to_transformers(base), how)

    def collate(parts: list[tuple[list[int], list[int]]]) -> dict[str, Tensor]:
        texts, answers = (rows([part[side] for part in parts]) for side in (0, 1))
        return {"input_ids": texts, "attention_mask": (texts != 0).long(), "labels": answers}

    class Clock(transformers.TrainerCallback):  # type: ignore[misc]
        """Seconds from the first step's beginning to the last one's end: what Trainer makes ready is left out."""

        begun = ended = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            self.begun = self.begun or time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            self.ended = time.perf_counter()

    def turn() -> float:
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(
                output_dir=folder,
                max_steps=STEPS,
                per_device_train_batch_size=BATCH,
                learning_rate=RATE,
                lr_scheduler_type="constant",
                weight_decay=0.0,
                save_strategy="no",
                report_to=[],
                use_cpu=True,
                disable_tqdm=True,
                remove_unused_columns=False,
                logging_strategy="no",
            )
            trainer = transformers.Trainer(
                model, arguments, train_dataset=data, data_collator=collate, callbacks=[clock]
            )
            trainer.remove_callback(transformers.PrinterCallback)
            trainer.train()
        return (clock.ended - clock.begun) / STEPS

    return turn


def compare_adaptation(count: int = 5) -> Iterator[str]:
    torch.manual_seed(0)
    base, data = T5(*SHAPE), examples()
    try:
        theirs = their_turn(base, data)
    except ModuleNotFoundError as missing:
        yield f"adaptation: {missing.name} is not installed: pip install peft transformers"
        return
    found = turns(count, theirs, our_turn(base, data))
    yield f"adaptation: seconds a step, Trainer with peft against ours {found}; goal at least 1"


def reading_turn(model: torch.nn.Module, loss: Callable[[int], Tensor], bf16: bool) -> Callable[[], float]:
    """Tokens a second of some steps of training, `loss(i)` being that of step i, its masks drawn within."""
    opt = torch.optim.AdamW(model.parameters(), RATE, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(opt, lambda step: 1.0)
    precision = torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext()

    def steps() -> None:
        for i in range(READS):
            with precision:
                found = loss(i)
            float(descend(found, opt, schedule, 1.0))

    return lambda: READS * WINDOWS * READER[-1] / seconds(steps)


def our_reader(base: Roberta, windows: Tensor, bf16: bool) -> Callable[[], float]:
    model = Roberta(*READER)
    model.load_state_dict(base.state_dict())
    hidden = Hidden(windows, WINDOWS, 0.15, 0, READER[0], lambda stream, index=0: index)
    return reading_turn(model, lambda i: masked_loss(model, *hidden.at(i)), bf16)


def their_reader(base: Roberta, windows: Tensor, bf16: bool) -> Callable[[], float]:
    """The same by transformers. Raises ModuleNotFoundError where it is not installed."""
    import tokenizers
    import transformers

    model = to_transformers(base).train()
    words = {"<pad>": PAD, "<mask>": MASK, **{str(i): i for i in range(2, READER[0])}}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "2")),
        pad_token="<pad>",
        mask_token="<mask>",
    )
    collate = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)

    def loss(i: int) -> Tensor:
        batch = collate([{"input_ids": row} for row in windows[i * WINDOWS : (i + 1) * WINDOWS]])
        found: Tensor = model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
        return found

    return reading_turn(model, loss, bf16)


def compare_pretraining(count: int = 5) -> Iterator[str]:
    torch.manual_seed(0)
    base = Roberta(*READER)
    windows = torch.randint(FIRST, READER[0], (READS * WINDOWS, READER[-1]))
    for precision, goal in (("fp32", 1.5), ("bf16", 1)):
        try:
            theirs = their_reader(base, windows, precision == "bf16")
        except ModuleNotFoundError as missing:
            yield f"pretraining: {missing.name} is not installed: pip install transformers"
            return
        found = turns(count, our_reader(base, windows, precision == "bf16"), theirs)
        yield f"pretraining: tokens a second in {precision}, ours against transformers {found}; goal at least {goal}"


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    facts = environment()
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    print(f"{facts['host']}; {torch.get_num_threads()} threads; {libraries}")
    for compare in (compare_translation, compare_adaptation, compare_pretraining):
        for line in compare():
            print(line, flush=True)


if __name__ == "__main__":
    main()
