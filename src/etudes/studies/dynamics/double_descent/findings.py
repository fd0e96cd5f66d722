"""What curves of errors over width, or over time, say in numbers."""

import numpy
from numpy import ndarray


def dip_and_peak(errors: ndarray) -> tuple[int, int]:
    """Between which two of the errors [w], in this order, they rise most: (i, j) with i < j and errors[j] - errors[i]
    at its largest, which is negative where they only fall.

    >>> dip_and_peak(numpy.array([0.5, 0.2, 0.4, 0.3]))
    (1, 2)
    """
    rises = errors[None, :] - errors[:, None]
    rises[numpy.tril_indices(len(errors))] = -numpy.inf
    i, j = divmod(int(rises.argmax()), len(errors))
    return i, j


def rises(validation: ndarray, test: ndarray) -> tuple[float, float, float]:
    """(test error at the dip, at the peak, at the end): means over draws of errors [w, draws].

    Where the dip and the peak of a draw are is chosen by the validation errors of the other draws, so that no chance is
    chosen together with what is measured: where there is no peak the expected rise is not above 0. A single draw
    chooses by its own.
    """
    numbers = []
    for draw in range(test.shape[1]):
        others = [other for other in range(test.shape[1]) if other != draw] or [draw]
        i, j = dip_and_peak(validation[:, others].mean(1))
        numbers.append((test[i, draw], test[j, draw], test[-1, draw]))
    dip, peak, end = numpy.mean(numbers, axis=0)
    return float(dip), float(peak), float(end)


def peak_over_threshold(sizes: ndarray, training: ndarray, test: ndarray, limit: float = 0.01) -> float:
    """The size at which the test error [w] peaks over the least at which the training error [w] is below `limit`.

    The largest size stands in where no training error is.
    """
    fits = numpy.flatnonzero(training < limit)
    return float(sizes[dip_and_peak(test)[1]] / sizes[fits[0] if len(fits) else -1])


def early_stopping(validation: ndarray, test: ndarray) -> tuple[ndarray, ndarray]:
    """The (validation, test) errors [w, draws] of each network at the look with its least validation error.

    validation, test: [looks, w, draws].
    """
    best = validation.argmin(0)[None]
    return tuple(numpy.take_along_axis(errors, best, 0)[0] for errors in (validation, test))  # type: ignore[return-value]


def network_findings(widths: ndarray, errors: ndarray, around: tuple[int, ...]) -> dict[str, float]:
    """The numbers of one run, from errors [looks, (train, validation, test), w, draws] of networks of these widths.

    `around` are the widths whose mean test error is told by itself.
    """
    train, validation, test = (errors[:, i] for i in range(3))
    dip, peak, widest = rises(validation[-1], test[-1])
    early_dip, early_peak, early_widest = rises(*early_stopping(validation, test))
    before, after, last = rises(validation[:, -1], test[:, -1])  # over time, of the widest
    return {
        "test/error-dip": dip,
        "test/error-peak": peak,
        "test/error-widest": widest,
        "test/rise": peak - dip,
        "test/rise-stopped": early_peak - early_dip,
        "test/error-stopped-early": early_widest,
        "test/rise-in-time": after - before,
        "test/fall-in-time": after - last,
        "test/error-around": float(test[-1, numpy.isin(widths, around)].mean()),
        "test/peak-over-threshold": peak_over_threshold(widths, train[-1].mean(1), test[-1].mean(1)),
        "train/error-widest": float(train[-1, -1].mean()),
    }
