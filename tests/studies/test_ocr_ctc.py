import itertools
import math
from contextlib import closing

import numpy
import pytest
import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.core.run import Run
from etudes.data.fonts import NAMES
from etudes.data.images import images
from etudes.data.lines import digit_strings
from etudes.generate.ctc import collapse
from etudes.measure.edits import character_error_rate
from etudes.measure.ngrams import ngrams
from etudes.measure.size import count_parameters
from etudes.studies.generative.ocr_ctc import STUDY, material
from etudes.studies.generative.ocr_ctc.findings import (
    alignment,
    frame_logits,
    frames_read,
    ink,
    read_lines,
    share_of_blanks,
)
from etudes.studies.generative.ocr_ctc.language import Letters
from etudes.studies.generative.ocr_ctc.reader import (
    Reader,
    Recurrence,
    classes_of,
    ctc_loss,
    frames_of,
    positions,
    slant,
)
from etudes.studies.generative.ocr_ctc.texts import FONTS, UNSEEN, drawn_texts, plain_sentences


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
@pytest.mark.parametrize(("fold", "stride"), [("stack", 4), ("max", 4), ("stack", 2), ("stack", 8)])
def test_white_paper_to_the_right_changes_nothing(encoder, fold, stride):
    model = reader(encoder=encoder, fold=fold, stride=stride)
    line = torch.rand(1, 1, 16, 37, generator=torch.Generator().manual_seed(1))
    longer = torch.nn.functional.pad(line, (0, 30))
    short, frames = model(line, torch.tensor([37]))
    long, same = model(longer, torch.tensor([37]))
    assert frames.tolist() == same.tolist() == [math.ceil(37 / stride)]
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


def test_the_recurrence_is_pytorchs_on_packed_sequences():
    torch.manual_seed(0)
    ours, theirs = Recurrence(6, 1), nn.LSTM(6, 3, batch_first=True, bidirectional=True)
    for way, suffix in ((ours.forwards[0], ""), (ours.backwards[0], "_reverse")):
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            getattr(theirs, name + suffix).data.copy_(getattr(way, name))
    x, frames = torch.randn(3, 7, 6), torch.tensor([7, 2, 5])
    packed = nn.utils.rnn.pack_padded_sequence(x, frames, batch_first=True, enforce_sorted=False)
    expected = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)[0]
    for i, n in enumerate(frames.tolist()):
        assert torch.allclose((ours(x, frames) - x)[i, :n], expected[i, :n], atol=1e-6)


def test_frames_are_those_of_the_network():
    widths = torch.arange(9, 60)
    for stride in (2, 4, 8):
        frames = reader(encoder="none", stride=stride).features(torch.zeros(51, 1, 16, 59), widths)[1]
        assert frames.tolist() == frames_of(widths, stride).tolist()


def test_a_leaning_line_leans_and_an_upright_one_stays():
    ink = torch.zeros(1, 1, 8, 16)
    ink[..., 8] = 1
    assert torch.allclose(slant(ink, torch.zeros(1), torch.ones(1)), ink, atol=1e-6)
    leaning = slant(ink, torch.ones(1), torch.ones(1))[0, 0].argmax(1)
    assert (leaning.diff().abs() == 1).all()  # a pixel across for each pixel up


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
    said = frames_read(logits[0], letters)
    assert len(said) == len(logits[0])
    assert all(0 <= odds <= 1 for _, odds in said)
    sheet = alignment(lines.take([0, 1]), logits[:2], letters)
    assert sheet.width > lines.widths[:2].max()
    assert numpy.asarray(sheet).min() < 50


def test_blanks_are_counted_in_the_frames_that_count():
    logits = torch.zeros(2, 3, 4)
    logits[..., 0] = torch.tensor([[1.0, -1.0, 1.0], [1.0, 1.0, 1.0]])
    assert share_of_blanks(logits, torch.tensor([2, 1])).item() == pytest.approx(2 / 3)


def test_texts_are_whole_words_of_the_sentences():
    sentences = ["le chat dort", "un tres long mot"]
    for text in drawn_texts(numpy.random.default_rng(0), sentences, 50, most=9):
        assert 3 <= len(text) <= 9
        assert any(f" {text} " in f" {sentence} " for sentence in sentences)
    assert plain_sentences(["Oui, 12 !", "Le chat dort.", "Un été.", "Il l'a dit", "Tu dors ?"]) == [
        "le chat dort",
        "tu dors",
    ]


@pytest.mark.parametrize("style", ["print", "hand"])
def test_no_font_is_both_learnt_from_and_tested_on(style):
    assert not {*FONTS[style]} & {*UNSEEN[style]}
    assert {*FONTS[style], *UNSEEN[style]} < {*NAMES}


def test_the_paper_scale_reads_iam():
    assert STUDY.configs["paper"]["lstm"]["dataset"] == "iam"


def test_a_peer_reads_the_letters_of_printed_lines_and_loses_spaces(tmp_path):
    ocr = pytest.importorskip("rapidocr_onnxruntime").RapidOCR()  # PP-OCRv4
    spec = next(spec for spec in STUDY.plan("laptop", examples=20) if spec.variant == "lstm")
    with closing(Run(spec, tmp_path)) as run:
        lines = material(STUDY.config(**spec.config), run).test
    pictures = (lines.x[i, 0, :, : int(lines.widths[i])].numpy() for i in range(len(lines)))
    read = [" ".join(ocr(picture, use_det=False, use_cls=False)[0][0][0].lower().split()) for picture in pictures]
    assert 0.05 < character_error_rate(read, lines.texts) < 0.09
    solid = [[text.replace(" ", "") for text in texts] for texts in (read, lines.texts)]
    assert character_error_rate(*solid) < 0.005
