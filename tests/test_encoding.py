import io

import pytest

from etudes import encoding


def written(text: str, name: str) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=name)
    encoding.settle(stream)
    stream.write(text)
    stream.flush()
    return stream.buffer.getvalue().decode(name)


@pytest.mark.parametrize(
    ("text", "ascii"),
    [
        ("mean −0.5 ± 0.1 [–, ∞]", "mean -0.5 +- 0.1 [-, inf]"),
        ("Il était une fois un œuf à Besançon", "Il etait une fois un oeuf a Besancon"),
        ("“quoted” … 3 × 4 ≤ 12", '"quoted" ... 3 x 4 <= 12'),
        ("études 数", "etudes ?"),
        ("\ud800", "?"),
    ],
)
def test_letters_that_a_stream_lacks_become_the_nearest(text, ascii):
    assert written(text, "ascii") == ascii


def test_letters_that_a_stream_has_stay():
    assert written("été − œuf", "latin-1") == "été - oeuf"
    assert written("été − œuf", "utf-8") == "été − œuf"
    assert written("été − œuf", "cp1252") == "été - œuf"
