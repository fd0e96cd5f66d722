import copy

import pytest
import torch

from etudes.core import record
from etudes.core.run import Run, execute
from etudes.core.spec import Spec
from etudes.data.sentences import Sentence
from etudes.data.tokens import bpe
from etudes.nn.exchange import to_transformers
from etudes.nn.llama import Llama
from etudes.nn.lora import LowRankLinear, adapt_linear
from etudes.nn.t5 import PAD, T5, rows
from etudes.studies.adapt.finetune_lora import STUDY, Config, choose_trained, is_changed, spread
from etudes.studies.adapt.finetune_lora.claims import gap_less
from etudes.studies.adapt.finetune_lora.findings import (
    OUTSIDE,
    answer_scores,
    measure_merged,
    measure_size,
    read_answers,
    trained_tensors,
)
from etudes.tools.text_to_text import Decoder, EncoderDecoder, own_words
from etudes.train import descend, scheduled

CLASSES = ("negative", "neutral", "positive")
TEXTS = [f"{what} {how} by {n} per cent" for what in ("sales", "costs") for how in ("rose", "fell") for n in range(3)]
METHODS = {spec.variant: spec.config for spec in STUDY.plan("laptop", seeds=1)}


def a_run(folder, variant="a", seed=0):
    spec = Spec("sketch", "smoke", variant, seed, {}, "fp32")
    (folder / spec.key).mkdir(parents=True, exist_ok=True)
    return Run(spec, folder / spec.key)


def small_t5(width=16):
    torch.manual_seed(0)
    words = own_words(bpe(TEXTS, 300))
    return EncoderDecoder(T5(words.size, width, 2, 2, 8, 24), words)


def test_an_answer_names_a_class_whole_or_none():
    answers = ["positive", " Neutral ", "positively", "", "positive negative", "NEGATIVE"]
    assert read_answers(answers, CLASSES) == [2, 1, OUTSIDE, OUTSIDE, OUTSIDE, 0]


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_sklearns_with_answers_outside_as_errors(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    torch.manual_seed(seed)
    labels, found = torch.randint(0, 3, (50,)).tolist(), torch.randint(-1, 3, (50,)).tolist()
    scores = answer_scores(found, labels, 3)
    expected = metrics.f1_score(labels, found, labels=[0, 1, 2], average="macro", zero_division=0)
    assert scores["macro-f1"] == pytest.approx(expected)
    assert scores["error"] == pytest.approx(1 - metrics.accuracy_score(labels, found))
    assert scores["outside"] == found.count(-1) / 50


def test_always_neutral_has_a_third_of_its_own_f1():
    scores = answer_scores([1] * 10, [1] * 6 + [0] * 2 + [2] * 2, 3)
    assert scores == {"error": 0.4, "macro-f1": pytest.approx(2 * 6 / 16 / 3), "outside": 0.0}


@pytest.mark.parametrize(
    ("changes", "matrices"),
    [
        ({}, 4 + 8),
        ({"half": "encoder"}, 4),
        ({"half": "decoder"}, 8),
        ({"matrices": "all"}, 2 * 7 + 2 * 11),
    ],
)
def test_lora_changes_the_matrices_that_it_says(changes, matrices):
    model = small_t5().network
    names = adapt_linear(model, 1, where=lambda name: is_changed(name, Config(**changes)))
    assert len(names) == matrices
    assert not any("head" in name for name in names)


def test_of_a_llama_it_changes_queries_and_values():
    pytest.importorskip("transformers")
    theirs = to_transformers(Llama(30, 16, 2, 2, 1, 24, 64))
    names = adapt_linear(theirs, 1, where=lambda name: is_changed(name, Config()))
    assert sorted(names) == [f"model.layers.{i}.self_attn.{kind}_proj" for i in range(2) for kind in "qv"]


@pytest.mark.parametrize("variant", ["full", "lora", "lora-all"])
def test_what_is_trained_is_what_its_file_holds(variant, tmp_path):
    from safetensors.torch import load_file

    model = small_t5()
    cfg, run = Config(**METHODS[variant]), a_run(tmp_path)
    opt = choose_trained(cfg, run, model)
    trained = sum(p.numel() for group in opt.param_groups for p in group["params"])
    questions = [model.question("{}", text, 9) for text in TEXTS]
    answers = [model.answer(CLASSES[i % 3]) for i in range(len(TEXTS))]
    measure_size(run, model, lambda of: of.loss(questions, answers))
    found = load_file(run.path("trained.safetensors"))
    assert sum(tensor.numel() for tensor in found.values()) == trained
    whole = sum(p.numel() for p in model.parameters())
    assert (trained == whole) == (variant == "full")
    other = small_t5()
    choose_trained(cfg, a_run(tmp_path, "b"), other)
    for p in (p for p in other.parameters() if p.requires_grad):
        torch.nn.init.zeros_(p)
    other.load_state_dict(found, strict=False)
    assert torch.equal(model.loss(questions, answers), other.loss(questions, answers))


def test_memory_saved_is_gradients_and_moments(tmp_path):
    found, trained = {}, {}
    for method in ("full", "lora"):
        model, run = small_t5(), a_run(tmp_path, method)
        choose_trained(Config(method=method), run, model)
        questions, answers = [model.question("{}", text, 9) for text in TEXTS], [model.answer("neutral")] * len(TEXTS)
        measure_size(run, model, lambda of, q=questions, a=answers: of.loss(q, a))
        found[method] = run.metrics
        trained[method] = sum(tensor.numel() for tensor in trained_tensors(model).values())
        # Three numbers of four bytes for each that is trained: the gradient and two moments.
        assert found[method]["train/megabytes-state"] == pytest.approx(12e-6 * trained[method])
    assert found["full"]["train/trained-share"] == 1
    assert trained["lora"] < 0.5 * trained["full"]
    assert found["lora"]["train/megabytes-activations"] > 0.5 * found["full"]["train/megabytes-activations"]


def test_merging_changes_no_answer(tmp_path):
    model, run = small_t5().eval(), a_run(tmp_path)
    choose_trained(Config(), run, model)
    for layer in model.modules():
        if isinstance(layer, LowRankLinear):
            torch.nn.init.normal_(layer.b, std=0.3)
    before = copy.deepcopy(model)
    questions = [model.question("{}", text, 9) for text in TEXTS]
    written = []
    measure_merged(run, model, lambda of: (written.append(of.write(questions, 4)), written[-1])[1])
    assert written[0] == written[1]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))


class InOrder(torch.utils.data.Dataset):
    def __init__(self, questions, answers):
        self.questions, self.answers = questions, answers

    def __len__(self):
        return len(self.questions)

    def __getitem__(self, i):
        return {"question": self.questions[i], "answer": self.answers[i]}


def collate(parts):
    texts, answers = rows([part["question"] for part in parts]), rows([part["answer"] for part in parts])
    labels = answers.masked_fill(answers == PAD, -100)
    return {"input_ids": texts, "attention_mask": (texts != PAD).long(), "labels": labels}


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_trainer_of_transformers_with_peft_gives_our_numbers(method, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    ours, cfg = small_t5(), Config(method=method, full_lr=1e-2, lora_lr=1e-2, steps=6, batch=4, schedule="linear")
    theirs = to_transformers(ours.network).train()
    opt = choose_trained(cfg, a_run(tmp_path), ours)
    if method == "lora":
        peft = pytest.importorskip("peft")
        how = peft.LoraConfig(r=cfg.rank, lora_alpha=cfg.alpha, lora_dropout=0.0, target_modules=["q", "v"])
        theirs = peft.get_peft_model(theirs, how)
        layers = dict(ours.network.named_modules())
        for name, layer in theirs.named_modules():
            if hasattr(layer, "lora_A") and "default" in layer.lora_A:
                layer.lora_A.default.weight.data.copy_(layers[_our_name(name)].a)
    questions = [ours.question("mood: {}", TEXTS[i % 12], 12) for i in range(24)]
    answers = [ours.answer(CLASSES[i % 3]) for i in range(24)]

    class Trainer(transformers.Trainer):
        def _get_train_sampler(self, *_):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    how = transformers.TrainingArguments(
        output_dir=str(tmp_path / "trainer"), max_steps=6, per_device_train_batch_size=4, learning_rate=1e-2,
        lr_scheduler_type="linear", weight_decay=0.0, max_grad_norm=1.0, logging_steps=1, save_strategy="no",
        report_to=[], use_cpu=True, remove_unused_columns=False, disable_tqdm=True, optim="adamw_torch",
    )  # fmt: skip
    trainer = Trainer(theirs, how, data_collator=collate, train_dataset=InOrder(questions, answers))
    trainer.train()
    wanted = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    schedule, found = scheduled(opt, cfg), []
    for i in range(6):
        batch = slice(4 * i, 4 * i + 4)
        found.append(descend(ours.loss(questions[batch], answers[batch]), opt, schedule, 1.0).item())
    assert found == pytest.approx(wanted, abs=2e-3)
    assert found[-1] < found[0] - 0.3


def _our_name(name):
    """Ours of an adapted layer in peft's T5, such as decoder.block.0.layer.1.EncDecAttention.q."""
    half, _, block, _, _, attention, kind = name.removeprefix("base_model.model.").split(".")
    return f"{half}.blocks.{block}.{'own' if attention == 'SelfAttention' else 'other'}.{kind}"


def test_smollm2_is_trained_by_the_same_code(tmp_path):
    pytest.importorskip("transformers")
    words = own_words(bpe(TEXTS, 300))
    model = Decoder(to_transformers(Llama(words.size, 16, 2, 2, 1, 24, 64)), words)
    opt = choose_trained(Config(lora_lr=1e-2), a_run(tmp_path), model)
    assert sum(p.numel() for group in opt.param_groups for p in group["params"]) == 2 * (8 * 32 + 8 * 24)
    questions = [model.question("{} mood:", text, 9) for text in TEXTS[:4]]
    losses = []
    for _ in range(5):
        loss = model.loss(questions, [model.answer("neutral")] * 4)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_what_is_lost_is_compared_with_what_is_lost_elsewhere():
    errors = {"a": 0.3, "b": 0.2, "c": 0.5, "d": 0.1}
    trial = {name: {"test/error": value} for name, value in errors.items()}
    assert gap_less(("a", "b"), ("c", "d"))(trial) == pytest.approx((0.3 - 0.2) - (0.5 - 0.1))


def test_few_sentences_are_asked_from_all_over_their_order():
    found = tuple(Sentence(str(i), 0, 100) for i in range(10))
    assert spread(found, 0) == found
    assert [s.text for s in spread(found, 3)] == ["0", "3", "6"]
    assert spread(found, 99) == found


@pytest.mark.parametrize("variant", ["lora", "lora-all", "lora-decoder", "lora-rank-1"])
def test_at_the_size_of_the_laptop_less_than_two_per_cent_is_trained(variant):
    cfg = Config(**METHODS[variant])
    model = T5(4113, cfg.width, cfg.depth, cfg.width // cfg.head, cfg.head, 2 * cfg.width)
    whole = sum(p.numel() for p in model.parameters())
    adapt_linear(model, cfg.rank, cfg.alpha, lambda name: is_changed(name, cfg))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained < 0.02 * whole
    lora = 4 * 8 * 3 * 2 * cfg.width
    if variant != "lora-rank-1":
        assert trained == pytest.approx(lora, rel=0.15)


def test_a_smoke_run_tells_sizes_and_errors(tmp_path):
    (spec,) = STUDY.plan("smoke", variants=("lora",), seeds=1)
    assert execute(STUDY, spec, tmp_path) == "done"
    found = record.read(tmp_path / spec.key).metrics
    assert found["test/error"] >= 0
    assert found["train/trained-share"] < 1
    assert 0 <= found["validation/changed-by-merging"] <= 1
    assert {*STUDY.words} <= {*found}
