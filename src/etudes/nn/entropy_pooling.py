"""Entropy pooling: places whose own vectors are classified with certainty weigh more.

Paper: Information Entropy Based Feature Pooling for Convolutional Neural Networks, Wan et al. 2019, ICCV,
DOI 10.1109/ICCV.2019.00350. What its abstract fixes: the importance of a place is the certainty of the class prediction
made from its feature vector, measured by information entropy, in training and in inference. The formula of the weights
is ours, as we had no text of the paper; it has the properties that the idea asks for (see `entropy_weights`).
"""

import math
from typing import Literal

import torch
from torch import Tensor

from etudes.core.errors import Problem
from etudes.nn.pooling import PooledClassifier, weighted_mean

Form = Literal["exponential", "linear"]


def certainty(scores: Tensor) -> Tensor:
    """1 - H / log k in [0, 1] of every place: float32 [n, h, w], from its logits over k classes, scores [n, k, h, w].

    H = - sum_k p_k log p_k is the information entropy of p = softmax(scores): 0 for a place that is sure of one class,
    log k for one to which all classes are equally likely. Raises Problem on fewer than two classes.
    """
    k = scores.shape[1]
    if k < 2:
        raise Problem("the entropy of a prediction needs two classes or more")
    log_p = scores.float().log_softmax(1)
    return 1 + (log_p.exp() * log_p).sum(1) / math.log(k)


def entropy_weights(scores: Tensor, sharpness: float, form: Form = "exponential") -> Tensor:
    """The weights of places float32 [n, h, w] from their logits [n, k, h, w], by the certainty c_i of each:

        exponential:  w_i = exp(s c_i) / sum_j exp(s c_j)            linear:  w_i = (1 + s c_i) / sum_j (1 + s c_j)

    with sharpness s >= 0. Either way weights are above 0 and sum to 1, grow with certainty, are equal where all
    predictions are equally uncertain, and go with their places when these are permuted. s = 0 is the plain mean.
    """
    if sharpness < 0:
        raise Problem(f"entropy pooling has a sharpness of {sharpness:g}; take 0 or more")
    certain = sharpness * certainty(scores).flatten(1)
    weights = certain.softmax(1) if form == "exponential" else (1 + certain) / (1 + certain).sum(1, keepdim=True)
    return weights.view(scores.shape[0], *scores.shape[2:])


class EntropyPooling(PooledClassifier):
    """Features [n, c, h, w] -> logits [n, classes] of their mean under `entropy_weights`; as many parameters as average
    pooling, for which it can stand in.

    The classifier that names the picture also tells how certain each place is. `active` is False while places are to
    weigh alike, as early in training, when no prediction means anything yet. With `stop_gradient` the weights are
    constants to the gradient, which else also moves features to where they make weights that help.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        sharpness: float = 5.0,
        form: Form = "exponential",
        stop_gradient: bool = False,
    ) -> None:
        super().__init__(in_channels, num_classes)
        if sharpness < 0:
            raise Problem(f"entropy pooling has a sharpness of {sharpness:g}; take 0 or more")
        self.sharpness, self.form, self.stop_gradient = sharpness, form, stop_gradient
        self.active = True

    def location_weights(self, features: Tensor) -> Tensor:
        if not self.active:
            return super().location_weights(features)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.stop_gradient):
            return entropy_weights(self.class_scores(features), self.sharpness, self.form)

    def forward(self, features: Tensor) -> Tensor:
        return self.classifier(weighted_mean(features, self.location_weights(features)))
