"""torchvision's ResNets without their classifier."""

from typing import Literal

from torch import Tensor, nn
from torchvision.models import resnet

from trainer.modalities.image.encoders.parameter_shapes import RESNETS
from trainer.modalities.image.encoders.small_convnet import MeanPool
from trainer.nn.split_batchnorm import FusedAwayReLU, Norm


class _Basic(resnet.BasicBlock):  # type: ignore[misc]  # torchvision has no types
    """torchvision's block; its ReLUs, and the addition of the shortcut, are done by the norms."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, D, H', W']."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.bn1(self.conv1(x))
        out = self.bn2(self.conv2(out), shortcut)
        return out  # noqa: RET504  # typed, as torchvision's parts are not


class _Bottleneck(resnet.Bottleneck):  # type: ignore[misc]  # the same
    """torchvision's block; its ReLUs, and the addition of the shortcut, are done by the norms."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, D, H', W']."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.bn1(self.conv1(x))
        out = self.bn2(self.conv2(out))
        out = self.bn3(self.conv3(out), shortcut)
        return out  # noqa: RET504  # typed, as torchvision's parts are not


class _ResNet(resnet.ResNet):  # type: ignore[misc]  # the same
    """torchvision's network, which also gives its last feature map."""

    def dense(self, x: Tensor) -> Tensor:
        """[N, C, S, S] to the feature map [N, D, h, w] that is pooled."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x


Stem = Literal["imagenet", "cifar", "cifar-torch"]
"""The first layer; `cifar-torch` keeps the initial weights that torch gives a convolution."""


def build_resnet(name: str, *, stem: Stem, norm: Norm, channels: int = 3) -> nn.Module:
    """Build a network [N, C, S, S] to [N, feature_dim], with torchvision's keys but for `fc.*`.

    A CIFAR stem is a 3x3 convolution of stride 1 without pooling, as the MoCo authors take for
    32 px; `conv1.weight` is then [64, C, 3, 3]. torchvision's own code does the rest.
    """
    shape = RESNETS[name]
    network: nn.Module = _ResNet(
        _Bottleneck if shape.is_bottleneck else _Basic,
        [*shape.depths],
        width_per_group=shape.width,
        norm_layer=norm,
    )
    assert isinstance(network.fc, nn.Linear)
    feature_dim = network.fc.in_features
    if stem != "imagenet":
        first = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        if stem == "cifar":
            nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
        network.conv1, network.maxpool = first, nn.Identity()  # a layer that is left out
    elif channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    _let_norms_rectify(network)
    network.avgpool = MeanPool()
    network.fc = nn.Identity()  # the feature is the output
    # nn.Module admits any attribute; its types admit tensors and modules only.
    network.feature_dim = feature_dim  # type: ignore[assignment]
    return network


def _let_norms_rectify(network: nn.Module) -> None:
    """Have every norm apply the ReLU that follows it; none follows that of a shortcut."""
    for parent in network.modules():
        if isinstance(parent, resnet.ResNet | _Basic | _Bottleneck):
            parent.relu = FusedAwayReLU(inplace=True)
            for name, child in parent.named_children():
                if name.startswith("bn"):
                    child.relu = True
