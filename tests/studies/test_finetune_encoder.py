import math

import numpy as np
import pytest
import torch

from etudes.core import record
from etudes.core.run import Run, execute
from etudes.core.spec import Spec
from etudes.data.sentences import Sentence
from etudes.nn.bert import Bert, from_checkpoint
from etudes.nn.lora import adapt_linear
from etudes.optim.schedules import SCHEDULES
from etudes.studies.adapt.finetune_encoder import STUDY
from etudes.studies.adapt.finetune_encoder.claims import gain_less
from etudes.studies.adapt.finetune_encoder.findings import (
    class_scores,
    count_words,
    majority,
    read_all,
    read_classes,
    shared_vectors,
    spread,
    standardise,
)
from etudes.studies.adapt.finetune_encoder.tuning import Classifier, choose_trained, layer_rates
from etudes.tools.encoders import HubEncoder, OwnEncoder, draw_first_weights, layer_parameters
from etudes.train import descend

TEXTS = [f"{what} {how} by {n} per cent" for what in ("sales", "costs") for how in ("rose", "fell") for n in range(3)]


def a_run(folder, variant="a", seed=0):
    spec = Spec("sketch", "smoke", variant, seed, {}, "fp32")
    (folder / spec.key).mkdir(parents=True, exist_ok=True)
    return Run(spec, folder / spec.key)


def some(labels, agreements=(100,)):
    return [Sentence(str(i), label, agreements[i % len(agreements)]) for i, label in enumerate(labels)]


def classifier(depth=3):
    torch.manual_seed(0)
    network = draw_first_weights(Bert(50, 16, depth, 2, 24, 32))
    return Classifier(OwnEncoder(network, lambda text: [ord(letter) % 50 for letter in text]), 3)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_sklearns(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    labels, found = rng.integers(0, 3, 60), rng.integers(0, 3 - (seed == 2), 60)
    scores = class_scores(found, some(labels.tolist()), 3)
    assert scores["macro-f1"] == pytest.approx(metrics.f1_score(labels, found, average="macro", zero_division=0))
    assert scores["error"] == pytest.approx(1 - metrics.accuracy_score(labels, found))
    assert scores["error-agreed"] == scores["error"]
    assert "error-disputed" not in scores


def test_errors_are_told_apart_by_agreement():
    scores = class_scores(np.array([0, 0, 0, 0]), some([0, 1, 0, 0], (100, 50)), 2)
    assert (scores["error-agreed"], scores["error-disputed"], scores["error"]) == (0.0, 0.5, 0.25)


def test_the_commonest_class_is_named():
    assert majority(some([2, 1, 1, 0]), some([0, 0])).tolist() == [1, 1]


def test_sentences_are_asked_from_all_over_their_order():
    found = some([0] * 10)
    assert spread(found, 0) == spread(found, 10) == spread(found, 99) == tuple(found)
    assert [s.text for s in spread(found, 4)] == ["0", "2", "5", "7"]


def test_counts_of_words_are_their_formula():
    texts, asked = ["sales rose rose", "sales fell"], ["rose rose fell loss"]
    x, y = count_words(texts, asked)
    # Words and pairs: fell, rose, rose rose, sales, sales fell, sales rose; log((1 + n) / (1 + with it)) + 1.
    rare, common = math.log(3 / 2) + 1, math.log(3 / 3) + 1
    first = np.array([0, (1 + math.log(2)) * rare, rare, common, 0, rare])
    np.testing.assert_allclose(x.toarray()[0], first / np.linalg.norm(first))
    other = np.array([rare, (1 + math.log(2)) * rare, rare, 0, 0, 0])
    np.testing.assert_allclose(y.toarray()[0], other / np.linalg.norm(other))


def test_features_are_standardised_by_what_was_learnt_from():
    learnt, asked = standardise(np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[5.0, 7.0]]))
    assert learnt.tolist() == [[-1, 0], [1, 0]]
    assert asked.tolist() == [[3, 0]]


def test_a_probe_is_where_its_gradient_is_nought():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(90, 4)), np.arange(90) % 3
    x[:, 0] += labels
    found = read_classes(x, labels.tolist(), x, 2.0)
    w = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    b = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    opt = torch.optim.LBFGS([w, b], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss():
        opt.zero_grad()
        logits = torch.from_numpy(x) @ w.T + b
        total = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels), reduction="sum") + (w**2).sum()
        total.backward()
        return total

    opt.step(loss)
    assert found.tolist() == (torch.from_numpy(x) @ w.T + b).argmax(1).tolist()


def test_lower_layers_are_slower():
    assert layer_rates(3, 8.0, 0.5) == [2.0, 4.0, 8.0]
    opt = choose_trained(classifier(), "all", 1e-3, 5e-3, 0.5)
    assert [group["lr"] for group in opt.param_groups] == [1e-3 / 8, 1e-3 / 4, 1e-3 / 2, 1e-3, 5e-3]


@pytest.mark.parametrize("trained", ["all", "but-words", "last-two", "head"])
def test_what_is_frozen_stays(trained):
    model = classifier()
    opt = choose_trained(model, trained, 1e-2, 1e-2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    schedule = torch.optim.lr_scheduler.LambdaLR(opt, lambda step: 1.0)
    loss = torch.nn.functional.cross_entropy(model([[1, 2, 3], [4, 5]]), torch.tensor([0, 2]))
    descend(loss, opt, schedule)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    head = {"head.weight", "head.bias"}
    last = {name for name in before if ".blocks.1." in name or ".blocks.2." in name}
    words = {"encoder.network.words.weight"}
    assert moved == {"all": {*before}, "but-words": {*before} - words, "last-two": last | head, "head": head}[trained]


def test_texts_are_read_in_any_order():
    model = classifier()
    found = read_all(model, model.encoder, TEXTS, 8)
    np.testing.assert_allclose(found[::-1], read_all(model, model.encoder, TEXTS[::-1], 8), atol=1e-6)
    assert found.shape == (12, 3)


def test_vectors_that_stay_are_computed_once_for_all_seeds(tmp_path):
    made = []

    def make(run):
        made.append(run.spec.seed)
        return classifier().encoder

    several = [shared_vectors(a_run(tmp_path, "a", seed), {"encoder": "x"}, make, TEXTS, 8) for seed in (1, 2)]
    assert made == [0]
    assert all(np.array_equal(several[0][text], several[1][text]) for text in TEXTS)
    other = shared_vectors(a_run(tmp_path, "a", 1), {"encoder": "y"}, make, TEXTS, 8)
    assert made == [0, 0]
    np.testing.assert_allclose(other[TEXTS[3]], read_all(c := classifier().encoder, c, TEXTS[3:4], 8)[0], atol=1e-6)


def their_bert(transformers):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.2,
    )  # fmt: skip
    return transformers.BertModel(config, add_pooling_layer=False)


class Theirs(torch.nn.Module):
    """What a user of the transformers library writes: BertModel, the mean over the mask, a linear layer."""

    def __init__(self, bert, head):
        super().__init__()
        self.bert, self.head = bert, head

    def forward(self, input_ids, attention_mask, labels):
        vectors = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None]
        logits = self.head((vectors * mask).sum(1) / mask.sum(1))
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def trainer_losses(transformers, model, rows, labels, folder):
    class Trainer(transformers.Trainer):
        def _get_train_sampler(self, *_):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    def collate(parts):
        longest = max(len(row) for row, _ in parts)
        return {
            "input_ids": torch.tensor([row + [0] * (longest - len(row)) for row, _ in parts]),
            "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row, _ in parts]),
            "labels": torch.tensor([label for _, label in parts]),
        }

    how = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=8, per_device_train_batch_size=4, learning_rate=1e-2, weight_decay=0.0,
        lr_scheduler_type="linear", max_grad_norm=1.0, logging_steps=1, save_strategy="no", report_to=[], use_cpu=True,
        remove_unused_columns=False, disable_tqdm=True, optim="adamw_torch",
    )  # fmt: skip
    pairs = list(zip(rows, labels, strict=True))
    trainer = Trainer(model, how, data_collator=collate, train_dataset=pairs)
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def our_losses(model, opt, rows, labels):
    schedule = torch.optim.lr_scheduler.LambdaLR(opt, lambda step: SCHEDULES["linear"](step, 8))
    found = []
    for i in range(8):
        batch = slice(4 * i, 4 * i + 4)
        loss = torch.nn.functional.cross_entropy(model(rows[batch]), torch.tensor(labels[batch]))
        found.append(descend(loss, opt, schedule, 1.0).item())
    return found


def task():
    rows = [[3 + i % 4, 10 + i % 3, 20 + i % 7, *range(30, 30 + i % 5)] for i in range(32)]
    return rows, [i % 3 for i in range(32)]


def test_the_trainer_of_transformers_gives_our_numbers(tmp_path):
    """Our loop with our Bert, and theirs with theirs: the same first weights, the same losses."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    theirs = their_bert(transformers)
    copied = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    ours = Classifier(OwnEncoder(from_checkpoint(copied, 2, 1e-12), list), 3)
    head = torch.nn.Linear(16, 3)
    head.load_state_dict(ours.head.state_dict())
    rows, labels = task()
    found = our_losses(ours, choose_trained(ours, "all", 1e-2, 1e-2), rows, labels)
    wanted = trainer_losses(transformers, Theirs(theirs, head), rows, labels, tmp_path)
    assert found == pytest.approx(wanted, abs=2e-3)
    assert min(found) < found[0] - 0.1


def test_the_trainer_with_peft_gives_our_low_rank_numbers(tmp_path):
    """The encoders of the hub take our low-rank changes, which train as peft's do; the head is trained with them."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    peft = pytest.importorskip("peft")
    encoder = HubEncoder(their_bert(transformers), Nobody())
    ours = Classifier(encoder, 3)
    head = torch.nn.Linear(16, 3)
    head.load_state_dict(ours.head.state_dict())
    adapt_linear(encoder, 2, 4.0, lambda name: name.endswith(("query", "value")))
    how = peft.LoraConfig(
        r=2, lora_alpha=4, lora_dropout=0.0, target_modules=["query", "value"], modules_to_save=["head"]
    )
    theirs = peft.get_peft_model(Theirs(their_bert(transformers), head), how)
    layers = dict(encoder.network.named_modules())
    for name, layer in theirs.named_modules():
        if hasattr(layer, "lora_A") and "default" in layer.lora_A:
            layer.lora_A.default.weight.data.copy_(layers[name.partition(".bert.")[2]].a)
    rows, labels = task()
    opt = torch.optim.Adam([p for p in ours.parameters() if p.requires_grad], 1e-2)
    trained = sum(p.numel() for group in opt.param_groups for p in group["params"])
    assert trained == sum(p.numel() for p in theirs.parameters() if p.requires_grad)
    found = our_losses(ours, opt, rows, labels)
    assert found == pytest.approx(trainer_losses(transformers, theirs, rows, labels, tmp_path), abs=2e-3)


class Nobody:
    pad_token_id = 0


def test_minilm_s_last_two_blocks_are_between_a_seventh_and_a_sixth_of_its_numbers():
    with torch.device("meta"):
        model = Classifier(OwnEncoder(Bert(30522, 384, 6, 12, 1536, 512), list), 3)
    choose_trained(model, "last-two", 1e-3, 1e-3)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == 2 * (12 * 384 * 384 + 13 * 384) + 3 * 384 + 3
    assert 6 < sum(p.numel() for p in model.parameters()) / trained < 7
    assert len(layer_parameters(model.encoder)) == 7


def test_the_claims_own_numbers():
    errors = {"a": 0.3, "b": 0.2, "c": 0.5, "d": 0.1}
    trial = {name: {"test/error": value} for name, value in errors.items()}
    assert gain_less(("a", "b"), ("c", "d"))(trial) == pytest.approx((0.3 - 0.2) - (0.5 - 0.1))


@pytest.mark.parametrize("variant", ["full", "counts-few", "multilingual-six"])
def test_a_smoke_run_tells_its_errors(variant, tmp_path):
    (spec,) = STUDY.plan("smoke", variants=(variant,), seeds=1)
    assert execute(STUDY, spec, tmp_path) == "done"
    found = record.read(tmp_path / spec.key).metrics
    assert {"test/error", "test/macro-f1", "test/error-agreed", "test/error-majority", "validation/error"} <= {*found}
    assert ("parameters" in found) == (variant == "full")


def test_too_few_sentences_are_refused(tmp_path):
    import dataclasses

    from etudes.core.errors import Problem

    (spec,) = STUDY.plan("smoke", variants=("counts",), seeds=1)
    spec = dataclasses.replace(spec, config=dict(spec.config) | {"labels": 2})
    with pytest.raises(Problem, match="do not show all classes"):
        execute(STUDY, spec, tmp_path)
