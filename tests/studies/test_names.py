import itertools

import numpy as np
import pytest
import torch

from etudes.core.errors import Problem
from etudes.data.names import FAMILIES, drawn_names, names, plain
from etudes.measure.size import count_parameters
from etudes.studies.language.names import STUDY, Config, findings, reader, training, writers
from etudes.studies.language.names.trigrams import Trigrams
from etudes.train import weights

LANGUAGES = ("Dutch", "Greek", "Irish")
ROWS = [("Abel", "Dutch"), ("Abel", "Irish"), ("Papas", "Greek"), ("Kelly", "Irish"), ("Aarle", "Dutch")]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def network(**changes):
    torch.manual_seed(0)
    return reader.NameReader("gru", LETTERS, LANGUAGES, 12, **changes)


# The network


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_letter_by_letter_ends_with_the_answer(kind):
    torch.manual_seed(0)
    model = reader.NameReader(kind, LETTERS, LANGUAGES, 12, dropout=0.5)
    rows = reader.letter_by_letter(model, "Papas")
    assert rows.shape == (5, 3)
    torch.testing.assert_close(rows.sum(1), torch.ones(5))
    x, lengths = model.encode(["Papas", "Papadopoulos"])  # the first is filled up
    answer = model.eval()(x, lengths)[0].softmax(-1)
    torch.testing.assert_close(rows[-1], answer)
    assert reader.guesses(model, ["Papas"]).item() == rows[-1].argmax()
    # A row is what the network would say if the name ended there.
    torch.testing.assert_close(rows[2], reader.letter_by_letter(model, "Pap")[-1])
    assert rows.std(0).max() > 1e-4


def test_a_name_is_read_in_part_backwards_or_with_accents():
    assert network().spell("Śliwa ") == "sliwa"
    assert network(accents=True).spell("Śliwa ") == "śliwa"
    assert network(backwards=True).spell("Śliwa") == "awils"
    assert network(part="first").spell("Śliwa") == "sli"
    assert network(part="last", backwards=True).spell("Śliwa") == "awi"
    assert network(part="last").spell("Xu") == "xu"
    assert len(reader.letter_by_letter(network(backwards=True), "Papas")) == 5


def test_letters_become_numbers_and_unknown_ones_the_filling():
    x, lengths = reader.encode(["ab", "zéa"], "abz")
    assert x.tolist() == [[1, 2, 0], [3, 0, 1]]
    assert lengths.tolist() == [2, 3]
    for nothing in ([], ["ab", ""]):
        with pytest.raises(Problem, match="at least one letter"):
            reader.encode(nothing, "ab")


def test_a_network_is_kept_with_its_letters(tmp_path):
    cfg = Config(hidden=9, kind="lstm", backwards=True)
    torch.manual_seed(1)
    model = reader.network(cfg, "abc ", LANGUAGES)
    weights.save(tmp_path / "model.safetensors", model)
    reader.keep_words(tmp_path, model)
    again = reader.network_of(cfg, tmp_path)
    assert (again.letters, again.languages, again.training) == ("abc ", LANGUAGES, False)
    torch.testing.assert_close(reader.letter_by_letter(again, "bac"), reader.letter_by_letter(model, "bac"))
    with pytest.raises(Problem, match="does not hold"):
        reader.network_of(Config(hidden=10, kind="lstm"), tmp_path)


def test_the_three_kinds_have_as_many_parameters():
    variants = {variant.name: variant for variant in STUDY.variants}
    sizes = [
        count_parameters(reader.network(Config(**variants[name].changes), LETTERS + " '-", tuple(FAMILIES)))
        for name in ("rnn", "lstm", "gru")
    ]
    assert max(sizes) < 1.02 * min(sizes)
    assert max(sizes) * 4 < 300_000  # bytes of the weights that a page loads


def test_batches_hold_names_of_like_lengths_whenever_asked():
    lengths = torch.randint(2, 15, (640,), generator=torch.Generator().manual_seed(0))
    draws = torch.ones(640, dtype=torch.double)
    batches = [reader.rows_at(draws, lengths, 3, i, 8) for i in range(80)]
    spread = [(lengths[b].max() - lengths[b].min()).item() for b in batches]
    assert np.mean(spread) < 3
    assert torch.equal(batches[33], reader.rows_at(draws, lengths, 3, 33, 8))  # asked again, out of order
    means = torch.stack([lengths[b].float().mean() for b in batches[:16]])
    assert not torch.equal(means, means.sort()[0])  # not from short to long
    assert 0.5 < len(torch.cat(batches).unique()) / (640 * (1 - np.exp(-1))) < 1.1


@pytest.mark.parametrize(("evenness", "shares"), [(0, (0.9, 0.1)), (0.5, (0.75, 0.25)), (1, (0.5, 0.5))])
def test_draws_are_as_even_as_asked(evenness, shares):
    languages = torch.tensor([0] * 90 + [1] * 10)
    draws = reader.sampling_weights(languages, evenness)
    of_language = torch.stack([draws[languages == i].sum() for i in (0, 1)])
    torch.testing.assert_close(of_language / of_language.sum(), torch.tensor(shares, dtype=torch.double))


def test_sgd_takes_as_many_names_as_the_batches():
    cfg = Config(steps=100, batch=1, share=0.5)
    assert training.recipe(cfg).steps == 3200
    assert training.recipe(Config(steps=100)).steps == 100


# Measures


def test_macro_f1_is_scikit_learns():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    truth, guess = rng.integers(5, size=300), rng.integers(4, size=300)  # the last language is never guessed
    assert findings.macro_f1(truth, guess, 5) == pytest.approx(f1_score(truth, guess, average="macro"))
    with pytest.raises(Problem, match="every language"):
        findings.macro_f1(truth, guess, 6)


def test_a_name_of_two_languages_is_missed_once_and_no_error():
    guess = np.array([0, 0, 1, 2, 0])
    scores = findings.scores(ROWS, guess, LANGUAGES)
    assert scores["error"] == 0
    assert scores["f1"] == pytest.approx((4 / 5 + 1 + 2 / 3) / 3)
    found = findings.baselines([*ROWS, ("Aalst", "Dutch")], ROWS, LANGUAGES)
    assert found["accuracy-ceiling"] == pytest.approx(4 / 5)
    assert found["error-majority"] == pytest.approx(2 / 5)  # Abel is Dutch as well
    assert found["f1-majority"] == pytest.approx(2 * 2 / (5 + 2) / 3)
    assert found["seen"] == 1
    assert findings.baselines(ROWS[:2], ROWS, LANGUAGES)["seen"] == pytest.approx(2 / 5)
    # The oracle calls Abel Irish, as Irish is rarer than Dutch.
    assert found["f1-ceiling"] == pytest.approx((2 / 3 + 1 + 4 / 5) / 3)


def test_the_ceilings_are_the_best_of_all_rules():
    names_of = list({plain(name) for name, _ in ROWS})
    truth = findings.labels(ROWS, LANGUAGES)
    best = 0.0
    for rule in itertools.product(range(3), repeat=len(names_of)):
        guess = np.array([rule[names_of.index(plain(name))] for name, _ in ROWS])
        best = max(best, float((guess == truth).mean()))
    assert findings.baselines(ROWS, ROWS, LANGUAGES)["accuracy-ceiling"] == pytest.approx(best)


def test_chance_within_families_is_that_of_dealt_guesses():
    rng = np.random.default_rng(0)
    families = np.array([0, 0, 1, 2])
    truth, guess = np.array([0, 1, 2, 3]), np.array([1, 0, 3, 2])
    share, chance = findings.within_families(truth, guess, families, rng, 4000)
    assert share == 0.5
    deals = [np.array(deal) for deal in itertools.permutations(guess)]  # all of them, by hand
    together = sum(((families[deal] == families[truth]) & (deal != truth)).sum() for deal in deals)
    assert chance == pytest.approx(together / sum((deal != truth).sum() for deal in deals), abs=0.01)
    with pytest.raises(Problem, match="errors alone"):
        findings.within_families(truth, truth, families, rng)


def test_confusions_are_listed_from_the_largest():
    text = findings.confusions_text(np.array([[5, 2], [1, 0]]), ("Dutch", "Irish"))
    lines = text.splitlines()
    assert lines[2].split() == ["Dutch", "taken", "for", "Irish", "2", "of", "7"]
    assert lines[3].split() == ["Irish", "taken", "for", "Dutch", "1", "of", "1"]
    assert lines[-1].split() == ["Irish", "0", "of", "1"]


def test_every_language_has_a_family_and_families_group_some():
    places = findings.family_places(("Czech", "Greek", "Polish"), FAMILIES)
    assert places[0] == places[2] != places[1]
    assert len(FAMILIES) == 18
    assert sorted(list(FAMILIES.values()).count(f) for f in set(FAMILIES.values())) == [1, 1, 1, 1, 3, 3, 4, 4]


# The peer


def test_trigrams_learn_the_endings():
    rows = [(f"{stem}{end}", one) for stem in ("ka", "pe", "lu", "so", "mi") for end, one in (("os", "a"), ("ov", "b"))]
    model = Trigrams(rows, ("a", "b"), 10.0)
    assert model.guesses([("Tados", "a"), ("Tadov", "b")]).tolist() == [0, 1]
    assert model.parameters > 0


# Writers


def test_sentences_hold_the_language_the_letters_and_the_end():
    tokens, targets = writers.sentences([("Abb", "Irish"), ("B", "Dutch")], "ab", LANGUAGES)
    assert tokens.tolist() == [[5, 1, 2, 2], [3, 2, 0, 0]]
    assert targets.tolist() == [[1, 2, 2, 0], [2, 0, -100, -100]]


def test_bits_are_those_of_single_names():
    torch.manual_seed(0)
    model = writers.Recurrent("gru", 2 + 1 + 3, 8)
    rows = [("Abb", "Irish"), ("B", "Dutch"), ("Aa", "Irish"), ("Bab", "Greek")]
    by_hand = {}
    for name, language in rows:
        tokens, targets = writers.sentences([(name, language)], "ab", LANGUAGES)
        bits = -model(tokens)[0].log_softmax(-1)[torch.arange(len(name) + 1), targets[0]] / np.log(2)
        by_hand.setdefault(language, []).extend(bits.tolist())
    expected = np.mean([np.mean(bits) for bits in by_hand.values()])
    assert writers.bits(model, rows, "ab", LANGUAGES) == pytest.approx(expected, rel=1e-5)


def test_letter_trigrams_are_those_of_the_library_within_a_text():
    from etudes.measure.ngrams import ngrams

    text, asked = "abbabaab", "bbaab"
    model = writers.LetterTrigrams([text], "ab")
    probabilities = [sum(model.probability(before, letter) for letter in "ab$") for before in ("^^", "^^a", "^^ab")]
    assert probabilities == pytest.approx([1, 1, 1])
    assert model.probability("^^", "b") == pytest.approx(
        (0 + 1 * (0 + 1 * (4 + 3 / 3) / (9 + 3)) / (1 + 1)) / (1 + 1)  # "^^" and "^" saw an a once, all saw 4 b of 9
    )
    # Behind two letters a running text, whose beginning and end are one mark, has seen as much.
    text_ids, asked_ids = ([2, *("ab".index(letter) for letter in letters)] for letters in (text, asked))
    theirs = ngrams(np.array([*text_ids, 2]), np.array(asked_ids), 3, 3)[-1]
    own = [model.probability("^^" + asked[:i], asked[i]) for i in range(2, 5)]
    assert own == pytest.approx(list(theirs[2:]))


def test_drawn_trigram_names_follow_the_model_that_is_measured():
    models = writers.trigrams_of([("ab", "x"), ("aab", "x"), ("b", "x"), ("ba", "x")], "ab", ("x",))
    rng = np.random.default_rng(0)
    drawn = [models["x"].draw(rng) for _ in range(6000)]
    for name in ("b", "ab"):
        assert drawn.count(name) / len(drawn) == pytest.approx(2 ** -sum(models["x"].bits(name)), abs=0.02)
        expected = sum(models["x"].bits(name)) / (len(name) + 1)
        assert writers.trigram_bits(models, [(name, "x")]) == pytest.approx(expected)


def test_a_writer_stops_at_the_end_and_writes_for_each_language():
    torch.manual_seed(0)
    model = writers.Recurrent("gru", 2 + 1 + 3, 8)
    written = writers.write(model, "ab", LANGUAGES, 7, 1.0, 5)
    assert {one: len(some) for one, some in written.items()} == dict.fromkeys(LANGUAGES, 7)
    assert all(set(name) <= {"a", "b"} and len(name) <= writers.LONGEST for some in written.values() for name in some)
    assert written == writers.write(model, "ab", LANGUAGES, 7, 1.0, 5)
    cold = writers.write(model, "ab", LANGUAGES, 7, 0.0, 5)
    assert all(len(set(some)) == 1 for some in cold.values())


def test_bigram_distance_is_the_total_variation():
    assert writers.bigram_distance(["ab", "ba"], ["ba", "ab"]) == 0
    assert writers.bigram_distance(["aa"], ["bb"]) == pytest.approx(1)
    assert writers.bigram_distance(["a"], ["a", "b"]) == pytest.approx(0.5)


def test_quality_counts_new_and_rediscovered_names():
    train, test = [("Abel", "Dutch"), ("Kelly", "Irish")], [("Abels", "Dutch"), ("Kell", "Irish")]
    written = {"Dutch": ["abel", "abels", "abels", ""], "Irish": ["kelly", "kellys", "kell", "kel"]}
    found = writers.quality(written, train, test)
    assert found["novelty"] == 5 / 8  # the empty one is none
    assert found["variety"] == pytest.approx((3 / 4 + 1) / 2)
    assert found["rediscovered"] == pytest.approx(3 / 5)
    assert 0 < found["bigrams"] < 1
    text = writers.samples_text(written, train)
    assert "abel*, abels, abels" in text
    assert "kelly*" in text


def test_the_real_distance_compares_lists_of_equal_sizes():
    train = [("Abel", "Dutch"), ("Zzz", "Dutch"), ("Papas", "Greek")]
    test = [("Abel", "Dutch"), ("Papas", "Greek")]
    assert writers.real_distance(train, test, ("Dutch", "Greek")) == 0


def test_drawn_names_are_read_by_endings():
    d = names("drawn-names")
    rows = d.distinct()
    assert {plain(name) for name, _ in rows} == {plain(name) for name, _ in drawn_names()}
    model = Trigrams(rows[::2], d.languages, 3.0)
    truth = findings.labels(rows[1::2], d.languages)
    assert findings.macro_f1(truth, model.guesses(rows[1::2]), 6) > 0.5
