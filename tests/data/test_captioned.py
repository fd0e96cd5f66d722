import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from etudes.core.errors import Problem
from etudes.data import captioned as module
from etudes.data.captioned import (
    PARTS,
    attribute_captions,
    captioned_pictures,
    class_words,
    contains,
    stem,
    title_parts,
    without,
    without_nouns,
    words,
)

TITLES = {
    "Tshirts": ("Puma Men Black T-shirt", "Puma Men White Tshirts", "Lee Boys Printed Tee", "Nike Women Blue TShirt"),
    "Watches": ("Titan Women Steel Watch", "Esprit Men Watches", "Fossil Gents Dial 2 Black", "Q&Q Wristwatch Silver"),
}


@pytest.fixture(autouse=True)
def fresh():
    captioned_pictures.cache_clear()
    yield
    captioned_pictures.cache_clear()


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()


@pytest.fixture
def products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with products in the true layout, of two types with four titles and one type that is too rare."""
    import datasets

    rng = np.random.default_rng(0)
    rows = [(title, kind) for kind, titles in TITLES.items() for title in titles] + [("Lone Umbrella", "Umbrellas")]
    pictures = [{"bytes": png(rng.integers(0, 256, (80, 60, 3), np.uint8)), "path": None} for _ in rows]
    columns = {
        "image": pictures,
        "productDisplayName": [title for title, _ in rows],
        "articleType": [kind for _, kind in rows],
        "baseColour": ["Black", "White", None, "Blue", "Steel", "", "Black", "Silver", "Red"],
    }
    text = datasets.Value("string")
    features = {"image": datasets.Image(), "productDisplayName": text, "articleType": text, "baseColour": text}
    folder = tmp_path / "mirror" / "ashraq" / "fashion-product-images-small"
    (folder / "data").mkdir(parents=True)
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    table.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "LEAST", 4)
    return folder


def test_products_come_with_titles_that_name_no_type(products):
    d = captioned_pictures("product-photos")
    assert (d.x.shape, d.x.dtype, d.classes) == ((8, 3, 32, 24), torch.uint8, ("Tshirts", "Watches"))
    assert d.y.tolist() == [0] * 4 + [1] * 4
    assert [caption for (caption,) in d.captions] == [
        "puma men black", "puma men white", "lee boys printed", "nike women blue",
        "titan women steel", "esprit men", "fossil gents dial black", "q q silver",
    ]  # fmt: skip
    assert d.part[0] == d.part[1]  # the same product in two colours
    assert sorted(torch.cat([d.rows(part) for part in PARTS]).tolist()) == [*range(8)]


def test_no_word_of_any_type_is_left_in_the_real_titles_either():
    banned = class_words(("Tshirts", "Watches", "Sports Shoes", "Perfume and Body Mist", "Dresses", "Sunglasses"))
    assert {"tshirt", "watch", "sport", "shoe", "perfume", "body", "mist", "dress", "sunglass", "tee"} <= banned
    assert "and" not in banned
    assert [contains(word, "tee") for word in ("tee", "tees", "steel", "sweattee")] == [True, True, False, True]
    for title in ("Nike Sportswear Shoe", "A Wristwatch and SUNGLASSES", "sweat-shirts, tees"):
        assert not [word for word in without(title, banned).split() if any(contains(word, one) for one in banned)]


def test_words_and_stems():
    assert words("Puma Men's T-Shirt 42, Crème_brûlée") == ["puma", "men", "s", "tshirt", "crème", "brûlée"]
    assert [stem(w) for w in ("watches", "shoes", "dresses", "brushes", "dress", "tops", "top")] == [
        "watch", "shoe", "dress", "brush", "dress", "top", "top",
    ]  # fmt: skip


def test_of_birds_a_kinds_noun_goes_and_what_only_contains_it_stays():
    assert without_nouns("A crow, two crows and a black crown.", {"crow"}) == "a two and a black crown"


def test_titles_that_differ_in_colour_or_order_alone_are_in_one_part():
    titles = [f"brand{chr(97 + i % 26)}{chr(97 + i // 26)} men" for i in range(400)]
    twins = [f"men navy blue {title.split()[0]}" for title in titles]
    parts = title_parts([*titles, *twins], ["Navy Blue", ""])
    assert parts[:400] == parts[400:]
    assert np.bincount(parts, minlength=3) / 800 == pytest.approx([0.6, 0.1, 0.3], abs=0.07)


def test_the_second_time_products_come_from_the_decoded_copy(products, monkeypatch):
    first = captioned_pictures("product-photos")
    captioned_pictures.cache_clear()
    monkeypatch.setattr(module, "read_mirror", None)
    again = captioned_pictures("product-photos")
    assert torch.equal(first.x, again.x)
    assert (first.captions, first.source) == (again.captions, again.source)
    captioned_pictures.cache_clear()
    monkeypatch.delenv("ETUDES_MIRROR")
    assert captioned_pictures("product-photos").source["kind"] == "cache"


BIRDS = {"001.Black_footed_Albatross": 11, "002.Indigo_Bunting": 3}


def lines(rows) -> str:
    return "".join(" ".join(map(str, row)) + "\n" for row in rows)


@pytest.fixture
def cub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CUB-200-2011 in its authors' layout, with two kinds; and the captions of Reed et al. in theirs."""
    folder = tmp_path / "mirror" / "CUB_200_2011"
    files = [f"{kind}/{kind[4:]}_{i:04}_{i}.jpg" for kind, count in BIRDS.items() for i in range(count)]
    rng = np.random.default_rng(0)
    for k, file in enumerate(files):
        picture, text = folder / "images" / file, folder / "text_c10" / Path(file).with_suffix(".txt")
        for path in (picture, text):
            path.parent.mkdir(parents=True, exist_ok=True)
        shape = (90, 70) if k == 1 else (70, 100, 3)  # some of CUB's pictures are grey
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(picture)
        text.write_text("".join(f"A Bunting-like bird {i}, no albatrosses.\nthis bird is blue.\n" for i in range(5)))
    numbers = range(1, len(files) + 1)
    (folder / "images.txt").write_text(lines(zip(numbers, files, strict=True)))
    (folder / "classes.txt").write_text(lines(enumerate(BIRDS, 1)))
    kinds = [1 + [*BIRDS].index(file.split("/")[0]) for file in files]
    (folder / "image_class_labels.txt").write_text(lines(zip(numbers, kinds, strict=True)))
    (folder / "train_test_split.txt").write_text(lines((n, int(n not in (11, 14))) for n in numbers))
    (folder / "attributes").mkdir()
    (folder.parent / "attributes.txt").write_text(
        "1 has_bill_shape::dagger\n2 has_wing_color::blue\n3 has_size::small\n"
    )
    seen = [(n, a, int(a != 3), 4 if a == 1 else 2, 9.9) for n in numbers for a in (1, 2, 3)]
    # As in the authors' file, a line has a column too many.
    (folder / "attributes" / "image_attribute_labels.txt").write_text(
        lines(seen).replace("2 1 1 4 9.9", "2 1 1 4 0 9.9")
    )
    monkeypatch.setenv("ETUDES_MIRROR", str(folder.parent))
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))
    return folder


def test_birds_come_with_ten_captions_that_name_no_kind_in_the_authors_split(cub):
    d = captioned_pictures("cub-captions")
    assert d.x.shape == (14, 3, 64, 64)
    assert d.classes == ("Black footed Albatross", "Indigo Bunting")
    assert {len(several) for several in d.captions} == {10}
    assert d.captions[3][:2] == ("a like bird no", "this bird is blue")
    assert d.rows("test").tolist() == [10, 13]
    assert d.rows("validation").tolist() == [9]  # every tenth of a kind's training pictures
    assert captioned_pictures("cub-captions", 32).x.shape == (14, 3, 32, 32)


def test_attributes_count_where_somebody_was_certain_of_them(cub):
    assert attribute_captions(cub)["2"] == ["has bill shape dagger"]
    assert captioned_pictures("cub-attributes").captions[0] == ("has bill shape dagger",)


def test_what_is_absent_or_does_not_fit_is_named(cub, monkeypatch):
    (cub / "text_c10" / "002.Indigo_Bunting" / "Indigo_Bunting_0001_1.txt").write_text("\n")
    with pytest.raises(Problem, match=r"no caption of 002.Indigo_Bunting/Indigo_Bunting_0001_1.jpg"):
        captioned_pictures("cub-captions")
    shutil.rmtree(cub / "text_c10")
    with pytest.raises(Problem, match="holds no text_c10; unpack the captions of Reed"):
        captioned_pictures("cub-captions")
    (cub / "train_test_split.txt").write_text("1 1\n")
    with pytest.raises(Problem, match="do not say what picture 2 is"):
        captioned_pictures("cub-attributes")
    (cub / "classes.txt").unlink()
    with pytest.raises(Problem, match=r"holds no classes\.txt"):
        captioned_pictures("cub-attributes")
    with pytest.raises(Problem, match=r"'digits' is a classification set.*reads product-photos"):
        captioned_pictures("digits")
    monkeypatch.delenv("ETUDES_MIRROR")
    with pytest.raises(Problem, match="no source of 'product-photos' can be reached"):
        captioned_pictures("product-photos")


def test_a_picture_that_is_listed_and_not_there_is_named(cub):
    captioned_pictures.cache_clear()
    gone = next((cub / "images").rglob("*.jpg"))
    gone.unlink()
    with pytest.raises(Problem, match=f"holds no images/.*{gone.name}"):
        captioned_pictures("cub-captions")
