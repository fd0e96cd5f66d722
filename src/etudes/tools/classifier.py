"""A classifier of pictures by which generated ones are measured, where no network of the field fits the set."""

from torch import Tensor, nn

from etudes.core import Run
from etudes.data.batches import Batches
from etudes.data.images import Images, unit
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.measure.error import error_rate
from etudes.nn.norm import Standardise
from etudes.nn.resnet import preact_resnet
from etudes.train import Adam, adam, descend, fit, part, seeded, weights


def classifier(run: Run, d: Images, width: int, steps: int) -> tuple[nn.Sequential, float]:
    """A classifier of pictures [n, c, h, w] in [0, 1], and its test error; one for all variants of a seed.

    In evaluation mode. A residual network, its last layer sees 4 * width features; `steps` batches of 128 by Adam.
    """
    recipe = Adam(steps=steps, lr=3e-3, schedule="linear")

    def make() -> nn.Sequential:
        return nn.Sequential(Standardise(d.mean, d.std), *preact_resnet(d.shape[0], d.classes, width, (0, 1, 1)))

    def learn(own: Run) -> None:
        model, batches = seeded(own, "judge", make), Batches(len(d.x), recipe.batch, own.seed("judge order"))
        opt, schedule = adam(model, recipe)

        def step(i: int) -> dict[str, Tensor]:
            rows = batches.at(i)
            x, y = part(unit(d.x[rows].to(own.device)), one_hot(d.y[rows].to(own.device), d.classes))
            return {"train/loss": descend(cross_entropy(model(x), y), opt, schedule)}

        fit(own, {"model": model, "opt": opt, "schedule": schedule}, step, steps, log_every=recipe.log_every)
        own.result(**{"test/error": error_rate(model, d.test_x.to(own.device), d.test_y.to(own.device))})
        weights.save(own.path("model.safetensors"), model)

    made = run.once("classifier", {"dataset": d.name, "side": d.shape[1], "width": width, "steps": steps}, learn)
    model = weights.load(made.folder / "model.safetensors", make())
    return model.to(run.device), made.metrics["test/error"]
