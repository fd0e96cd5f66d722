"""Classifiers over pooled features: average, maximum, log-sum-exp, generalised mean and attention, behind one face.

Each takes what a convolutional body gives, features [n, c, h, w], pools the places to one vector and classifies it. It
also says how much every place had to do with that, which is where it looked.
"""

import torch
from torch import Tensor, nn

from etudes.core.errors import Problem


class PooledClassifier(nn.Module):
    """Average pooling and a linear layer (Lin et al. 2014, arXiv:1312.4400, sec. 3.2): features [n, c, h, w] -> logits
    [n, classes]. The others below are made from it.

    As the layer is linear, the logits of a weighted mean of vectors are the weighted mean of their logits.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(in_channels, num_classes)

    def class_scores(self, features: Tensor) -> Tensor:
        """The logits that each place's own vector would get: [n, classes, h, w]. Those of one class are its class
        activation map (Zhou et al. 2016, arXiv:1512.04150, eq. 2), here with the bias."""
        weight = self.classifier.weight.to(features.dtype)
        return nn.functional.conv2d(features, weight[:, :, None, None], self.classifier.bias.to(features.dtype))

    def location_weights(self, features: Tensor) -> Tensor:
        """Each place's share of what is classified: float32 [n, h, w], at least 0, sum 1."""
        n, _, h, w = features.shape
        return features.new_full((n, h, w), 1 / (h * w), dtype=torch.float32)

    def forward(self, features: Tensor) -> Tensor:
        return self.classifier(features.mean((2, 3)))


class MaxPooling(PooledClassifier):
    """The largest value of each channel (Oquab et al. 2015, "Is object localization for free?", sec. 3).

    A place's share is that of the channels which are largest there.
    """

    def location_weights(self, features: Tensor) -> Tensor:
        n, _, h, w = features.shape
        flat = features.flatten(2).float()
        largest = flat == flat.amax(2, keepdim=True)
        return (largest / largest.sum(2, keepdim=True)).mean(1).view(n, h, w)  # ties share

    def forward(self, features: Tensor) -> Tensor:
        return self.classifier(features.amax((2, 3)))


class LogSumExpPooling(PooledClassifier):
    """A smooth maximum of each class's scores over places (Pinheiro and Collobert 2015, arXiv:1411.6228, eq. 2):

        s_k = (1 / r) log( (1 / hw) sum_i exp(r s_ik) ),

    the mean for small r, the maximum for large. A place's share is the derivative of the predicted class's s_k.
    """

    def __init__(self, in_channels: int, num_classes: int, r: float) -> None:
        super().__init__(in_channels, num_classes)
        if r <= 0:
            raise Problem(f"log-sum-exp pooling has r = {r:g}; take r above 0")
        self.r = r

    def location_weights(self, features: Tensor) -> Tensor:
        n, _, h, w = features.shape
        scores = self.class_scores(features).float().flatten(2)
        predicted = self._pool(scores).argmax(1)
        return (self.r * scores[torch.arange(n), predicted]).softmax(1).view(n, h, w)

    def forward(self, features: Tensor) -> Tensor:
        return self._pool(self.class_scores(features).float().flatten(2))

    def _pool(self, scores: Tensor) -> Tensor:
        return (torch.logsumexp(self.r * scores, 2) - torch.tensor(float(scores.shape[2])).log()) / self.r


class GeMPooling(PooledClassifier):
    """The generalised mean of each channel (Radenovic et al. 2019, arXiv:1711.02512, eq. 3):
    f = ( (1 / hw) sum_i x_i^p )^(1 / p), p learnt, 3 at first; features below `eps` count as `eps`. A place's share is
    that of the sum, averaged over channels."""

    def __init__(self, in_channels: int, num_classes: int, p: float = 3.0, eps: float = 1e-4) -> None:
        super().__init__(in_channels, num_classes)
        self.p, self.eps = nn.Parameter(torch.tensor(float(p))), eps

    def _powers(self, features: Tensor) -> Tensor:
        return features.float().clamp_min(self.eps) ** self.p

    def location_weights(self, features: Tensor) -> Tensor:
        powers = self._powers(features)
        return (powers / powers.sum((2, 3), keepdim=True)).mean(1)

    def forward(self, features: Tensor) -> Tensor:
        return self.classifier(self._powers(features).mean((2, 3)) ** (1 / self.p))


class AttentionPooling(PooledClassifier):
    """A mean with learnt weights (Ilse et al. 2018, arXiv:1802.04712, eq. 8): a_i = softmax_i( w' tanh(V x_i) )."""

    def __init__(self, in_channels: int, num_classes: int, hidden: int) -> None:
        super().__init__(in_channels, num_classes)
        self.gate = nn.Sequential(nn.Conv2d(in_channels, hidden, 1), nn.Tanh(), nn.Conv2d(hidden, 1, 1))

    def location_weights(self, features: Tensor) -> Tensor:
        n, _, h, w = features.shape
        return self.gate(features).float().flatten(1).softmax(1).view(n, h, w)

    def forward(self, features: Tensor) -> Tensor:
        return self.classifier(weighted_mean(features, self.location_weights(features)))


def weighted_mean(features: Tensor, weights: Tensor) -> Tensor:
    """The mean vector float32 [n, c] of features [n, c, h, w] under weights [n, h, w] that sum to 1."""
    return (features.float().flatten(2) * weights.flatten(1)[:, None]).sum(2)
