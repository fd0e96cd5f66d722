"""What is changed after the runs is not judged, whatever it is."""

import dataclasses
import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from coins import Config, make_study, toss
from etudes.cli import main
from etudes.core import program, registration
from etudes.core.claims import Claim, Difference, above, below, difference, higher, lower, within
from etudes.core.errors import Problem
from etudes.core.record import Record
from etudes.core.run import execute
from etudes.core.spec import Scale, Variant
from etudes.core.verdicts import judge

SCORE = "test/score"


def shift(by):
    return lambda trial: trial["shifted"][SCORE] - trial["plain"][SCORE] + by


def original():
    smoke = Scale({"steps": 2}, seeds=2, minutes=0.1, judges=False)
    return make_study(
        scales={"smoke": smoke, "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=0.1)},
        claims={
            "shifted is lower": lower("shifted", "plain", "sec. 1", of=SCORE, matters=0.1),
            "it is lower by more than a half": Claim(shift(0.5), below(0), "sec. 2"),
            "the ratio is small": Claim(lambda t: abs(t["shifted"][SCORE]), below(9), "sec. 3", kind="ratio"),
            "plain is within 5": Claim(lambda t: t["plain"][SCORE], within(-5, 5), "sec. 4", worst=9.0),
        },
    )


def records(study):
    rng = random.Random(4)
    return [
        Record(s, {SCORE: rng.gauss(0, 0.1) - (s.variant == "shifted")}, {}, Path())
        for s in study.plan("laptop", seeds=5)
    ]


def with_claim(study, sentence, **changes):
    return replace(study, claims={**study.claims, sentence: replace(study.claims[sentence], **changes)})


def other_toss(cfg, run):
    toss(cfg, run)
    run.result(**{SCORE: 0.0})


def mutation(study, rng):
    """A study that was changed in one place, and the claims that must be told; drawn anew at each call."""
    sentences = list(study.claims)
    some = rng.choice(sentences)
    claim, every = study.claims[some], [*study.claims]
    end = rng.uniform(0.01, 3)

    def margin():
        if math.isfinite(claim.expect.low) and math.isfinite(claim.expect.high):
            return with_claim(study, some, worst=end), [some]
        return with_claim(study, some, matters=0.1 + end), [some]

    def bound():
        return with_claim(study, some, expect=rng.choice([below(1 + end), within(0.01, 2 + end)]), matters=math.nan), [
            some
        ]

    def measure():
        was = claim.measure
        others = [shift(end), lambda t: was(t) + 1e-9, Difference(was, was), difference("plain", "shifted", SCORE)]
        return with_claim(study, some, measure=rng.choice(others)), [some]

    def kind():
        others = [k for k in ("difference", "ratio") if k != claim.kind]
        return with_claim(study, some, kind=rng.choice(others), expect=below(9), matters=math.nan), [some]

    def worst():
        return with_claim(study, some, worst=end), [some]

    def left_out():
        return replace(study, claims={s: c for s, c in study.claims.items() if s != some}), [some]

    def renamed():
        return replace(study, claims={(s + "!" if s == some else s): c for s, c in study.claims.items()}), [
            some,
            some + "!",
        ]

    def added():
        new = higher("shifted", "plain", "", of=SCORE, matters=end)
        return replace(study, claims={**study.claims, "a new one": new}), ["a new one"]

    def variant():
        changed = Variant("shifted", {"shift": -1.0 - end})
        return replace(study, variants=(study.variants[0], changed)), every

    def looks():
        seeds = rng.choice([(5, 8, 12), (5, 9, 12, 20), 5, (5, 8, 12, 20, 30)])
        return replace(study, scales={**study.scales, "laptop": Scale({}, seeds=seeds, minutes=0.1)}), every

    def setting():
        return replace(
            study, scales={**study.scales, "laptop": replace(study.scales["laptop"], changes={"steps": 6})}
        ), every

    def code():
        return replace(study, program=other_toss), every

    return rng.choice([margin, bound, measure, kind, worst, left_out, renamed, added, variant, looks, setting, code])()


def test_a_hundred_mutations_are_told_a_hundred_times(tmp_path):
    made = registration.register(original(), "laptop", tmp_path)
    assert registration.alterations(original(), made) == {}
    rng, kinds = random.Random(0), set()
    for _ in range(100):
        study, told = mutation(original(), rng)
        found = registration.alterations(study, made)
        assert set(found) == set(told)
        assert all(words.startswith("changed after the data: ") for words in found.values())
        verdicts = {v.sentence: v for v in judge(study, records(study), changed=found)}
        assert all(verdicts[s].verdict == "not judged" for s in told if s in verdicts)
        assert all(verdicts[s].reason == found[s] for s in told if s in verdicts)
        kinds |= {words.partition(": ")[2][:14] for words in found.values()}
    assert len(kinds) > 8


def test_words_and_places_may_still_be_mended(tmp_path):
    study = original()
    made = registration.register(study, "laptop", tmp_path)
    mended = with_claim(study, "it is lower by more than a half", where="sec. 2.1", paper=-0.7, number="in points")
    mended = replace(mended, question="Does it?", variants=tuple(replace(v, says="new") for v in study.variants))
    assert registration.alterations(mended, made) == {}
    more = replace(study, variants=(*study.variants, Variant("third", {"shift": 2.0})))
    assert registration.alterations(more, made) == {}  # another variant takes nothing from those that claims read


def test_a_claim_that_was_left_out_still_counts_among_the_claims(tmp_path):
    study = original()
    made = registration.register(study, "laptop", tmp_path)
    rest = replace(study, claims=dict(list(study.claims.items())[:2]))
    all_of_them = judge(study, records(study))
    fewer = judge(rest, records(rest), changed=registration.alterations(rest, made))
    alone = judge(rest, records(rest))
    assert fewer[0].p >= alone[0].p
    assert fewer[0].p >= all_of_them[0].p


def test_a_registration_comes_before_the_first_judged_run(tmp_path):
    study = original()
    execute(study, study.plan("smoke")[0], tmp_path)
    execute(study, study.plan("laptop", tune=True)[0], tmp_path)
    execute(study, study.plan("laptop", replicate=True)[0], tmp_path)
    made = registration.register(study, "laptop", tmp_path)
    assert registration.register(study, "laptop", tmp_path) == made == registration.load(study, "laptop", tmp_path)
    execute(study, study.plan("laptop")[0], tmp_path)
    assert registration.register(study, "laptop", tmp_path) == made
    with pytest.raises(Problem, match="registers something else; what is changed now takes a new revision of coins"):
        registration.register(with_claim(study, "shifted is lower", matters=0.2), "laptop", tmp_path)
    registration.path(study, "laptop", tmp_path).unlink()
    with pytest.raises(Problem, match="1 judged runs of revision 1 have begun"):
        registration.register(study, "laptop", tmp_path)
    later = replace(study, revisions=("a margin",))
    assert registration.register(later, "laptop", tmp_path)["hash"] != made["hash"]
    assert registration.alterations(study, None) == {}


def test_a_registration_that_was_edited_is_not_taken(tmp_path):
    study = original()
    registration.register(study, "laptop", tmp_path)
    file = registration.path(study, "laptop", tmp_path)
    saved = json.loads(file.read_text())
    saved["description"]["claims"]["shifted is lower"]["margin"] = 0.2
    file.write_text(json.dumps(saved))
    with pytest.raises(Problem, match="its hash is of something else"):
        registration.load(study, "laptop", tmp_path)


@pytest.mark.parametrize(
    ("scale", "words"), [("smoke", "is not judged at scale smoke"), ("laptob", "did you mean 'laptop'")]
)
def test_what_cannot_be_registered_is_told(scale, words, tmp_path):
    with pytest.raises(Problem, match=words):
        registration.register(original(), scale, tmp_path)


def test_a_measure_is_known_by_its_syntax_and_by_what_it_closes_over():
    digest = program.measure_digest
    assert digest(shift(1)) == digest(shift(1)) != digest(shift(2))
    one, other = (lambda t: t["a"]["x"]), (lambda t: t["a"]["y"])  # on one line
    assert digest(one) != digest(other)
    assert digest(difference("a", "b")) == digest(difference("a", "b")) != digest(difference("b", "a"))
    assert digest(dataclasses.replace(difference("a", "b"))) == digest(difference("a", "b"))
    assert digest(above) != digest(below)


def test_the_command_line_registers_and_says_how_to_prove_it(tmp_path, capsys):
    for _ in range(2):
        assert main(["register", str(Path(__file__).parents[1] / "coins.py"), "--root", str(tmp_path)]) == 0
        said = capsys.readouterr().out
        assert "1 claims of coins, revision 1" in said
        assert "Commit the file" in said
    assert main(["register", "mixup", "--scale", "smoke", "--root", str(tmp_path)]) == 2
    assert Config().steps == 5
