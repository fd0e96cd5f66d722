"""What can be told without a network: from how often tokens and words stand beside each other."""

import numpy as np
import torch
from torch import Tensor

SPAN = 1024  # hidden places whose chances are held at once


def neighbours(tokens: Tensor) -> np.ndarray:
    """The two tokens before each and the two after, int64 [4, n, t]: nearest before, nearest after, then the farther
    ones; 0 beyond a row's ends."""
    padded = torch.nn.functional.pad(tokens, (2, 2)).numpy()
    t = tokens.shape[1]
    return np.stack([padded[:, 2 + shift : 2 + shift + t] for shift in (-1, 1, -2, 2)])


def chances(seen: np.ndarray, told: np.ndarray, asked: np.ndarray, vocabulary: int) -> np.ndarray:
    """The chances [m, vocabulary] of each token at places with the neighbours asked [4, m], from training places with
    neighbours seen [4, n] and tokens told [n].

    Two models' mean. One sees nothing, then the token before, then also the one after, and the second before and after;
    the other begins with the token after. Each is interpolated with the one that sees less by Witten and Bell's rule,
    as in `etudes.measure.ngrams`; a neighbourhood never met, such as one with a hidden token in it, adds nothing.
    """
    counts = np.bincount(told, minlength=vocabulary) + 1.0
    mean = np.zeros((asked.shape[1], vocabulary))
    for order in ((0, 1, 2, 3), (1, 0, 3, 2)):
        found = np.broadcast_to(counts / counts.sum(), mean.shape)
        inside, outside = np.zeros(len(told), np.int64), np.zeros(asked.shape[1], np.int64)
        for side in order:
            inside, outside = inside * vocabulary + seen[side], outside * vocabulary + asked[side]
            contexts, which = np.unique(outside, return_inverse=True)
            at = np.searchsorted(contexts, inside).clip(max=len(contexts) - 1)
            met = contexts[at] == inside
            grams = at[met] * vocabulary + told[met]
            table = np.bincount(grams, minlength=len(contexts) * vocabulary).reshape(-1, vocabulary)[which]
            total, kinds = table.sum(1, keepdims=True), (table > 0).sum(1, keepdims=True)
            found = np.where(total > 0, (table + kinds * found) / np.maximum(total + kinds, 1), found)
        mean += found / 2
    return mean


def baseline_bits(windows: Tensor, inputs: Tensor, chosen: Tensor, tokens: Tensor) -> dict[str, float]:
    """Bits for a hidden token of the test windows, and the share told right, of whoever knows the training windows:
    how often tokens occur (unigram), and with which two tokens before and after them (neighbours)."""
    vocabulary = int(max(windows.max(), tokens.max())) + 1
    beside = neighbours(windows)
    ordinary = (windows >= 0).numpy()
    ordinary[:, 0] = False  # what begins a row is never asked
    seen, told = beside[:, ordinary], windows.numpy()[ordinary]
    asked, truth = neighbours(inputs)[:, chosen.numpy()], tokens[chosen].numpy()
    counts = np.bincount(told, minlength=vocabulary) + 1.0
    bits, right = 0.0, 0
    for start in range(0, len(truth), SPAN):
        some = truth[start : start + SPAN]
        found = chances(seen, told, asked[:, start : start + SPAN], vocabulary)
        bits -= np.log2(found[np.arange(len(some)), some]).sum()
        right += int((found.argmax(1) == some).sum())
    return {
        "test/bits-unigram": float(np.log2(counts.sum()) - np.log2(counts[truth]).mean()),
        "test/accuracy-unigram": float((truth == counts.argmax()).mean()),
        "test/bits-neighbours": bits / len(truth),
        "test/accuracy-neighbours": right / len(truth),
    }


def count_words_accuracy(x: Tensor, y: Tensor, test_x: Tensor, test_y: Tensor, first: int) -> float:
    """The share of test rows whose class naive Bayes tells from how often which tokens occur, those from `first` on;
    one is added to every count."""
    size = int(max(x.max(), test_x.max())) + 1
    bags = [torch.stack([torch.bincount(row, minlength=size) for row in rows]).double() for rows in (x, test_x)]
    for bag in bags:
        bag[:, :first] = 0
    counts = torch.stack([bags[0][y == label].sum(0) + 1 for label in range(int(y.max()) + 1)])
    logs = (counts / counts.sum(1, keepdim=True)).log()
    prior = (torch.bincount(y).double() / len(y)).log()
    return ((bags[1] @ logs.T + prior).argmax(1) == test_y).double().mean().item()
