"""Names of weights in timm, where they differ from the encoder's own. Loads no tensors."""

_BLOCK = {"0": "conv_dw", "2": "norm", "3": "mlp.fc1", "5": "mlp.fc2"}
"""Layer of a ConvNeXt block in torchvision -> in timm."""
LAYER_SCALE = "layer_scale"
"""Scale of a ConvNeXt block: [C, 1, 1] in torchvision, [C] in timm."""


def timm_key(key: str) -> str:
    """Return timm's name of a parameter.

    ResNets and ViTs have timm's names already; those of a ConvNeXt are torchvision's.
    """
    match key.split("."):
        case ["features", "0", layer, parameter]:
            return f"stem.{layer}.{parameter}"
        case ["features", stage, block, name] if name == LAYER_SCALE:
            return f"stages.{int(stage) // 2}.blocks.{block}.gamma"
        case ["features", stage, block, "block", layer, parameter]:
            return f"stages.{int(stage) // 2}.blocks.{block}.{_BLOCK[layer]}.{parameter}"
        case ["features", stage, layer, parameter]:
            return f"stages.{int(stage) // 2}.downsample.{layer}.{parameter}"
        case ["classifier", "0", parameter]:
            return f"head.norm.{parameter}"
    return key
