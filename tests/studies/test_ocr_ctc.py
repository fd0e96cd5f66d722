import itertools
import math

import numpy
import pytest
import torch

from etudes.core.errors import Problem
from etudes.data.images import images
from etudes.data.lines import digit_strings
from etudes.generate.ctc import collapse
from etudes.measure.ngrams import ngrams
from etudes.measure.size import count_parameters
from etudes.studies.generative.ocr_ctc import FONTS, STUDY, UNSEEN, drawn_texts, is_plain
from etudes.studies.generative.ocr_ctc.findings import blank_share, frame_logits, ink, read_lines
from etudes.studies.generative.ocr_ctc.language import Letters
from etudes.studies.generative.ocr_ctc.reader import STRIDE, Reader, classes_of, ctc_loss, positions


def reader(**more):
    torch.manual_seed(0)
    return Reader(16, 5, 2, **more).eval()


def test_the_loss_is_the_sum_over_all_paths():
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    frames, targets = torch.tensor([4, 3]), [torch.tensor([1, 1]), torch.tensor([2])]
    losses = []
    for each, n, target in zip(logits.double(), frames, targets, strict=True):
        odds = each[:n].softmax(-1)
        paths = (p for p in itertools.product(range(3), repeat=int(n)) if collapse(p) == target.tolist())
        total = sum(math.prod(odds[t, c].item() for t, c in enumerate(path)) for path in paths)
        losses.append(-math.log(total) / len(target))
    assert ctc_loss(logits, frames, targets).item() == pytest.approx(numpy.mean(losses), rel=1e-5)


@pytest.mark.parametrize("encoder", ["none", "lstm", "transformer"])
@pytest.mark.parametrize("fold", ["stack", "max"])
def test_white_paper_to_the_right_changes_nothing(encoder, fold):
    model = reader(encoder=encoder, fold=fold)
    line = torch.rand(1, 1, 16, 37, generator=torch.Generator().manual_seed(1))
    longer = torch.nn.functional.pad(line, (0, 30))
    short, frames = model(line, torch.tensor([37]))
    long, same = model(longer, torch.tensor([37]))
    assert frames.tolist() == same.tolist() == [math.ceil(37 / STRIDE)]
    assert torch.allclose(short[0, : frames[0]], long[0, : frames[0]], atol=1e-5)


def test_without_an_encoder_a_frame_sees_its_surroundings_alone():
    line = torch.rand(1, 1, 16, 120, generator=torch.Generator().manual_seed(1))
    changed = line.clone()
    changed[..., 100:] = 0
    width = torch.tensor([120])
    apart = {}
    for encoder in ("none", "lstm", "transformer"):
        model = reader(encoder=encoder)
        apart[encoder] = (model(line, width)[0] - model(changed, width)[0])[0, :10].abs().max().item()
    assert apart["none"] == 0
    assert min(apart["lstm"], apart["transformer"]) > 0


def test_height_is_folded_into_channels():
    model = Reader(40, 10, 4)
    assert model.into.in_features == 16 * 5  # C' = C H'
    assert Reader(40, 10, 4, fold="max").into.in_features == 16
    with pytest.raises(Problem, match="halved three times"):
        Reader(20, 10, 4)


def test_the_shortcut_is_another_way_around_the_encoder():
    model = reader(shortcut=True)
    features, frames = model.features(torch.rand(1, 1, 16, 32), torch.tensor([32]))
    assert model.shortcut(features).shape == model.read(features, frames).shape
    assert reader().shortcut(features) is None
    assert count_parameters(reader(shortcut=True)) - count_parameters(reader()) == 3 * 16 * 5 + 5


def test_positions_are_those_of_the_paper():
    for place, i in itertools.product((0, 3), range(4)):
        angle = place / 10_000 ** (2 * i / 8)
        assert positions(4, 8)[place, 2 * i : 2 * i + 2].tolist() == pytest.approx([math.sin(angle), math.cos(angle)])


def test_letters_become_classes_above_the_blank():
    assert [each.tolist() for each in classes_of(["ba", "c?"], "abc")] == [[2, 1], [3]]


def test_the_model_of_letters_is_the_n_gram_model_of_the_library():
    chance = numpy.random.default_rng(0)
    train, test = chance.integers(1, 4, 60), chance.integers(1, 4, 20)
    language = Letters([train.tolist()], 4, order=3)
    known = ngrams(numpy.concatenate([[0], train]), numpy.concatenate([[0], test]), 4, 3)[-1]
    found = [language.probability(tuple(test[:i].tolist()), int(test[i])) for i in range(len(test))]
    assert found[1:] == pytest.approx(known[1:].tolist())  # the first one has no context of two
    assert sum(language.probability((1, 2), c) for c in range(4)) == pytest.approx(1)


def test_a_reader_learns_to_read_a_few_strings():
    lines = digit_strings(images("digits"), "train", 16, 16, numpy.random.default_rng(0), most=3)
    letters = lines.letters
    torch.manual_seed(0)
    model = Reader(16, len(letters) + 1, 8, "none")
    opt, targets, rows = torch.optim.Adam(model.parameters(), 1e-2), classes_of(lines.texts, letters), torch.arange(16)
    for _ in range(60):
        opt.zero_grad()
        logits, frames = model(ink(lines, rows), lines.widths)
        ctc_loss(logits, frames, targets).backward()
        opt.step()
    logits = frame_logits(model, lines)
    assert sum(a == b for a, b in zip(read_lines(logits, letters), lines.texts, strict=True)) >= 12
    assert 0 < blank_share(logits) < 1


def test_texts_are_whole_words_of_the_sentences():
    sentences = ["le chat dort", "un tres long mot"]
    for text in drawn_texts(numpy.random.default_rng(0), sentences, 50, most=9):
        assert 2 <= len(text) <= 9
        assert any(f" {text} " in f" {sentence} " for sentence in sentences)
    assert is_plain("Oui, 12!")
    assert not is_plain("été")


def test_no_font_is_both_learnt_from_and_tested_on():
    assert not {*FONTS} & {*UNSEEN}
    assert STUDY.configs["paper"]["lstm"]["dataset"] == "iam"
