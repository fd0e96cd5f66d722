import pytest
import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.measure.size import count_parameters
from etudes.nn.norm import BatchNorm, Standardise, norm, recalibrate
from etudes.nn.resnet import preact_resnet
from etudes.nn.vgg import vgg


def test_networks_have_the_published_numbers_of_parameters():
    # 550,570: the tutorials' VGG; 11,171,146: preact_resnet18 of kuangliu/pytorch-cifar, computed below layer by layer.
    assert count_parameters(vgg(3, 10)) == 550_570
    stages = [(64, 64), (64, 128), (128, 256), (256, 512)]
    blocks = sum(9 * a * b + 9 * b * b + 18 * b * b + 2 * a + 6 * b + (a * b if a != b else 0) for a, b in stages)
    assert count_parameters(preact_resnet(3, 10, 64, (2, 2, 2, 2))) == 27 * 64 + blocks + 2 * 512 + 5130


@pytest.mark.parametrize(("make", "side"), [(lambda: vgg(1, 7, 16), 16), (lambda: preact_resnet(1, 7, 4, (1, 2)), 8)])
def test_networks_map_pictures_to_logits(make, side):
    assert make()(torch.rand(3, 1, side, side)).shape == (3, 7)


def test_vgg_takes_normalisation_and_dropout_in_both_orders():
    def after_pools(order):
        layers = list(vgg(3, 10, kind="batch", rates=(0.1, 0.2, 0.3, 0.4), order=order))
        kinds = [type(layer).__name__ for layer in layers]
        assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == [0.1, 0.2, 0.3, 0.4]
        return [kinds[i + 1 : i + 3] for i, kind in enumerate(kinds) if kind == "MaxPool2d"]

    assert after_pools("norm-dropout") == [["BatchNorm", "Dropout"]] * 3
    assert after_pools("dropout-norm") == [["Dropout", "BatchNorm"]] * 3
    assert not any(isinstance(layer, nn.Dropout | BatchNorm) for layer in vgg(3, 10))


def test_group_norms_are_those_of_their_definitions():
    x = torch.randn(4, 16, 5, 5)
    (layer,), (instance,), (group,) = norm("layer", 16), norm("instance", 16), norm("group", 16)
    mean, variance = x.mean((1, 2, 3), keepdim=True), x.var((1, 2, 3), keepdim=True, correction=0)
    assert torch.allclose(layer(x), (x - mean) / (variance + 1e-5).sqrt(), atol=1e-5)
    assert torch.allclose(layer(x), nn.LayerNorm([16, 5, 5], elementwise_affine=False)(x), atol=1e-5)
    assert torch.allclose(instance(x), nn.InstanceNorm2d(16)(x), atol=1e-5)
    halves = [nn.functional.layer_norm(part, part.shape[1:]) for part in x.split(2, dim=1)]
    assert torch.allclose(group(x), torch.cat(halves, 1), atol=1e-5)
    with pytest.raises(Problem, match="12 channels do not fall into 8 groups"):
        norm("group", 12)
    with pytest.raises(Problem, match="did you mean 'batch'"):
        norm("bach", 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_group_norm_in_channels_last_is_torchs_and_stays_there(dtype):
    (group,) = norm("group", 16)
    x = torch.randn(4, 16, 5, 5, dtype=dtype)
    last = group(x.to(memory_format=torch.channels_last))
    assert torch.equal(last, nn.GroupNorm(8, 16)(x))
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert group(x).is_contiguous()


@pytest.mark.parametrize("kind", ["none", "batch", "layer", "instance", "group"])
def test_norms_stand_behind_dense_layers_too(kind):
    assert vgg(3, 10, 16, width=8, kind=kind)(torch.rand(3, 3, 16, 16)).shape == (3, 10)


def test_a_preactivation_block_keeps_its_input_where_the_shape_does_not_change():
    model = preact_resnet(3, 10, 8, (1,))
    block = model[1]
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(block(x), x)


def test_batch_norm_is_torchs_in_one_process():
    ours, theirs = BatchNorm(4), nn.BatchNorm2d(4)
    x = torch.randn(6, 4, 3, 3)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_var, theirs.running_var)


def test_recalibration_gives_the_statistics_of_the_batches():
    model = nn.Sequential(BatchNorm(2), nn.Conv2d(2, 3, 1), BatchNorm(3)).eval()
    batches = [torch.randn(8, 2, 3, 3) * 3 + 1 for _ in range(4)]
    recalibrate(model, batches)
    means = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    variances = torch.stack([b.var((0, 2, 3)) for b in batches]).mean(0)
    assert torch.allclose(model[0].running_mean, means, atol=1e-6)
    assert torch.allclose(model[0].running_var, variances, atol=1e-5)
    assert not model.training
    assert model[0].momentum == 0.1


def test_standardised_pictures_have_mean_0_and_deviation_1():
    x = torch.rand(500, 3, 4, 4) * torch.tensor([1.0, 0.5, 0.1])[:, None, None]
    y = Standardise(x.mean((0, 2, 3)), x.std((0, 2, 3)))(x)
    assert torch.allclose(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(y.std((0, 2, 3)), torch.ones(3), atol=1e-5)
