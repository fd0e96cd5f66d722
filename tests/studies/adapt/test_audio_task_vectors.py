import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.studies.adapt.audio_task_vectors import STUDY, Config, summary
from etudes.studies.adapt.audio_task_vectors.aims import change
from etudes.studies.adapt.audio_task_vectors.examples import (
    CLASSES,
    KINDS,
    TASKS,
    Examples,
    hear,
    in_noise,
    make_features,
    read_examples,
)
from etudes.studies.adapt.audio_task_vectors.findings import accuracies, by_recording, control, digits, right
from etudes.studies.adapt.audio_task_vectors.idea import (
    add,
    analogy,
    best_scaling,
    largest_scaling,
    negate,
    trimmed_sum,
)
from etudes.studies.adapt.audio_task_vectors.networks import Ear, Listener, VoiceEncoder, of_task, pretrained_encoder
from etudes.studies.adapt.audio_task_vectors.operations import OPERATIONS
from etudes.studies.adapt.audio_task_vectors.training import LESSONS, lesson_examples
from etudes.train.arithmetic import minus, norm, random_like, state


def weights(seed: int, n: int = 7) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {"a": torch.randn(n, 3, generator=rng), "b": torch.randn(n, generator=rng)}


def test_arithmetic_is_that_of_a_loop() -> None:
    base, one, two = weights(0), weights(1), weights(2)
    for name in base:
        assert torch.allclose(add(base, [one, two], 0.4)[name], base[name] + 0.4 * one[name] + 0.4 * two[name])
        assert torch.allclose(negate(base, one, 0.7)[name], base[name] - 0.7 * one[name])
        assert torch.allclose(analogy(base, two, one, 0.5)[name], base[name] + 0.5 * (two[name] - one[name]))
    assert add(base, [], 1.0)["b"].equal(base["b"])
    with pytest.raises(Problem, match="only one of the two has b"):
        add(base, [{"a": one["a"]}], 1.0)


def test_an_analogy_of_like_changes_gives_the_fourth() -> None:
    base, clean, voice = weights(0), weights(1), weights(2)
    noisy = add(clean, [weights(3)], 1.0)
    wanted = add(voice, [weights(3)], 1.0)
    found = analogy(voice, noisy, clean, 1.0)
    assert all(torch.allclose(found[name], wanted[name], atol=1e-6) for name in base)


def test_trimming_is_that_of_a_loop() -> None:
    vectors = [weights(seed, 5) for seed in range(3)]
    share = 0.4
    flat = [[x for name in v for x in v[name].flatten().tolist()] for v in vectors]
    kept = round(share * len(flat[0]))
    trimmed = []
    for v in flat:
        largest = sorted(range(len(v)), key=lambda i: -abs(v[i]))[:kept]
        trimmed.append([x if i in largest else 0.0 for i, x in enumerate(v)])
    wanted = []
    for column in zip(*trimmed, strict=True):
        sign = 1 if sum(column) > 0 else -1
        agreeing = [x for x in column if x * sign > 0]
        wanted.append(sum(agreeing) / len(agreeing) if agreeing else 0.0)
    found = trimmed_sum(vectors, share)
    assert torch.allclose(torch.cat([found[name].flatten() for name in found]), torch.tensor(wanted), atol=1e-6)
    assert found["a"].shape == vectors[0]["a"].shape


def test_coefficients_are_chosen_on_what_is_given() -> None:
    assert best_scaling((0.2, 0.4, 0.8), lambda c: -((c - 0.5) ** 2)) == 0.4
    assert best_scaling((0.8, 0.4), lambda c: 1.0) == 0.4
    assert largest_scaling((0.2, 0.4, 0.8), lambda c: 1 - 0.1 * c, 0.95) == 0.4
    assert largest_scaling((0.2, 0.4), lambda c: 1.0 if c == 0 else 0.5, 0.95) == 0.2
    with pytest.raises(Problem, match="no coefficient to choose from"):
        best_scaling((), float)


# Networks


def test_tasks_have_directions_of_their_own() -> None:
    torch.manual_seed(0)
    net = Listener(nn.Identity(), 64, 1.0, torch.zeros(()), torch.ones(()))
    assert torch.allclose(net.heads @ net.heads.T, torch.eye(sum(CLASSES.values())), atol=1e-5)
    logits = torch.arange(sum(CLASSES.values())).float()[None]
    parts = [of_task(logits, task) for task in TASKS]
    assert torch.cat(parts, 1).equal(logits)
    assert [part.shape[1] for part in parts] == [CLASSES[task] for task in TASKS]


def test_the_output_layer_is_in_no_vector() -> None:
    net = Listener(Ear(4), 64, 1.0, torch.zeros(()), torch.ones(()))
    assert net(torch.zeros(2, 1, 40, 65)).shape == (2, sum(CLASSES.values()))
    assert not any("head" in name for name in state(net.body))
    assert not any("mean" in name or "var" in name for name in net.body.state_dict())  # no statistics of batches


def test_a_random_vector_is_as_long_in_every_tensor() -> None:
    net = Ear(4)
    before = state(net)
    vector = minus({name: x + 0.1 for name, x in before.items()}, before)
    other = random_like(vector, torch.Generator().manual_seed(0))
    assert norm(other) == pytest.approx(norm(vector), rel=1e-4)
    for name in vector:
        assert other[name].norm().item() == pytest.approx(vector[name].norm().item(), rel=1e-4)


def test_the_pretrained_encoder_is_resemblyzer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from etudes.studies.adapt.audio_task_vectors import networks

    torch.manual_seed(0)
    own = VoiceEncoder()
    kept = own.state_dict() | {"similarity_weight": torch.ones(1), "similarity_bias": torch.ones(1)}
    torch.save({"step": 1, "model_state": kept, "optimizer_state": {}}, tmp_path / "pretrained.pt")  # as in the package
    monkeypatch.setattr(networks, "fetch", lambda carrier, folder: tmp_path / "pretrained.pt")
    encoder = pretrained_encoder()
    x = torch.rand(3, 1, 40, 101)
    lstm = nn.LSTM(40, 256, 3, batch_first=True)
    lstm.load_state_dict(encoder.lstm.state_dict())
    raw = torch.relu(encoder.linear(lstm(x[:, 0].transpose(1, 2))[1][0][-1]))
    assert torch.allclose(encoder(x), raw / raw.norm(dim=1, keepdim=True), atol=1e-6)
    assert encoder(x).equal(own(x))


def test_the_encoder_hears_what_its_authors_fed_it() -> None:
    librosa = pytest.importorskip("librosa")
    x = 0.01 * torch.from_numpy(np.random.default_rng(0).standard_normal((1, 8000)).astype(np.float32))
    from etudes.data.audio import resample

    loud = x * 10**-1.5 / x.square().mean().sqrt()
    fast = resample(loud.numpy(), 8000, 16000)[0]
    theirs = librosa.feature.melspectrogram(y=fast, sr=16000, n_fft=400, hop_length=160, n_mels=40, pad_mode="constant")
    ours = hear(x, "resemblyzer")[0, 0].float().numpy()
    assert ours.shape == theirs.shape == (40, 101)
    assert np.allclose(ours, theirs, rtol=2e-3, atol=1e-4)


# Examples


class Draws:
    """A run's randomness."""

    def __init__(self, seed: int) -> None:
        self.number = seed

    def rng(self, stream: str, *index: int) -> np.random.Generator:
        return np.random.default_rng(self.number)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("features")
    found, sources = make_features("drawn-words", "drawn-noises", 100, 0.0, "small")
    assert [source["dataset"] for source in sources] == ["drawn-words", "drawn-noises"]
    save_file({name: x.contiguous() for name, x in found.items()}, folder / "features.safetensors")
    return folder


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_take_speaker_or_fold_is_in_two_parts(folder: Path, seed: int) -> None:
    d = read_examples(folder, Draws(seed))
    voices, speakers = d.rows["digits"], d.y["speakers"]
    parts = ("train", "validation", "test")
    for rows in (voices, d.rows["sounds"], d.rows["notes"]):
        each = [{*rows[part].tolist()} for part in parts]
        assert sum(map(len, each)) == len(set.union(*each))
        assert all(each)
    assert {*speakers[voices["new"]].tolist()} == {5}
    for part in parts:
        assert {*speakers[voices[part]].tolist()} == {0, 1, 2, 3, 4}
        assert {*speakers[voices[f"{part}-first"]].tolist()} == {0, 1}
        assert {*speakers[voices[f"{part}-second"]].tolist()} == {2, 3, 4}
    heard = d.subset("digits", 0.1, np.random.default_rng(0))
    assert {*speakers[heard].tolist()} == {0, 1}
    assert len(heard) == round(0.1 * len(voices["train"]))
    assert {*heard.tolist()} <= {*voices["train"].tolist()}
    clips = d.clips
    train, test = ({*clips[d.rows["sounds"][part]].tolist()} for part in ("train", "test"))
    assert not train & test
    assert d.x["noisy"].shape == d.x["digits"].shape == (720, 1, 40, 65)


def test_noise_is_as_loud_as_it_says() -> None:
    rng = np.random.default_rng(0)
    x = torch.zeros(3, 8000)
    lengths = torch.tensor([8000, 4000, 2000])
    for row, length in zip(x, lengths.tolist(), strict=True):
        row[:length] = torch.sin(torch.arange(length) * 0.3)
    hiss = in_noise(x, lengths, 6.0, rng) - x
    for i, length in enumerate(lengths.tolist()):
        ratio = x[i, :length].square().mean() / hiss[i].square().mean()
        assert 10 * torch.log10(ratio).item() == pytest.approx(6, abs=0.3)


def test_lessons_show_what_they_are_called(folder: Path) -> None:
    d = read_examples(folder, Draws(0))
    x, y = lesson_examples(d, LESSONS["high"])
    assert y.min() == 5
    assert len(x) == len(y)
    x, y = lesson_examples(d, LESSONS["noisy-first"])
    assert x.equal(d.x["noisy"][d.rows["noisy"]["train-first"]].float())
    assert LESSONS["ascent"].up
    assert {*LESSONS} > {*TASKS}


class Knowing(nn.Module):
    """A network that hears the row's number, and knows the classes of some tasks."""

    def __init__(self, d: Examples, known: tuple[str, ...]) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))
        self.d, self.known = d, known

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(x), sum(CLASSES.values()))
        begin = 0
        for task in TASKS:
            if task in self.known:
                rows = x[:, 0, 0, 0].long() % len(self.d.y[task])
                logits[torch.arange(len(x)), begin + self.d.y[task][rows]] = 5.0
            begin += CLASSES[task]
        return logits


def test_accuracies_of_a_network_that_knows_some_tasks(folder: Path) -> None:
    d = read_examples(folder, Draws(0))
    numbered = {kind: torch.arange(len(x)).float()[:, None, None, None] for kind, x in d.x.items()}
    d = Examples(numbered, d.y, d.rows, d.clips)
    found = accuracies(Knowing(d, ("digits", "sounds", "onset")), d, "test")
    for task in ("digits", "sounds", "onset", "high", "low", "among"):
        assert found[task] == 1
    for task in ("speakers", "pitch", "family"):
        assert found[task] < 0.5
    assert control(found) == pytest.approx(
        np.mean([found[task] for task in ("low", "speakers", "sounds", "pitch", "family", "onset")])
    )
    assert digits(Knowing(d, ("digits",)), d, "noisy", "test-second") == 1
    assert {*accuracies(Knowing(d, ()), d, "test", ["pitch"])} == {"pitch"}


def test_windows_of_a_recording_are_heard_together() -> None:
    scores = torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 0.0]])
    total, y = by_recording(scores, torch.tensor([1, 1, 0]), torch.tensor([7, 7, 9]))
    assert y.tolist() == [1, 0]
    assert total.argmax(1).tolist() == [1, 0]
    assert total[0].tolist() == pytest.approx((scores[0].log_softmax(0) + scores[1].log_softmax(0)).tolist())
    assert right(scores, torch.tensor([0, 1, 1])) == pytest.approx(2 / 3)


# The study


def test_every_variant_has_its_operation() -> None:
    named = {variant.changes["operation"] for variant in STUDY.variants}
    assert named == {*OPERATIONS, "single"}
    assert all(variant.name == variant.changes["operation"] for variant in STUDY.variants)
    assert {*KINDS} == {*CLASSES}


def test_shares_of_what_each_knows_alone() -> None:
    own = {"digits": 0.8, "sounds": 0.5, "pitch": 1.0, "family": 1.0}
    found = summary({"digits": 0.4, "sounds": 0.5, "pitch": 0.5, "family": 0.25}, own)
    assert found["test/kept"] == pytest.approx((0.5 + 1 + 0.5 + 0.25) / 4)
    assert found["test/kept-least"] == pytest.approx(0.25)
    assert found["test/notes"] == pytest.approx(0.375)
    assert summary(own, own)["test/kept"] == 1


def test_coefficients_are_the_same_for_all_and_the_test_is_read_last() -> None:
    scales = {name: STUDY.scales[name].changes for name in ("laptop", "paper")}
    assert not any("scalings" in changes for changes in scales.values())
    assert min(Config().scalings) > 0
    source = Path(sys.modules["etudes.studies.adapt.audio_task_vectors.operations"].__file__).read_text()
    assert '"test"' not in source  # what chooses coefficients knows no test part
    assert catalogue.find("audio-task-vectors") is STUDY


def test_a_change_is_from_where_the_arithmetic_starts() -> None:
    class Pretending:
        """A bench whose weights are their own accuracies."""

        def base(self) -> float:
            return 0.5

        def tuned_weights(self, name: str) -> float:
            return {"clean-second": 0.25}[name]

        def scores(self, weights_: float, part: str, tasks: list[str]) -> dict[str, float]:
            return dict.fromkeys([*tasks, "high"], weights_)

        def digits(self, weights_: float, kind: str, part: str) -> float:
            assert (kind, part) == ("noisy", "test-second")
            return weights_ / 2

    bench = Pretending()
    assert change(bench, "sum", 0.75) == pytest.approx(0.25)
    assert change(bench, "negated", 0.1) == pytest.approx(-0.4)
    assert change(bench, "analogy", 0.75) == pytest.approx((0.75 - 0.25) / 2)
    assert change(bench, "analogy-base", 0.75) == pytest.approx((0.75 - 0.5) / 2)
    assert change(bench, "base", 0.5) == 0
