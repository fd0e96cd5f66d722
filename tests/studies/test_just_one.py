import csv
import dataclasses
import json

import numpy as np
import pytest

from etudes.core.catalogue import find
from etudes.core.record import load
from etudes.core.run import execute
from etudes.games.journal import entries
from etudes.games.just_one import CARDS, Turn, score
from etudes.studies.games.just_one.players import clue_candidates

STUDY = find("just-one")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("just-one")
    for spec in STUDY.plan("smoke", seeds=1):
        execute(STUDY, spec, root)
    return root


def records(root):
    return {record.spec.variant: record for record in load(STUDY.plan("smoke", seeds=1), root)}


def journal(record):
    return entries(record.folder / "games.jsonl")


def test_the_result_is_that_of_the_journal(root):
    for name, record in records(root).items():
        games, turns, scores = [], [], []
        for line in journal(record):
            if "game" in line:
                games.append(line["game"])
                turns.append([])
            elif line["agent"] == "table":
                turns[-1].append(Turn(line["word"], (), (), None, line["outcome"]))
        scores = [score(game) for game in turns]
        assert games == list(range(4))
        assert np.mean(scores) == pytest.approx(record.metrics["test/score"]), name
        assert record.metrics["test/score-low"] <= np.mean(scores) <= record.metrics["test/score-high"]
        assert [line["test/score"] for line in record.log if "test/score" in line] == scores


def test_the_guesser_sees_the_clues_that_are_left_and_nothing_else(root):
    given = {}
    for record in records(root).values():
        for line in journal(record):
            if line["agent"].startswith("giver"):
                given.setdefault("word", line["saw"]["word"])
                given.setdefault("clues", []).append(line["gave"])
                assert line["saw"]["word"] == given["word"]
            elif line["agent"] == "guesser":
                given["guessed"] = line["saw"]
                assert set(line["saw"]) == {"clues"}
                assert given["word"] not in json.dumps(line["saw"])
            elif "word" in line:
                left = [clue for clue, why in zip(given["clues"], line["cancelled"], strict=True) if not why]
                assert given.get("guessed", {"clues": []}) == {"clues": left}
                assert (line["outcome"] == "empty") == (not left)
                given = {}


def test_variants_play_the_same_decks(root):
    decks = {
        name: [line["seed"] for line in journal(record) if "game" in line] for name, record in records(root).items()
    }
    assert len({tuple(seeds) for seeds in decks.values()}) == 1


def test_equal_minds_all_cancel_and_one_mind_in_both_roles_is_telepathy(root):
    found = records(root)
    assert found["naive"].metrics["test/empty"] == 1
    assert found["naive"].metrics["test/score"] == 0
    assert found["glove-glove"].metrics["test/score"] > 10 > found["seats"].metrics["test/score"]
    assert found["givers-1"].metrics["test/cancelled"] == 0 < found["givers-7"].metrics["test/cancelled"]


def test_games_of_people_are_compared_where_a_file_is_given(root, tmp_path):
    path = tmp_path / "humans.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["table", "date", "players", "score", "source"],
                ["a", "2024-01-01", 4, 8, "x"],
                ["b", "2024-01-01", 4, 9, "x"],
            ]
        )
    (spec,) = STUDY.plan("smoke", seeds=1, variants=["seats"], humans=str(path))
    execute(STUDY, spec, tmp_path)
    found = json.loads((tmp_path / spec.key / "result.json").read_text())
    assert found["test/score-above-humans"] == pytest.approx(found["test/score"] - 8.5)
    assert not any("humans" in name for record in records(root).values() for name in record.metrics)


class Echo:
    """A chat model without probabilities, which knows a few words."""

    name, context = "echo", 1000

    def __init__(self, words):
        self.words = words

    def answer(self, messages, *, tokens, temperature=0.0, top_p=1.0, seed=0):
        return ", ".join(self.words)


def test_a_chat_model_plays_both_roles(tmp_path, monkeypatch):
    from etudes.games.words import made_up_words

    monkeypatch.setattr("etudes.studies.games.just_one.players.chat", lambda name: Echo(made_up_words().vocabulary[:9]))
    for variant in ("llm-seats", "llm-naive", "llm-guesses", "llm-alone"):
        (spec,) = STUDY.plan("smoke", seeds=1, variants=[variant])
        execute(STUDY, spec, tmp_path)
        found = json.loads((tmp_path / spec.key / "result.json").read_text())
        assert found["test/cancelled"] == (variant == "llm-naive")
        assert CARDS > found["test/score"] >= 0
    (path,) = tmp_path.glob("just-one/smoke/once/clues/*/clues.jsonl")
    assert {line["word"] for line in entries(path)} <= set(made_up_words().test)
    assert all(len(line["clues"]) == 9 for line in entries(path))
    assert len(entries(path)) == spec.config["pool"]


class Dictionary:
    """A language that links words, as WordNet does."""

    def __init__(self, links):
        self.links = links

    def associates(self, word):
        return self.links


def test_a_chat_model_chooses_among_linked_words_and_those_of_glove():
    from etudes.games.associations import KEPT, thoughts
    from etudes.games.words import made_up_words

    words = made_up_words()
    noun, own = words.test[0], [clue for clue, _ in thoughts("glove", "made-up")(words.test[0])]
    assert clue_candidates(noun, "made-up", words) == own
    linked = [word for word in words.vocabulary if word not in own][: KEPT + 5]
    links = {word: 1 + rank for rank, word in enumerate(linked)} | {"unheard": 99.0, own[-1]: 50.0}
    with_links = dataclasses.replace(words, language=Dictionary(links))
    strongest = [own[-1], *linked[::-1]][:KEPT]
    assert clue_candidates(noun, "made-up", with_links) == [*strongest, *own[:-1]]


def test_clues_of_a_chat_model_survive_a_kill(tmp_path, monkeypatch):
    from etudes.games.words import made_up_words

    monkeypatch.setenv("ETUDES_SAVE_SECONDS", "0")
    (spec,) = STUDY.plan("smoke", seeds=1, variants=["llm-seats"])
    words, asked = made_up_words(), []

    class Forgetful(Echo):
        def answer(self, messages, **settings):
            asked.append(messages[-1]["content"])
            if len(asked) == 5:
                raise KeyboardInterrupt
            return super().answer(messages, **settings)

    monkeypatch.setattr("etudes.studies.games.just_one.players.chat", lambda name: Forgetful(words.vocabulary[:9]))
    with pytest.raises(KeyboardInterrupt):
        execute(STUDY, spec, tmp_path)
    assert execute(STUDY, spec, tmp_path) == "done"
    assert len(asked) == 1 + spec.config["pool"]  # the fifth word twice
    (path,) = tmp_path.glob("just-one/smoke/once/clues/*/clues.jsonl")
    assert len({line["word"] for line in entries(path)}) == len(entries(path)) == spec.config["pool"]


def measure(words):
    """The measure of the claim whose sentence has the words."""
    (claim,) = [claim for sentence, claim in STUDY.claims.items() if words in sentence]
    return claim.measure


def test_the_best_number_of_givers_is_chosen_on_validation_words():
    trial = {f"givers-{n}": {"validation/score": -abs(n - 3), "test/score": float(n * n)} for n in range(1, 8)}
    assert measure("more cards than one giver")(trial) == 9 - 1
    assert measure("seven givers")(trial) == 9 - 49


def test_telepathy_is_the_mean_of_the_diagonal_over_the_rest():
    names = ("glove", "minilm", "wordnet")
    trial = {f"{a}-{b}": {"test/score": 9.0 if a == b else 2.0} for a in names for b in names}
    trial["seats"] = trial.pop("glove-minilm")
    assert measure("the same associations")(trial) == 7


def test_the_plan_is_of_more_than_200_games_a_variant():
    plan = STUDY.plan("laptop")
    for variant in STUDY.variants:
        assert sum(spec.config["games"] for spec in plan if spec.variant == variant.name) > 200
