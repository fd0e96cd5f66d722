"""Regression on ever more features: random ones of real pictures, and drawn ones, whose errors are known exactly."""

from typing import TYPE_CHECKING

import numpy
from numpy import ndarray

from etudes.core import Run
from etudes.studies.dynamics.double_descent import theory
from etudes.studies.dynamics.double_descent.examples import open_examples
from etudes.studies.dynamics.double_descent.findings import rises

if TYPE_CHECKING:
    from etudes.studies.dynamics.double_descent import Config

PENALTIES = [0.0, *(10.0**power for power in range(-6, 2))]  # of which the best on validation pictures is taken


def regress_pictures(cfg: "Config", run: Run) -> None:
    """Least squares on random features of pictures, against their classes as numbers; what is judged are classes."""
    n = round(cfg.regression_examples * cfg.multiple)
    d = open_examples(cfg, run, n, cfg.regression_draws)
    sizes = [max(1, round(share * cfg.regression_examples)) for share in cfg.features]
    errors = numpy.zeros((3, len(sizes), cfg.regression_draws))
    for draw in range(cfg.regression_draws):
        x, held, tested = (part.flatten(1).double().cpu().numpy() for part in (d.x[draw], d.validation[0], d.test[0]))
        truths = [labels.cpu().numpy() for labels in (d.y[draw], d.validation[1], d.test[1])]
        directions = run.rng("directions", draw).normal(size=(sizes[-1], x.shape[1])) / x.shape[1] ** 0.5
        target = numpy.eye(d.classes)[truths[0]] - 1 / d.classes
        for i, p in enumerate(sizes):
            features = [theory.relu_features(part, directions[:p]) for part in (x, held, tested)]
            found = theory.weights(features[0], target, PENALTIES if cfg.ridge else [0.0])
            wrong = numpy.array([[misses(f @ w, y) for f, y in zip(features, truths, strict=True)] for w in found])
            errors[:, i, draw] = wrong[wrong[:, 1].argmin()]
    for i, p in enumerate(sizes):
        run.log(p, **dict(zip(("train/error", "validation/error", "test/error"), errors[:, i].mean(-1), strict=True)))
    dip, peak, last = rises(errors[1], errors[2])
    twice = errors[2, numpy.abs(numpy.array(cfg.features) - 2).argmin()].mean()  # where twice the examples peak
    numbers = {"test/error-dip": dip, "test/error-peak": peak, "test/error-widest": last, "test/rise": peak - dip}
    run.result(parameters=sizes[-1] * d.classes, **numbers, **{"test/error-around": twice})


def misses(outputs: ndarray, labels: ndarray) -> float:
    """The share of rows of outputs [n, classes] whose largest number is not at the label [n]."""
    return float((outputs.argmax(1) != labels).mean())


def regress_numbers(cfg: "Config", run: Run) -> None:
    """Least squares on drawn features, beside the exact theory; all errors are squared errors."""
    n, total = cfg.regression_examples, round(cfg.features[-1] * cfg.regression_examples)
    law = {"n": n, "total": total, "signal": 1.0, "noise": cfg.answer_noise**2}
    says = f"{n} examples of which ever more of {total} normal features are seen, {cfg.regression_draws} draws a seed"
    run.note(data={"dataset": "normal-regression", "kind": "drawn", "says": says})
    # At p = n the exact error has no bound, and what is measured there says nothing: its two sides take its place.
    shares = [side for share in cfg.features for side in ((0.94, 1.06) if share == 1 else (share,))]
    sizes = [max(1, round(share * n)) for share in shares]
    errors = numpy.zeros((len(sizes), cfg.regression_draws))
    for draw in range(cfg.regression_draws):
        x, y, beta = theory.draw(n, total, 1.0, cfg.answer_noise**2, run.rng("numbers", draw))
        for i, p in enumerate(sizes):
            penalty = theory.best_penalty(p, **law) if cfg.ridge else 0.0
            errors[i, draw] = theory.error(theory.weights(x[:, :p], y, [penalty])[0], beta, cfg.answer_noise**2)
    for i, p in enumerate(sizes):
        exact = theory.expected_error(p, **law)
        if cfg.ridge:
            exact = theory.ridge_error(p, **law, penalty=theory.best_penalty(p, **law))
        run.log(p, **{"test/squared-error": errors[i].mean()}, **({"test/theory": exact} if exact < numpy.inf else {}))
    run.result(**{"test/squared-error-zero": 1 + cfg.answer_noise**2, "test/squared-error-all": errors[-1].mean()})
