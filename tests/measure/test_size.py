from torch import nn

from etudes.measure.size import multiply_adds
from etudes.nn.vgg import vgg


def test_multiply_adds_are_those_of_the_closed_form():
    width, side = 4, 16
    counted = multiply_adds(vgg(3, 10, side, width=width, kind="batch"), (3, side, side))
    expected, channels = 0, 3
    for block in range(3):
        out, places = width * 2**block, (side >> block) ** 2
        expected += 9 * places * out * (channels + out)
        channels = out
    expected += channels * (side // 8) ** 2 * 128 + 128 * 10
    assert counted == expected
    assert multiply_adds(nn.Linear(6, 7), (2, 3, 6)) == 2 * 3 * 6 * 7
