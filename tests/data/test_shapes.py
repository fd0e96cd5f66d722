import torch

from etudes.data.colour import lab
from etudes.data.shapes import LABELS, PALETTE, shapes


def test_shapes_follow_from_their_seed():
    a, b = shapes(20, 5, 16), shapes(20, 5, 16)
    assert torch.equal(a.x, b.x)
    assert a.source["fingerprint"] == b.source["fingerprint"]
    assert (a.x.shape, a.test_x.shape, a.classes) == ((20, 3, 16, 16), (5, 3, 16, 16), len(LABELS))
    assert not torch.equal(a.x, shapes(20, 5, 16, seed=1).x)


def test_each_shape_has_the_colours_of_its_palette_and_by_chance():
    d = shapes(300, 2, 16)
    ab = lab(d.x.double() / 255)[:, 1:]
    for label, name in enumerate(LABELS):
        chosen = ab[d.y == label]
        strongest = chosen.flatten(2).norm(dim=1).argmax(1)
        colours = chosen.flatten(2)[torch.arange(len(chosen)), :, strongest]
        nearest = torch.cdist(colours, torch.tensor(PALETTE[name], dtype=torch.float64))
        assert nearest.min(1).values.max() < 3
        counts = torch.bincount(nearest.argmin(1), minlength=len(PALETTE[name])) / len(chosen)
        assert (counts > 0.8 / len(PALETTE[name])).all()
