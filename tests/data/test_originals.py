"""Sets in the layout of their authors: read as it is, and never more than read."""

import io
import os
import pickle
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from etudes.core.errors import Problem
from etudes.data.images import images
from etudes.data.sources import reachable

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class Python2(pickle._Pickler):
    """Writes texts and bytes alike as Python 2's strings, as the published files have them."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, text):
        data = text.encode() if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    dispatch[bytes] = dispatch[str] = save_string


def write(path, **entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    Python2(file, protocol=2).dump(entries)
    path.write_bytes(file.getvalue())


@pytest.fixture
def ten(tmp_path, monkeypatch):
    """A mirror with the layout of cifar-10-batches-py, four pictures a file, and what is in it."""
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))
    rng, folder, kept = np.random.default_rng(0), tmp_path / "cifar-10-batches-py", {}
    for file in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        data = rng.integers(256, size=(4, 3072), dtype=np.uint8)
        kept[file] = (data, rng.integers(10, size=4).tolist())
        write(folder / file, data=data, labels=kept[file][1], batch_label=file, filenames=["a.png"] * 4)
    write(folder / "batches.meta", label_names=NAMES, num_cases_per_batch=4, num_vis=3072)
    return folder, kept


def test_the_original_pictures_come_first(ten):
    _, kept = ten
    assert reachable("cifar10") == "originals"
    d = images("cifar10")
    assert d.source["kind"] == "originals"
    assert d.source["says"].startswith("the pickles of cifar-10-batches-py, 20 + 4 pictures")
    assert d.labels == tuple(NAMES)
    assert d.y.tolist() == [label for file in sorted(kept)[:5] for label in kept[file][1]]
    assert d.test_y.tolist() == kept["test_batch"][1]
    for place, (file, row) in enumerate((file, row) for file in sorted(kept)[:5] for row in range(4)):
        data = kept[file][0][row]
        for c, i, j in ((0, 0, 0), (1, 3, 31), (2, 31, 5)):  # planes of red, green and blue, row by row
            assert d.x[place, c, i, j] == data[1024 * c + 32 * i + j]


def test_of_the_hundred_the_fine_classes_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path))
    monkeypatch.delenv("ETUDES_MIRROR", raising=False)
    rng, folder = np.random.default_rng(1), tmp_path / "cifar-100-python"
    for file, labels in (("train", [99, 0, 7]), ("test", [3, 98])):
        data = rng.integers(256, size=(len(labels), 3072), dtype=np.uint8)
        write(folder / file, data=data, fine_labels=labels, coarse_labels=[1] * len(labels), filenames=["a"])
    write(folder / "meta", fine_label_names=[f"f{i}" for i in range(100)], coarse_label_names=["c"] * 20)
    d = images("cifar100")
    assert (d.y.tolist(), d.test_y.tolist(), d.classes, d.labels[99]) == ([99, 0, 7], [3, 98], 100, "f99")


class Harm:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_a_file_written_by_python_3_is_read_too(ten):
    folder, kept = ten
    data, labels = kept["data_batch_1"]
    (folder / "data_batch_1").write_bytes(pickle.dumps({"data": data, "labels": labels}, protocol=2))
    assert images("cifar10").y[:4].tolist() == labels


def test_a_pickle_that_would_run_code_is_refused(ten, tmp_path, monkeypatch):
    folder, _ = ten
    monkeypatch.chdir(tmp_path)
    write(folder / "data_batch_3", data=Harm(), labels=[0])
    with pytest.raises(Problem, match=r"data_batch_3: the pickle asks for .*system, but only numpy arrays are read"):
        images("cifar10")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda path: path.unlink(), "data_batch_2 is absent; unpack cifar-10-batches-py again"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "data_batch_2: the pickle is damaged"),
        (lambda path: write(path, labels=[1]), "data_batch_2 has no entry 'data'"),
        (lambda path: write(path, data=np.zeros((2, 12), np.uint8), labels=[1, 2]), "no pictures of 32 x 32 pixels"),
    ],
)
def test_what_is_amiss_is_told_by_file(ten, harm, says):
    folder, _ = ten
    harm(folder / "data_batch_2")
    with pytest.raises(Problem, match=says):
        images("cifar10")


PEOPLE = {"000001.jpg": (7, 0), "000002.jpg": (2, 2), "000003.jpg": (7, 0), "000004.jpg": (3, 1), "000005.jpg": (9, 0)}


@pytest.fixture(params=[("Img", "Eval", "Anno"), ("", "", "")], ids=["as published", "side by side"])
def faces(request, tmp_path, monkeypatch):
    """A mirror with CelebA's layout, five pictures of 178 x 218 pixels, each of one grey."""
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "celeba"
    places = [folder / name for name in request.param]
    for place in (*places, places[0] / "img_align_celeba"):
        place.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(PEOPLE):
        Image.new("RGB", (178, 218), (50 * i, 50 * i, 20)).save(places[0] / "img_align_celeba" / name, quality=95)
    lists = (("list_eval_partition.txt", 1, places[1]), ("identity_CelebA.txt", 0, places[2]))
    for file, entry, place in lists:
        (place / file).write_text("".join(f"{name} {said[entry]}\n" for name, said in PEOPLE.items()))
    return folder


def test_celebas_files_are_read_by_their_own_lists(faces):
    d = images("celeba")
    assert d.source["says"].startswith("the files of celeba, 3 + 1 pictures, JPEG copies, resized")
    assert (d.shape, d.y.tolist(), d.test_y.tolist(), d.labels[7]) == ((3, 64, 64), [7, 7, 9], [2], "person 7")
    greys = d.x.float().mean((2, 3))
    assert torch.allclose(greys, torch.tensor([[0.0, 0, 20], [100, 100, 20], [200, 200, 20]]), atol=4)
    again = images("celeba")  # from the decoded copy
    assert (again.source, again.y.tolist()) == (d.source, d.y.tolist())
    assert torch.equal(again.x, d.x)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("list_eval_partition.txt", "000001.jpg\n", "no file and number"),
        ("list_eval_partition.txt", "000001.jpg 0\n000009.jpg 0\n", "does not say who is on 000009.jpg"),
        ("identity_CelebA.txt", None, "holds no identity_CelebA.txt"),
    ],
)
def test_a_list_of_celeba_that_does_not_fit_is_told(faces, file, text, words):
    path = next(faces.rglob(file))
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(Problem, match=words):
        images("celeba")


def test_an_absent_picture_of_celeba_is_told(faces):
    next(faces.rglob("000003.jpg")).unlink()
    with pytest.raises(Problem, match="lacks 000003"):
        images("celeba")


CLASSES = {  # set -> its folder, pictures in the authors' layout with a grey each, and what is no picture of it
    "birds": ("CUB_200_2011", {"images/001.Black_footed_Albatross/B_0046_18.jpg": 10,
                               "images/001.Black_footed_Albatross/B_0009_34.jpg": 60,
                               "images/002.Laysan_Albatross/L_0002.jpg": 110}, "parts/parts.txt"),
    "asl-alphabet": ("asl-alphabet", {f"asl_alphabet_train/asl_alphabet_train/{sign}/{sign}{i}.jpg": 20 * i
                                      for sign in ("A", "B", "space") for i in range(1, 6)},
                     "asl_alphabet_test/asl_alphabet_test/A_test.jpg"),
    "fish": ("Fish_Dataset", {f"Fish_Dataset/{kind}/{kind}/0000{i}.png": 20 * i
                              for kind in ("Shrimp", "Red Mullet") for i in range(1, 6)},
             "Fish_Dataset/Shrimp/Shrimp GT/00001.png"),
}  # fmt: skip


@pytest.fixture
def class_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))

    def write(name):
        top, pictures, other = CLASSES[name]
        for path, grey in pictures.items():
            (tmp_path / top / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (80, 70), (grey, grey, 20)).save(tmp_path / top / path)
        (tmp_path / top / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / top / other).write_bytes(b"no picture of the set")
        if name == "birds":
            lists = {"images.txt": (path.removeprefix("images/") for path in pictures),
                     "train_test_split.txt": "101"}  # fmt: skip
            for file, entries in lists.items():
                (tmp_path / top / file).write_text("".join(f"{i} {e}\n" for i, e in enumerate(entries, 1)))
        return tmp_path / top

    return write


@pytest.mark.parametrize(
    ("name", "labels", "y", "test_y"),
    [
        ("birds", ("Black footed Albatross", "Laysan Albatross"), [0, 1], [0]),
        ("asl-alphabet", ("A", "B", "space"), [0] * 4 + [1] * 4 + [2] * 4, [0, 1, 2]),
        ("fish", ("Red Mullet", "Shrimp"), [0] * 4 + [1] * 4, [0, 1]),
    ],
)
def test_a_class_is_a_folder(class_folders, name, labels, y, test_y):
    class_folders(name)
    d = images(name)
    assert (d.shape, d.labels, d.y.tolist(), d.test_y.tolist()) == ((3, 64, 64), labels, y, test_y)
    assert ("held out" in d.source["says"]) == (name != "birds")
    greys = [60, 10, 110] if name == "birds" else None  # sorted by name: 0009 comes before 0046
    if greys:
        found = torch.cat([d.test_x, d.x]).float().mean((2, 3))[:, 0]
        assert torch.allclose(found, torch.tensor(greys).float(), atol=4)
    assert torch.equal(images(name).x, d.x)  # from the decoded copy


def test_class_folders_that_do_not_fit_are_told(class_folders):
    folder = class_folders("birds")
    (folder / "train_test_split.txt").write_text("1 1\n2 0\n")
    with pytest.raises(Problem, match="does not say where picture 3 belongs"):
        images("birds")
    (folder / "images.txt").write_text("1 001.Black_footed_Albatross/B_0046_18.jpg\n")
    with pytest.raises(Problem, match=r"does not name 001\.Black_footed_Albatross/B_0009_34\.jpg"):
        images("birds")
    (folder / "images.txt").write_text("one two three\n")
    with pytest.raises(Problem, match="no number and file"):
        images("birds")
    for path in folder.rglob("*.jpg"):
        path.unlink()
    with pytest.raises(Problem, match="holds no images"):
        images("birds")


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """A mirror with Oxford-IIIT Pet as it is unpacked: two breeds, and files that are no pictures of its lists."""
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "oxford-pets"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations" / "trimaps").mkdir(parents=True)
    names = {"Abyssinian_1": 10, "Abyssinian_2": 60, "american_bulldog_1": 110, "american_bulldog_10": 160}
    for name, grey in names.items():
        Image.new("RGB", (240, 230), (grey, grey, 20)).save(folder / "images" / f"{name}.jpg")
    (folder / "images" / "Abyssinian_1.mat").write_bytes(b"a stray file of the archive")
    lists = {
        "trainval.txt": "Abyssinian_2 1 1 1\namerican_bulldog_10 2 2 1\n",
        "test.txt": "Abyssinian_1 1 1 1\namerican_bulldog_1 2 2 1\n",
        "list.txt": "#Image CLASS-ID SPECIES BREED ID\n",
    }
    for name, text in lists.items():
        (folder / "annotations" / name).write_text(text)
    return folder


def test_pets_are_read_by_their_official_lists(pets):
    assert reachable("oxford-pets") == "originals"
    d = images("oxford-pets")
    assert (d.shape, d.labels) == ((3, 224, 224), ("Abyssinian", "american bulldog"))
    assert (d.y.tolist(), d.test_y.tolist()) == ([0, 1], [0, 1])
    greys = torch.cat([d.x, d.test_x]).float().mean((2, 3))[:, 0]
    assert torch.allclose(greys, torch.tensor([60.0, 160, 10, 110]), atol=4)
    assert "held out" not in d.source["says"]
    assert torch.equal(images("oxford-pets").x, d.x)  # from the decoded copy


def test_lists_of_pets_that_do_not_fit_are_told(pets):
    (pets / "images" / "american_bulldog_10.jpg").unlink()
    with pytest.raises(Problem, match=r"lacks american_bulldog_10\.jpg"):
        images("oxford-pets")
    (pets / "annotations" / "trainval.txt").write_text("Abyssinian_2 one\n")
    with pytest.raises(Problem, match="no picture and breed"):
        images("oxford-pets")
    (pets / "annotations" / "trainval.txt").write_text("american_bulldog_1 2 2 1\n")
    (pets / "annotations" / "test.txt").write_text("american_bulldog_1 2 2 1\n")
    with pytest.raises(Problem, match="leave out breeds"):
        images("oxford-pets")
    (pets / "annotations" / "test.txt").unlink()
    with pytest.raises(Problem, match=r"holds no annotations/test\.txt"):
        images("oxford-pets")
