"""torchvision's ResNets without their classifier."""

from collections.abc import Callable
from functools import partial

from torch import nn
from torchvision.models import resnet

from trainer.batchnorm import SplitBatchNorm2d
from trainer.encoders.small import MeanPool

BUILDERS: dict[str, Callable[..., resnet.ResNet]] = {
    "resnet18": resnet.resnet18,
    "resnet34": resnet.resnet34,
    "resnet50": resnet.resnet50,
}


def build_resnet(name: str, *, cifar_stem: bool, bn_splits: int) -> nn.Module:
    """[N, 3, S, S] to [N, feature_dim]; the state dict is torchvision's but for `fc.*`.

    `cifar_stem`: a 3x3 convolution of stride 1 and no pooling in front, as the MoCo authors take
    for 32 px; `conv1.weight` is then [64, 3, 3, 3]. torchvision's own code does the rest.
    """
    norm = partial(SplitBatchNorm2d, splits=bn_splits)
    network: nn.Module = BUILDERS[name](weights=None, norm_layer=norm)
    assert isinstance(network.fc, nn.Linear)
    feature_dim = network.fc.in_features
    if cifar_stem:
        network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()  # a layer that is left out
    network.avgpool = MeanPool()
    network.fc = nn.Identity()  # the feature is the output
    # nn.Module admits any attribute; its types admit tensors and modules only.
    network.feature_dim = feature_dim  # type: ignore[assignment]
    return network
