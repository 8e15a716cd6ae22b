"""A plain convolutional encoder that trains in minutes on two cores."""

from collections import OrderedDict

from torch import Tensor, nn

from trainer.modalities.image.encoders.parameter_shapes import SMALL_LAYERS
from trainer.nn.split_batchnorm import FusedAwayReLU, Norm


class SmallEncoder(nn.Sequential):
    """Five 3x3 convolutions, each with batch norm and ReLU, then the mean over the area.

    An nn.Sequential of named standard layers, so that its weights load into ten lines of plain
    torch: [N, C, S, S] to [N, 256] for any S >= 8.
    """

    feature_dim = 256

    def __init__(self, norm: Norm, *, channels: int = 3) -> None:
        """`norm` makes the batch norms; `channels` are those of the images."""
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for name, width_in, width_out, stride in SMALL_LAYERS:
            taken = channels if name == "1" else width_in
            conv = nn.Conv2d(taken, width_out, 3, stride=stride, padding=1, bias=False)
            layers[f"conv{name}"] = conv
            layers[f"bn{name}"] = norm(width_out, relu=True)
            layers[f"relu{name}"] = FusedAwayReLU(inplace=True)
        layers["pool"] = MeanPool()
        layers["flatten"] = nn.Flatten()
        super().__init__(layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def dense(self, x: Tensor) -> Tensor:
        """[N, C, S, S] to the feature map [N, 256, S / 8, S / 8] that is pooled."""
        for name, layer in self.named_children():
            if name not in {"pool", "flatten"}:
                x = layer(x)
        return x


class MeanPool(nn.AdaptiveAvgPool2d):
    """AdaptiveAvgPool2d(1) as a plain mean: [N, C, H, W] to [N, C, 1, 1].

    The same values; the backward pass of a mean is deterministic on every device.
    """

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean over the area."""
        return x.mean((2, 3), keepdim=True)
