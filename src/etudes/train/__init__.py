"""What a study's program is made of: `from etudes.train import fitted, opened, seeded`.

| I need ... | it is |
|---|---|
| the fields of a recipe | `Steps`, `Sgd`, `Adam` |
| the fields of a picture set, alone or with `Sgd` | `PictureSet`, `PictureRecipe` |
| a picture set, its subset drawn and noted | `opened` |
| some of its training pictures kept for validation | `hold_out` |
| the pictures of step i | `shown` |
| a network whose first weights follow from the run's seed | `seeded` |
| an optimiser with its schedule | `sgd`, `adam`, `scheduled` |
| one step down a gradient | `descend` |
| the loop, with log, checkpoints and exact resume | `fit`, `fitted` |
| this process's rows of a batch | `part` |
| numbers that survive a kill | `Rows`, and `run.logged(name)` |
| averaged weights | `EMA` |
| weights kept with the run | `weights.save`, `weights.load` |
| masks that prune weights, exact to the count | `pruning.layer_masks`, `pruning.hold` |
| many tiny networks trained at once | `many.Together` |
| task vectors: weights subtracted, added, scaled | `arithmetic.minus`, `arithmetic.plus`, `arithmetic.scaled` |
"""

from etudes.train import arithmetic, many, pruning, weights
from etudes.train.distribute import part, shard
from etudes.train.ema import EMA
from etudes.train.loop import fit, fitted
from etudes.train.pictures import HeldOut, PictureRecipe, PictureSet, hold_out, opened, shown
from etudes.train.recipe import Adam, Sgd, Steps, adam, descend, scheduled, seeded, sgd
from etudes.train.rows import Rows

__all__ = [
    "EMA", "Adam", "HeldOut", "PictureRecipe", "PictureSet", "Rows", "Sgd", "Steps", "adam", "arithmetic", "descend",
    "fit", "fitted", "hold_out", "many", "opened", "part", "pruning", "scheduled", "seeded", "sgd", "shard", "shown",
    "weights",
]  # fmt: skip
