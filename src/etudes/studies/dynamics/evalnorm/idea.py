"""EvalNorm: what a batch's statistics are expected to be, once one of its pictures is known."""

import copy
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from etudes.nn.ghost import GhostNorm

Weight = float | Tensor


class Rule(NamedTuple):
    """Weights of the running statistics beside those of the picture itself.

    `alpha` is of means, `beta` of variances, `cross` of the squared distance of the two means. (1, 1, 0) is batch
    normalisation as it is usually evaluated, (0, 0, 0) instance normalisation.
    """

    alpha: float
    beta: float
    cross: float

    @classmethod
    def of_weights(cls, alpha: float, beta: float) -> "Rule":
        """With the cross term of two distributions that are mixed by alpha."""
        return cls(alpha, beta, alpha * (1 - alpha))

    @classmethod
    def of_batch(cls, group: int) -> "Rule":
        """The rule of thumb: alpha = beta = (B - 1) / B, as one of B pictures is the picture itself."""
        return cls.of_weights(1 - 1 / group, 1 - 1 / group)


def statistics(
    mean: Tensor, variance: Tensor, own_mean: Tensor, own_variance: Tensor, alpha: Weight, beta: Weight, cross: Weight
) -> tuple[Tensor, Tensor]:
    """The mean and variance to normalise a picture by, from the running ones [c] and its own [n, c], all biased.

        mean_i = a m + (1 - a) m_i        variance_i = b v + (1 - b) s_i^2 + cross (m - m_i)^2

    Derived. Of a batch of B pictures with equally many pixels, picture i is one and the other B - 1 have mean m' and
    variance v'. By the law of total variance, with a = (B - 1) / B, the batch has exactly

        m_B = a m' + (1 - a) m_i          v_B = a v' + (1 - a) s_i^2 + a (1 - a) (m' - m_i)^2.

    Let m and v be the averages of m_B and v_B over batches, as running statistics are, and t the variance of the means
    of pictures. Over the choice of the others, m' is m on average with variance t / (B - 1), and v' is
    v + t / B - t / (B - 1) on average. So E[m_B | i] = a m + (1 - a) m_i, and in E[v_B | i] all terms with t cancel:

        E[v_B | i] = a v + (1 - a) s_i^2 + a (1 - a) (m - m_i)^2.

    The rule of thumb is this expectation, and no approximation of it, where v is the average of biased variances of
    batches of that size. But a network is no linear function of variances.

    >>> statistics(*map(torch.tensor, (0.0, 1.0, 2.0, 3.0)), 0.5, 0.5, 0.25)
    (tensor(1.), tensor(3.))
    """
    blend = beta * variance + (1 - beta) * own_variance + cross * (mean - own_mean).square()
    return alpha * mean + (1 - alpha) * own_mean, blend


def biased_variance(norm: GhostNorm, x: Tensor) -> Tensor:
    """The running variance [c] as training divides by: PyTorch keeps it unbiased for the numbers of a group of inputs
    [n, c, h, w], a factor of k / (k - 1) with k = group * h * w that is 2 for two pictures of one pixel."""
    count = max(norm.group, 1) * x.shape[2] * x.shape[3]
    return norm.running_var * ((count - 1) / count)


def picture_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the biased variance of each channel of each picture alone, [n, c], for [n, c, h, w].

    In two passes, several times as fast on a CPU as `torch.var_mean` over the last two dimensions.
    """
    mean = x.mean((2, 3))
    return mean, (x - mean[..., None, None]).square().mean((2, 3))


class EvalNorm(nn.Module):
    """A trained batch normalisation as it is evaluated: pictures [n, c, h, w], each by itself, normalised by a rule."""

    def __init__(self, norm: GhostNorm, rule: Rule) -> None:
        super().__init__()
        self.norm, self.rule = norm, rule

    def forward(self, x: Tensor) -> Tensor:
        running = self.norm.running_mean, biased_variance(self.norm, x)
        mean, variance = statistics(*running, *picture_moments(x.float()), *self.rule)
        scale = self.norm.weight * (variance + self.norm.eps).rsqrt()
        shift = self.norm.bias - mean * scale
        return x * scale[..., None, None] + shift[..., None, None]


def layers(model: nn.Module) -> dict[str, GhostNorm]:
    """The batch normalisations of a network by their names, in its order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, GhostNorm)}


def with_rules(model: nn.Module, rules: Mapping[str, Rule]) -> nn.Module:
    """A copy of the network, in evaluation mode, whose normalisations of these names go by their rules."""
    model = copy.deepcopy(model).eval()
    for name, norm in layers(model).items():
        model.set_submodule(name, EvalNorm(norm, rules[name]))
    return model
