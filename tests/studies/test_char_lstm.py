import json
from collections import Counter

import numpy
import pytest
import torch

from etudes.core.errors import Problem
from etudes.core.run import execute
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import cache_path
from etudes.data.tokens import characters
from etudes.measure.size import count_parameters
from etudes.measure.writing import words
from etudes.nn.recurrent import Recurrent
from etudes.studies.language.char_lstm import STUDY, dictionary, load_network, network
from etudes.studies.language.char_lstm.findings import WAYS, continuations, errors
from etudes.studies.language.char_lstm.measures import repetition_gain, spelling_gain
from etudes.studies.language.char_lstm.reading import HiddenState, reader
from etudes.train import checkpoint


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    for spec in STUDY.plan("smoke", variants=["lstm-2"]):
        assert execute(STUDY, spec, root) == "done"
    return root


@pytest.fixture(scope="module")
def folder(root):
    (spec,) = STUDY.plan("smoke", variants=["lstm-2"])
    return root / spec.key


def config(scale, variant):
    return STUDY.config(**STUDY.plan(scale, variants=[variant], seeds=1)[0].config)


def test_lanes_go_on_where_they_ended_and_carry_the_state_until_they_begin_again():
    text = torch.arange(4 * 13)
    read = reader("lanes", text, 3, 4, 0)  # lanes of 13 tokens: four steps
    for i in range(10):
        block, goes_on = read(i)
        assert goes_on is (i % 4 != 0)
        assert block[:, 0].tolist() == [13 * lane + i % 4 * 3 for lane in range(4)]
        assert torch.equal(block, reader("forgetful", text, 3, 4, 0)(i)[0])
        assert reader("forgetful", text, 3, 4, 0)(i)[1] is False


def test_neighbours_are_one_stretch_of_text():
    read = reader("neighbours", torch.arange(100), 3, 4, 0)
    block, goes_on = read(2)
    assert goes_on is False
    assert block.tolist() == [[24 + 3 * row + k for k in range(4)] for row in range(4)]


def test_windows_come_from_anywhere():
    block, goes_on = reader("windows", torch.arange(1000), 3, 8, 0)(0)
    assert goes_on is False
    assert (block == block[:, :1] + torch.arange(4)).all()
    assert block[:, 0].max() - block[:, 0].min() > 8 * 3


def test_a_carried_state_is_saved_and_restored_to_the_bit(tmp_path):
    state = ((torch.rand(2, 3).bfloat16(), torch.rand(2, 3)), (torch.rand(2, 3), torch.rand(2, 3)))
    carried, other = HiddenState(()), HiddenState(())
    carried.keep(state)
    checkpoint.save(tmp_path / "a.safetensors", {"carried": carried})
    checkpoint.load(tmp_path / "a.safetensors", {"carried": other}, torch.device("cpu"))
    assert len(other.state) == 2
    for before, after in zip(state, other.state, strict=True):
        assert isinstance(after, tuple)
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(before, after, strict=True))


def test_no_gradient_goes_back_over_a_step():
    part = torch.rand(1, 2, requires_grad=True) * 2
    carried = HiddenState(())
    carried.keep(((part,),))
    assert not carried.state[0][0].requires_grad


@pytest.mark.parametrize("variant", ["rnn", "lstm-2", "lstm-3", "gru"])
def test_networks_are_compared_at_equal_parameters(variant):
    sizes = [count_parameters(network(config("laptop", name), 66, 66)) for name in (variant, "lstm")]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_half_and_double_are_so_in_parameters():
    half, one, double = (
        count_parameters(network(config("laptop", name), 66, 66)) for name in ("lstm-half", "lstm", "lstm-double")
    )
    assert (half / one, double / one) == (pytest.approx(0.5, rel=0.03), pytest.approx(2, rel=0.03))


def test_all_that_is_asked_for_is_measured(folder):
    found = json.loads((folder / "result.json").read_text())
    ways = {*WAYS, "beam", "human"}
    metrics = ("spelling", "dictionary", "distinct", "repetition")
    assert {f"test/{metric}-{way}" for metric in metrics for way in ways} <= {*found}
    causes = [value for name, value in found.items() if name.startswith("test/errors-")]
    assert len(causes) == 6
    assert sum(causes) == pytest.approx(1)
    assert found["test/bits-per-byte-trigram"] < found["test/bits-per-byte-unigram"]
    assert {f"test/{gate}-{end}" for gate in ("input", "forget", "output") for end in ("open", "shut")} <= {*found}
    assert (folder / "cell.png").stat().st_size < 300_000
    assert (folder / "samples.txt").read_text().startswith("[")


def test_the_network_of_a_run_can_be_had_again(folder):
    cfg = config("smoke", "lstm-2")
    model, tokenizer = load_network(cfg, folder)
    found = json.loads((folder / "result.json").read_text())
    unused = tokenizer.size - int(found["train/vocabulary"])
    assert not model.training
    assert count_parameters(model) == found["parameters"] + unused * (2 * model.hidden + 1)
    tokens = torch.tensor([[tokenizer.start, *tokenizer.encode("def f")]])
    assert model(tokens).shape == (1, 6, tokenizer.size)


def test_the_baselines_are_made_once_for_all_variants_of_a_seed(root):
    assert len(list(root.glob("char-lstm/smoke/once/*/*/result.json"))) == 1
    (spec,) = STUDY.plan("smoke", variants=["rnn"])
    assert execute(STUDY, spec, root) == "done"
    assert len(list(root.glob("char-lstm/smoke/once/*/*/result.json"))) == 1
    (little,) = STUDY.plan("smoke", variants=["little-text"])
    assert execute(STUDY, little, root) == "done"
    assert len(list(root.glob("char-lstm/smoke/once/*/*/result.json"))) == 2


def test_a_claim_on_several_ways_reads_the_hardest():
    ways = {"beam": 0.5, "human": 0.0, "nucleus-95": 0.125}
    known = {"temperature-70": 0.875, "nucleus-95": 0.75, "pure": 0.625}
    numbers = {f"test/repetition-{way}": share for way, share in ways.items()}
    numbers |= {f"test/dictionary-{way}": share for way, share in known.items()}
    assert repetition_gain({"lstm-2": numbers}) == 0.375
    assert spelling_gain({"lstm-2": numbers}) == 0.125


def test_the_dictionary_has_inflected_words_and_old_ones_and_no_misspelt_ones():
    shelf = cache_path(dictionary.CARRIER, cache_folder())
    if not shelf.exists():
        pytest.skip("the dictionary was not fetched yet")
    found = dictionary.english()
    assert {"sleeps", "neighbour", "thou", "hath", "it's", "john", "château"} <= found
    assert not {"a", "slepes", "nieghbour", "thoth'd", "Thou"} & found
    assert all(words(word) == [word] for word in found)


def test_a_dictionary_that_cannot_be_had_says_what_to_do(monkeypatch):
    def nowhere(*_):
        raise Problem("wbritish-large needs apt-get, which this machine lacks")

    monkeypatch.setattr(dictionary, "fetch", nowhere)
    with pytest.raises(Problem, match=r"the dictionary cannot be had: wbritish-large needs apt-get.*--no-dictionary"):
        dictionary.english()


class Sure(Recurrent):
    """After any token it is nearly sure of the next number, round a circle of ten."""

    def __init__(self, size):
        super().__init__("rnn", size, 2)

    def next(self, tokens, state):
        return 50.0 * torch.nn.functional.one_hot((tokens + 1) % self.head.out_features, self.head.out_features), state


def test_continuations_are_of_the_passages_after_their_beginning():
    text = "to be or not to be, that is it. " * 40
    tokenizer = characters([text], often=1)
    passages = torch.tensor([tokenizer.encode(text)[i : i + 60] for i in (0, 32)])
    torch.manual_seed(0)
    model = Recurrent("gru", tokenizer.size, 8)
    known = {"spelling": frozenset({"to", "be", "or", "not", "that", "is", "it"}), "dictionary": frozenset({"be"})}
    found = continuations(model, tokenizer, passages, 20, 0, known, 1)
    assert set(found) == {
        f"test/{m}-{way}" for m in ("spelling", "dictionary", "distinct", "repetition") for way in ("human", "pure")
    }
    assert 0 < found["test/dictionary-human"] < found["test/spelling-human"]
    assert found["test/spelling-human"] > 0.9  # the last word is cut
    assert found["test/spelling-pure"] < 0.2
    same = continuations(model, tokenizer, passages, 20, 0, known, 1)
    assert same == found
    circle = continuations(Sure(tokenizer.size), tokenizer, passages, 20, 3, known, 1)
    assert circle["test/distinct-greedy"] == circle["test/distinct-beam"]


def test_errors_are_characters_with_less_than_half_of_the_probability():
    tokenizer = characters(["the sea " * 20])
    text = "the sea é"  # é is two bytes: missed if one of them is, foreseen if both are
    losses = -torch.tensor([0.9, 0.4, 0.6, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9, 0.3]).double().log()
    foreseen = torch.tensor([False, True, *[False] * 6, True, False])
    found = errors(losses, tokenizer, text, foreseen, Counter({"the": 20, "sea": 20}))
    assert found["test/errors"] == 3 / 9
    assert found["test/errors-n-gram"] == pytest.approx(1 / 3)  # h; not é
    assert found["test/errors-word-start"] == pytest.approx(2 / 3)  # s and é, a single letter
    assert errors(losses, tokenizer, text, foreseen | True, Counter())["test/errors-n-gram"] == 1
    assert numpy.isclose(sum(share for name, share in found.items() if name != "test/errors"), 1)


def test_variants_differ_in_one_thing_each():
    configs = {spec.variant: spec.config for spec in STUDY.plan("laptop", seeds=1)}

    def changed(name, base):
        return {field for field, value in configs[name].items() if value != configs[base][field]}

    assert {name: changed(name, "lstm") for name in ("rnn", "gru", "lstm-2", "lstm-3")} == {
        "rnn": {"kind"},
        "gru": {"kind"},
        "lstm-2": {"layers", "decoding"},
        "lstm-3": {"layers"},
    }
    assert all(changed(name, "lstm") == {"size"} for name in ("lstm-half", "lstm-double"))
    assert all(changed(name, "lstm") == {"reading"} for name in ("forgetful", "windows", "neighbours"))
    assert changed("little-text", "lstm") == {"share"}
    for name in ("double", "dropout", "layer-norm"):
        assert len(changed(f"little-text-{name}", "little-text")) == 1
