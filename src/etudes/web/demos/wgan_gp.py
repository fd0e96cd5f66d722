"""A walk between two pictures of a trained generator, and a critic's landscape while it is trained on this page."""

import dataclasses
import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from etudes.core import catalogue
from etudes.core.errors import Problem, unknown
from etudes.core.record import Record
from etudes.exhibits.plane import plane
from etudes.measure.error import evaluation_mode
from etudes.measure.transport import wasserstein
from etudes.studies.generative.wgan_gp import Config
from etudes.studies.generative.wgan_gp.domains import plane as plane_domain
from etudes.studies.generative.wgan_gp.findings import REACH, landscape, samples
from etudes.studies.generative.wgan_gp.losses import estimate
from etudes.studies.generative.wgan_gp.networks import picture_generator
from etudes.studies.generative.wgan_gp.steps import optimiser, update_critic, update_generator
from etudes.train import weights
from etudes.web.demos import look, networks, pictures
from etudes.web.demos.networks import Offer

STUDY = "wgan-gp"
OFFERS = (Offer(STUDY, "laptop", ("gp-norm",)), Offer(STUDY, "fashion", ("gp-norm",)))
METHODS = {"a penalty on the slope": "points-gp", "clipped weights": "points-clip", "a GAN": "points-gan"}
DATA = ("8-gaussians", "swiss-roll", "25-gaussians")
STOPS = 9  # pictures of the way
LARGEST = 10_000  # number of a picture
FRAMES = 10  # looks at a training
FEWEST, MOST = 100, 1600  # generator steps of one
SIDE = 120  # of the landscape: values, each of three pixels
SECONDS = 60.0  # after which a training is given up


# The walk


@functools.lru_cache(maxsize=4)
def _generator(folder: Path, values: tuple[tuple[str, Any], ...]) -> nn.Sequential:
    cfg, file = Config(**dict(values)), folder / networks.WEIGHTS
    numbers = _last_layer(file) // (cfg.side**2 if cfg.generator == "mlp" else 1)
    shape = (numbers, cfg.side, cfg.side)
    made = picture_generator(cfg.noise, shape, cfg.channels, cfg.generator_norm, cfg.activation, cfg.generator)
    return weights.load(file, made)


def _last_layer(file: Path) -> int:
    """How many numbers, or channels of pictures, the last layer of a kept network gives: as its bias has."""
    with safe_open(file, "pt") as kept:
        biases = [name for name in kept.keys() if name.endswith("bias")]  # noqa: SIM118, no dict
        last = max(biases, key=lambda name: [int(part) for part in name.split(".") if part.isdigit()])
        return int(kept.get_slice(last).get_shape()[0])


def generator(record: Record) -> nn.Sequential:
    """The trained generator of a run."""
    return _generator(record.folder, tuple(record.spec.config.items()))


def latent(record: Record, number: int) -> Tensor:
    """The noise [noise] that picture `number` is made of."""
    if not 0 <= number <= LARGEST:
        raise Problem(f"pictures have the numbers 0 to {LARGEST:,}, not {number}")
    chance = torch.Generator().manual_seed(number)
    return torch.randn(record.spec.config["noise"], generator=chance)


def between(a: Tensor, b: Tensor, share: float) -> Tensor:
    """The noise at a share of the way from a to b: [noise], along the arc and not the chord between them.

    sin((1 - s) w) / sin(w) a + sin(s w) / sin(w) b with w the angle between a and b (Shoemake 1985): Gaussian noise
    of many numbers lies near a sphere, whose middle no training has seen.
    """
    if not 0 <= share <= 1:
        raise Problem(f"the share of the way is between 0 and 1, not {share}")
    angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    if torch.sin(angle) < 1e-6:
        return torch.lerp(a, b, share)
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def draw(record: Record, noise: Tensor) -> Tensor:
    """The pictures [n, c, h, w] in [0, 1] of noise [n, noise]."""
    model = generator(record)
    with evaluation_mode(model):
        return ((model(noise) + 1) / 2).clamp(0, 1)


def walk(record: Record, first: int, second: int, share: float) -> tuple[str, str]:
    """The picture at a share of the way between two, and stops of the whole way, as HTML."""
    ends = latent(record, first), latent(record, second)
    shares = [share, *(i / (STOPS - 1) for i in range(STOPS))]
    made = draw(record, torch.stack([between(*ends, s) for s in shares]))
    zoom = max(1, 128 // made.shape[-1])
    here = look.strip([(pictures.address(made[0], 2 * zoom), f"{share:.2f} of the way from {first} to {second}")])
    way = zip(made[1:], shares[1:], strict=True)
    return here, look.strip([(pictures.address(x, zoom), f"{s:.2f}") for x, s in way])


# The landscape


@dataclass(frozen=True)
class Frame:
    """A look at a training: its generator step, the exact distance, the critic's estimate, and the plane's address."""

    step: int
    distance: float
    estimate: float
    picture: str


def settings(method: str, data: str, penalty: float, clip: float, steps: int) -> Config:
    """The study's own at laptop scale, with these changed, and so many generator steps. Raises Problem on what is not
    offered."""
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if data not in DATA:
        raise unknown("distribution", data, DATA)
    if not (0.01 <= penalty <= 100 and 0.001 <= clip <= 1):
        raise Problem("take a lambda of 0.01 to 100 and a clip of 0.001 to 1")
    if not FEWEST <= steps <= MOST:
        raise Problem(f"take {FEWEST} to {MOST} generator steps")
    cfg = Config(**catalogue.find(STUDY).configs["laptop"][METHODS[method]])
    total = steps * (cfg.critic_steps + 1)
    return dataclasses.replace(cfg, data=data, penalty=penalty, clip=clip, point_steps=total)


def train(cfg: Config) -> Iterator[Frame]:
    """The looks at a training of points: before it, and FRAMES more."""
    seed = time.time_ns()  # another training each time

    def rng(name: str, step: int = 0) -> numpy.random.Generator:
        return numpy.random.default_rng([seed, len(name), step])

    d = plane_domain(cfg, rng, lambda name, make: make(), torch.device("cpu"))
    assert d.generator is not None
    opts = [optimiser(cfg, network) for network in (d.critic, d.generator)]
    constant = [LambdaLR(opt, lambda _: 1.0) for opt in opts]
    steps = cfg.point_steps // (cfg.critic_steps + 1)
    begun = time.monotonic()
    yield _frame(cfg, d, 0)
    for i in range(steps):
        for k in range(cfg.critic_steps):
            update_critic(cfg, d, opts[0], constant[0], i * cfg.critic_steps + k)
        update_generator(cfg, d, opts[1], constant[1], cfg.point_batch)
        if (i + 1) % max(1, steps // FRAMES) == 0:
            yield _frame(cfg, d, i + 1)
        if time.monotonic() - begun > SECONDS:
            raise Problem(f"the training took more than {SECONDS:.0f} seconds; take fewer steps")


def _frame(cfg: Config, d: Any, step: int) -> Frame:
    made = samples(d, len(d.test))
    with evaluation_mode(d.critic):
        seen = estimate(cfg.method, d.critic(d.test), d.critic(made)).item()
    pixels = torch.from_numpy(plane(landscape(d.critic, SIDE), [d.test, made], REACH)).permute(2, 0, 1).float() / 255
    return Frame(step, wasserstein(made, d.test), seen, pictures.address(pixels, 1))


def show(frames: list[Frame], at: int) -> tuple[str, str]:
    """One of the looks, and both distances over all of them, as HTML; "" without any."""
    if not frames:
        return "", ""
    frame = frames[min(max(at, 0), len(frames) - 1)]
    words = f"step {frame.step}: exact distance {frame.distance:.2f}, the critic's estimate {frame.estimate:.3g}"
    figure = f'<figure><img src="{frame.picture}" alt="{words}"><figcaption>{words}</figcaption></figure>'
    film = f'<div class="strip film">{figure}</div>'
    steps = [f.step for f in frames]
    charts = [
        look.lines([("", colour, steps, values, False)], says=says, x_axis="generator step", y_axis="distance")
        for colour, says, values in (
            (look.BLUE, "Exact distance", [f.distance for f in frames]),
            (look.ORANGE, "The critic's estimate", [f.estimate for f in frames]),
        )
    ]
    return film, "".join(charts)


def build(root: Path) -> gr.Blocks:
    study = catalogue.find(STUDY)

    def list_records() -> dict[str, Record]:
        found = networks.find_records(study, root)
        return {name: record for name, record in found.items() if record.spec.config["data"] == "pictures"}

    def about(name: str | None) -> str:
        record = list_records().get(name or "")
        if not record:
            return look.loading_note("No generator is trained yet: train one below; the small one takes seconds.")
        return look.loading_note(networks.describe(record, "test/frechet", "Fréchet distance of its samples"))

    @look.explain
    def step_out(name: str | None, first: float, second: float, share: float) -> tuple[str, str]:
        if not name:  # nothing is trained yet, as the line above says
            return "", ""
        return walk(networks.choose(list_records(), name), int(first), int(second), float(share))

    @look.explain
    def learn(method: str, data: str, penalty: float, clip: float, steps: float) -> Iterator[tuple[Any, ...]]:
        frames: list[Frame] = []
        for frame in train(settings(method, data, float(penalty), float(clip), int(steps))):
            frames.append(frame)
            yield (*show(frames, len(frames) - 1), len(frames) - 1, frames)

    with gr.Blocks(title="A generator and its critic") as page:
        look.title(
            "A generator and its critic",
            "A generator turns noise into pictures; a critic tells how far they are from the data. Walk between two of "
            "the generator's pictures, then watch a critic's landscape while both are trained on points in a plane.",
        )
        model, line = networks.chooser(list_records, about, OFFERS)
        values, drawn = _walk()
        for part in (model, *values):
            part.change(step_out, [model, *values], drawn, show_progress="hidden", trigger_mode="always_last")
        page.load(step_out, [model, *values], drawn, show_progress="hidden")
        chosen, buttons, frames, at, film = _landscape()
        begun = buttons[0].click(learn, chosen, [*film, at, frames], show_progress="hidden")
        buttons[1].click(None, cancels=[begun])
        at.input(show, [frames, at], film, show_progress="hidden", queue=False)
        networks.renew(page, list_records, about, model, line, OFFERS, root)
    return page


def _walk() -> tuple[list[Any], list[gr.HTML]]:
    """The numbers of two pictures and the share of the way; where the picture and the way are shown."""
    with gr.Row():
        first = gr.Number(1, precision=0, minimum=0, maximum=LARGEST, label="From picture number")
        second = gr.Number(2, precision=0, minimum=0, maximum=LARGEST, label="to picture number")
    share = gr.Slider(0, 1, 0.5, step=0.01, label="Share of the way")
    here = gr.HTML(min_height=150)
    gr.HTML('<p class="soft">The whole way, in eight steps: the noise turns from that of one to that of the other</p>')
    return [first, second, share], [here, gr.HTML(min_height=150)]


def _landscape() -> tuple[list[Any], list[gr.Button], gr.State, gr.Slider, list[gr.HTML]]:
    """What is trained, its buttons, the looks at it, which of them is shown, and where."""
    gr.HTML(
        "<h2>The critic's landscape</h2>"
        '<p class="soft">Blue: data; orange: samples; the darker the higher the critic\'s value, with level lines. The '
        "generator climbs. The exact distance is what moving the samples onto the data takes at least.</p>"
    )
    with gr.Row():
        method = gr.Radio(list(METHODS), value=next(iter(METHODS)), label="The critic has")
        data = gr.Radio(list(DATA), value=DATA[0], label="Data")
    with gr.Row():
        penalty = gr.Number(0.1, minimum=0.01, maximum=100, label="Weight of the penalty, lambda")
        clip = gr.Number(0.1, minimum=0.001, maximum=1, label="Largest weight, with clipped weights")
    steps = gr.Slider(FEWEST, MOST, 800, step=100, label="Generator steps")
    with gr.Row():
        buttons = [gr.Button("Train on points", variant="primary"), gr.Button("Stop")]
    frames: gr.State = gr.State([])
    at = gr.Slider(0, FRAMES, 0, step=1, label="Look at the training")
    with gr.Row():
        film = [gr.HTML(min_height=300), gr.HTML(min_height=300)]
    return [method, data, penalty, clip, steps], buttons, frames, at, film
