"""The classifier that judges generated pictures, where no network of the field does: trained on the same set."""

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from etudes.core.files import read_json
from etudes.core.run import Run
from etudes.data.batches import Batches
from etudes.data.images import Images, unit
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.measure.error import error_rate
from etudes.nn.norm import Standardise
from etudes.nn.resnet import preact_resnet
from etudes.train.distribute import part, wait
from etudes.train.loop import fit
from etudes.train.recipe import Recipe, descend, scheduled, seeded


def judge(run: Run, d: Images, width: int, steps: int) -> tuple[nn.Sequential, float]:
    """A classifier of pictures [n, c, h, w] in [0, 1], and its test error; one for all variants of a seed.

    In evaluation mode. A residual network, its last layer sees 4 * width features; `steps` batches of 128 by Adam.
    """
    recipe = Recipe(steps=steps, lr=3e-3, schedule="linear")

    def make() -> nn.Sequential:
        return nn.Sequential(Standardise(d.mean, d.std), *preact_resnet(d.shape[0], d.classes, width, (0, 1, 1)))

    def learn(own: Run) -> None:
        model, batches = seeded(own, "judge", make), Batches(len(d.x), recipe.batch, own.seed("judge order"))
        opt = torch.optim.Adam(model.parameters(), recipe.lr)
        schedule = scheduled(opt, recipe)

        def step(i: int) -> dict[str, Tensor]:
            pick = batches.at(i)
            x, y = part(unit(d.x[pick].to(own.device)), one_hot(d.y[pick].to(own.device), d.classes))
            return {"train/loss": descend(cross_entropy(model(x), y), opt, schedule)}

        fit(own, {"model": model, "opt": opt, "schedule": schedule}, step, steps, log_every=recipe.log_every)
        own.result(**{"test/error": error_rate(model, d.test_x.to(own.device), d.test_y.to(own.device))})
        if own.leader:
            save_model(model, str(own.path("judge.safetensors")))

    folder = run.once("judge", {"dataset": d.name, "side": d.shape[1], "width": width, "steps": steps}, learn)
    wait()  # until the leader has written
    model = make()
    load_model(model, folder / "judge.safetensors")
    return model.to(run.device).eval(), read_json(folder / "result.json", f"delete {folder}")["test/error"]
