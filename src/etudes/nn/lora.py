"""Low-rank adaptation of matrices and convolutions: W is frozen, and a product of two thin ones is added and trained.

LoRA (Hu et al. 2021, arXiv:2106.09685) trains W + (alpha / r) B A in place of W, with r far below the size of W.
Of a matrix [out, in], A is [r, in] and B is [out, r]. Of a k x k filter there are three ways to do that, by where the
k x k pixels are looked at:

    k-1   A is k x k to r channels, B is 1 x 1: as in the authors' ConvLoRA and in peft
    1-k   A is 1 x 1 to r channels, B is k x k
    k-k   both are k x k: the change then sees 2 k - 1 pixels, and is no filter of k x k

The first two are filters of k x k again, whatever the stride, dilation, padding and groups, since what lies between
A and B is neither padded nor bent. So they are computed as one convolution with W + (alpha / r) B A, in training too,
where that filter is smaller than the pictures. Only the gradients of A and B go through r channels.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem, unknown

Order = Literal["k-1", "1-k", "k-k"]
ORDERS = ("k-1", "1-k", "k-k")
Place = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]  # stride, padding, dilation and groups


def low_rank_filter(a: Tensor, b: Tensor, scaling: float, groups: int = 1) -> Tensor:
    """The change of a filter, W' - W = scaling B A [out, in / groups, k, k] (arXiv:2106.09685, sec. 4.1, eq. 3).

    a: [groups r, in / groups, k, k] and b: [out, r, 1, 1], or a with 1 x 1 and b with k x k pixels.

    >>> low_rank_filter(torch.ones(2, 3, 5, 5), torch.ones(4, 2, 1, 1), 0.5).unique()
    tensor([1.])
    """
    factors = b.unflatten(0, (groups, -1)), a.unflatten(0, (groups, -1))
    return scaling * torch.einsum("gorkl,grikl->goikl", *factors).flatten(0, 1)


class LowRankConv(nn.Module):
    """A convolution [n, in, h, w] -> [n, out, h', w'] that is frozen, and its change of rank `rank` that is trained.

    B is 0 at first, so that nothing is changed before the first step (sec. 4.1); A is drawn as PyTorch draws filters.
    With groups the rank is that of every group. The change is scaled by alpha / rank.
    Raises Problem on an unknown order, and on a rank below 1 or above what the filter has.
    """

    def __init__(self, base: nn.Conv2d, order: Order = "k-1", rank: int = 8, alpha: float = 16.0) -> None:
        super().__init__()
        if order not in ORDERS:
            raise unknown("order of the factors", order, ORDERS)
        if not 1 <= rank <= full_rank(base):
            raise Problem(f"the rank is {rank}, but a filter {list(base.weight.shape)} has 1 to {full_rank(base)}")
        self.base = base.requires_grad_(False)
        self.scaling = alpha / rank
        self.wide = order == "k-k" and max(base.kernel_size) > 1  # the change sees more pixels than the filter
        shapes = _shapes(base, order, rank)
        self.a, self.b = (nn.Parameter(base.weight.new_zeros(shape)) for shape in shapes)
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        # Always the base's own padding: peft and loralib make A without the padding's mode or the dilation.
        x, padding = _pad(self.base, x)
        place = (self.base.stride, padding, self.base.dilation, self.base.groups)
        if self.wide:
            return self._wide(x, place)
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        with torch.autocast(x.device.type, enabled=False):
            return _Convolve.apply(x.to(dtype), self.base.weight, self.base.bias, self.a, self.b, self.scaling, place)

    def _wide(self, x: Tensor, place: Place) -> Tensor:
        """The sum of both paths. A keeps the number of pixels; the rest is the base's."""
        stride, padding, dilation, groups = place
        sizes = zip(self.base.kernel_size, dilation, strict=True)
        around = [pixels for k, d in sizes for pixels in _around(k, d)][::-1]
        inner = functional.conv2d(functional.pad(x, around), self.a, None, 1, 0, dilation, groups)
        change = functional.conv2d(inner, self.scaling * self.b, None, stride, padding, dilation, groups)
        return functional.conv2d(x, self.base.weight, self.base.bias, stride, padding, dilation, groups) + change

    def change(self) -> Tensor:
        """What is added to the filter, of the filter's shape. Raises Problem where no filter of that size does it."""
        if self.wide:
            k = max(self.base.kernel_size)
            raise Problem(
                f"two factors of {k} x {k} see {2 * k - 1} x {2 * k - 1} pixels, which no filter of {k} x {k} does: "
                "they cannot be merged; take the order 'k-1' or '1-k'"
            )
        return low_rank_filter(self.a, self.b, self.scaling, self.base.groups)

    @torch.no_grad()
    def merge(self) -> nn.Conv2d:
        """The base with the change added to its filter: it computes what this does, in the time of the base. Raises
        Problem where that cannot be."""
        change = self.change()
        self.base.weight += change
        return self.base


class LowRankLinear(nn.Module):
    """A linear layer [..., in] -> [..., out] that is frozen, and its change of rank `rank` that is trained.

    B is 0 at first, so that nothing is changed before the first step (sec. 4.1); A is drawn as PyTorch draws matrices.
    The change is scaled by alpha / rank. Raises Problem on a rank below 1 or above what the matrix has.
    """

    def __init__(self, base: nn.Linear, rank: int = 8, alpha: float = 16.0) -> None:
        super().__init__()
        if not 1 <= rank <= min(base.weight.shape):
            sizes = list(base.weight.shape)
            raise Problem(f"the rank is {rank}, but a matrix {sizes} has 1 to {min(sizes)}")
        self.base = base.requires_grad_(False)
        self.scaling = alpha / rank
        self.a = nn.Parameter(base.weight.new_empty(rank, base.in_features, dtype=_trained_type(base.weight)))
        self.b = nn.Parameter(self.a.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        out = self.base(x)
        inner = functional.linear(x, self.a.to(x.dtype)).view(-1, len(self.a))
        # One call adds the change to the base's output: no product of the output's size is made beside it.
        flat = out.view(-1, len(self.b))
        return torch.addmm(flat, inner, self.b.to(x.dtype).t(), alpha=self.scaling).view_as(out)

    def change(self) -> Tensor:
        """What is added to the matrix: scaling B A [out, in] (sec. 4.1, eq. 3)."""
        return self.scaling * (self.b @ self.a)

    @torch.no_grad()
    def merge(self) -> nn.Linear:
        """The base with the change added to its matrix, rounded once: it computes what this does, in the base's time.

        A matrix in bf16 keeps 8 bits of each number, so that a change below a 512th of it is lost; merge in fp32 what
        has been trained little.
        """
        weight = self.base.weight
        weight.copy_(weight.to(self.a.dtype) + self.change())
        return self.base


def _trained_type(weight: Tensor) -> torch.dtype:
    """fp32 for what is trained of weights with fewer bits: steps would be lost in their rounding."""
    return torch.promote_types(weight.dtype, torch.float32)


class _Convolve(torch.autograd.Function):
    """A convolution with the filter W + scaling B A, whose gradients of A and B take the way through r channels.

    Where the filter has more numbers than the input, as on the small pictures at a network's end, the changed filter
    would be the largest thing in memory: there both convolutions are made and added. Kept for the way back is the
    input; and the filter where it is one of fewer bits, a copy in any case.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float, place: Place
    ) -> Tensor:
        apart = weight.numel() > x.numel()
        own = _like(weight, x) if apart else _filter(x, weight, a, b, scaling, place)
        again = weight.dtype == x.dtype
        ctx.save_for_backward(x, weight if again else own, a, b)
        ctx.scaling, ctx.place, ctx.apart, ctx.again = scaling, place, apart, again
        out = functional.conv2d(x, own, None if bias is None else bias.to(x.dtype), *place)
        if apart:
            first, last = _places(a, place)
            inner = functional.conv2d(x, a.to(x.dtype), None, *first)
            out += functional.conv2d(inner, (scaling * b).to(x.dtype), None, *last)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b = ctx.saved_tensors
        place, wanted = ctx.place, ctx.needs_input_grad[0]
        if not ctx.apart and weight.numel() < 2 * (a.numel() + b.numel()):
            return _by_the_whole_filter(ctx, gradient)
        first, last = _places(a, place)
        thin_a, thin_b = a.to(x.dtype), (ctx.scaling * b).to(x.dtype)
        inner = functional.conv2d(x, thin_a, None, *first)
        grad_inner, grad_b = _backward(gradient, inner, thin_b, last, (True, True))
        del inner
        grad_x, grad_a = _backward(grad_inner, x, thin_a, first, (wanted and ctx.apart, True))
        del grad_inner
        if wanted:
            again = ctx.again and not ctx.apart
            own = _filter(x, weight, a, b, ctx.scaling, place) if again else _like(weight, x)
            straight, _ = _backward(gradient, x, own, place, (True, False))
            grad_x = straight.add_(grad_x) if ctx.apart else straight
        return grad_x, None, None, grad_a.to(a.dtype), ctx.scaling * grad_b.to(b.dtype), None, None


def _by_the_whole_filter(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients by way of the whole filter's: less work where A and B together are more than half as large."""
    x, weight, a, b = ctx.saved_tensors
    own = _filter(x, weight, a, b, ctx.scaling, ctx.place) if ctx.again else weight
    grad_x, grad_filter = _backward(gradient, x, own, ctx.place, (ctx.needs_input_grad[0], True))
    with torch.enable_grad():
        factors = [factor.detach().requires_grad_() for factor in (a, b)]
        change = low_rank_filter(*factors, ctx.scaling, ctx.place[3])
    grads = torch.autograd.grad(change, factors, grad_filter.to(change.dtype))
    return grad_x, None, None, *grads, None, None


def _places(a: Tensor, place: Place) -> tuple[Place, Place]:
    """Where A and B are moved over the picture: the one of 1 x 1 pixel by pixel."""
    plain: Place = ((1, 1), (0, 0), (1, 1), place[3])
    return (plain, place) if a.shape[2:] == (1, 1) else (place, plain)


def _backward(gradient: Tensor, x: Tensor, weight: Tensor, place: Place, wanted: tuple[bool, bool]) -> tuple[Any, Any]:
    """The gradients of a convolution's input and filter, of those the `wanted`. torch.nn.grad has the same, but makes
    and fills an input or a filter of the full size that is only looked at for its shape."""
    stride, padding, dilation, groups = place
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, dilation, False, (0, 0), groups, (*wanted, False)
    )[:2]


def _filter(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, scaling: float, place: Place) -> Tensor:
    """weight + low_rank_filter(a, b), of the type and in the memory format of x: one product of matrices and one copy.

    With the channels last both orders are such a product: [out, r] [r, k k in], or [out k k, r] [r, in].
    """
    groups = place[3]
    out, channels, *size = weight.shape
    of_weight, of_a, of_b = (t.permute(0, 2, 3, 1) for t in (weight, a, b))
    left = of_b.reshape(groups, -1, b.shape[1])
    right = of_a.reshape(groups, b.shape[1], -1)
    rows = of_weight.reshape(groups, left.shape[1], right.shape[2])
    changed = torch.baddbmm(rows, left, right, alpha=scaling).view(out, *size, channels).permute(0, 3, 1, 2)
    return _like(changed, x)


def _like(weight: Tensor, x: Tensor) -> Tensor:
    """The filter, of the type and in the memory format of x."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return weight.to(x.dtype, memory_format=torch.channels_last if last else torch.contiguous_format)


def _shapes(base: nn.Conv2d, order: Order, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    of_a, of_b = (base.kernel_size if side == "k" else (1, 1) for side in order.split("-"))
    return (base.groups * rank, base.in_channels // base.groups, *of_a), (base.out_channels, rank, *of_b)


def _around(size: int, dilation: int) -> tuple[int, int]:
    """Pixels before and after that keep the number of pixels under a filter of `size`."""
    pixels = dilation * (size - 1)
    return pixels - pixels // 2, pixels // 2


def _pad(base: nn.Conv2d, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """The input with that padding added which a convolution cannot add itself, and the padding that it can."""
    if base.padding_mode == "zeros" and not isinstance(base.padding, str):
        return x, tuple(base.padding)
    pixels: list[int] = []
    for axis in (1, 0):  # as functional.pad takes them: the last axis first
        if base.padding == "same":
            pixels += _around(base.kernel_size[axis], base.dilation[axis])[::-1]
        else:
            pixels += [0, 0] if base.padding == "valid" else [base.padding[axis]] * 2
    mode = "constant" if base.padding_mode == "zeros" else base.padding_mode
    return functional.pad(x, pixels, mode), (0, 0)


def full_rank(base: nn.Conv2d) -> int:
    """The largest rank that a change of the filter can have, in every group, with k x k pixels looked at in A."""
    return min(base.out_channels // base.groups, base.in_channels // base.groups * math.prod(base.kernel_size))


def added_parameters(base: nn.Conv2d, order: Order, rank: int) -> int:
    """The numbers in A and B."""
    return sum(math.prod(shape) for shape in _shapes(base, order, rank))


def adapt(
    model: nn.Module,
    order: Order = "k-1",
    rank: int = 8,
    alpha: float = 16.0,
    where: Callable[[str], bool] = lambda name: True,
) -> list[str]:
    """The names of the convolutions that were replaced, in place, by adapted ones; all else of the model is frozen.

    Replaced are those that `where` takes by their names, as long as A and B have fewer numbers than the filter: the
    depthwise convolutions of an EfficientNet have no rank to save. Raises Problem where none is left.
    """
    model.requires_grad_(False)
    names = [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d)
        and where(name)
        and rank <= full_rank(layer)
        and added_parameters(layer, order, rank) < layer.weight.numel()
    ]
    if not names:
        raise Problem(f"no convolution is larger than its change of rank {rank}; take a smaller rank or other layers")
    for name in names:
        device = model.get_submodule(name).weight.device
        _replace(model, name, LowRankConv(model.get_submodule(name), order, rank, alpha).to(device))
    return names


def adapt_linear(
    model: nn.Module, rank: int = 8, alpha: float = 16.0, where: Callable[[str], bool] = lambda name: True
) -> list[str]:
    """The names of the linear layers that were replaced, in place, by adapted ones; all else of the model is frozen.

    Replaced are those that `where` takes by their names. Raises Problem where there is none, and on a rank that one of
    them cannot have; then nothing is changed but what is frozen.
    """
    model.requires_grad_(False)
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and where(name)}
    if not layers:
        raise Problem("no linear layer has one of the names that are to be adapted; look at model.named_modules()")
    adapted = {name: LowRankLinear(layer, rank, alpha) for name, layer in layers.items()}
    for name, layer in adapted.items():
        _replace(model, name, layer)
    return list(adapted)


def merge(model: nn.Module) -> nn.Module:
    """The model with every adapted layer replaced, in place, by a plain one that computes the same.

    Raises Problem, before anything is changed, where one of them cannot be merged.
    """
    kinds = (LowRankConv, LowRankLinear)
    adapted = {name: layer for name, layer in model.named_modules() if isinstance(layer, kinds)}
    for layer in adapted.values():
        layer.change()
    for name, layer in adapted.items():
        _replace(model, name, layer.merge())
    return model


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    above, _, own = name.rpartition(".")
    setattr(model.get_submodule(above), own, layer)
