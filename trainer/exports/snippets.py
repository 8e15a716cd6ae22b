"""Python that loads the files without mocoserve, written for the network at hand."""

from typing import Any

IMPORTS = "import torch\nfrom safetensors.torch import load_file"


def loading(config: dict[str, Any]) -> str:
    """Markdown with code blocks that run in the folder of the files."""
    ours = config["mocoserve"]
    parts = [_block(plain_torch(ours["layers"]) if "layers" in ours else torchvision_code(config))]
    parts.append(
        "`encoder(images)` takes float images [batch, 3, side, side] and gives features "
        f"[batch, {config['num_features']}]. Prepare the images like this:"
    )
    parts.append(_block(preprocess_code(config["pretrained_cfg"])))
    if "layers" not in ours:
        parts.append("With timm:\n\n" + _block(timm_code(config)))
    return "\n\n".join(parts)


def torchvision_code(config: dict[str, Any]) -> str:
    """A ResNet of torchvision; only `fc.*` is missing from the file."""
    arch = config["architecture"]
    lines = [IMPORTS, "import torchvision", "", f"encoder = torchvision.models.{arch}()"]
    lines += _stem(config, "encoder")
    lines += [
        'missing = encoder.load_state_dict(load_file("encoder.safetensors"), strict=False)',
        'assert missing.missing_keys == ["fc.weight", "fc.bias"] and not missing.unexpected_keys',
        "encoder.fc = torch.nn.Identity()",
        "encoder.eval()",
    ]
    return "\n".join(lines)


def timm_code(config: dict[str, Any]) -> str:
    """The same ResNet in timm."""
    lines = ["import timm", IMPORTS, ""]
    lines += [f'encoder = timm.create_model("{config["architecture"]}", num_classes=0)']
    lines += _stem(config, "encoder")
    lines += ['encoder.load_state_dict(load_file("encoder.safetensors"))', "encoder.eval()"]
    return "\n".join(lines)


def plain_torch(layers: list[dict[str, Any]]) -> str:
    """A chain of layers, spelled out."""
    rows = [
        f'    ("{layer["name"]}", nn.{layer["type"]}({_arguments(layer)})),' for layer in layers
    ]
    return "\n".join(
        [
            "from collections import OrderedDict",
            IMPORTS,
            "from torch import nn",
            "",
            "encoder = nn.Sequential(OrderedDict([",
            *rows,
            "]))",
            'encoder.load_state_dict(load_file("encoder.safetensors"))',
            "encoder.eval()",
        ]
    )


def preprocess_code(pretrained: dict[str, Any]) -> str:
    """The transform of `preprocess.json` in torchvision's words."""
    side = pretrained["input_size"][-1]
    return "\n".join(
        [
            "from torchvision.transforms import v2",
            "",
            "preprocess = v2.Compose([",
            "    v2.ToImage(),",
            "    v2.RGB(),",
            "    v2.ToDtype(torch.float32, scale=True),",
            "    v2.Lambda(lambda x: v2.functional.center_crop(x, [min(x.shape[-2:])] * 2)),",
            f"    v2.Resize([{side}, {side}], antialias=True),",
            f"    v2.Normalize({pretrained['mean']}, {pretrained['std']}),",
            "])",
            '# features = encoder(preprocess(PIL.Image.open("image.png"))[None])',
        ]
    )


def _stem(config: dict[str, Any], name: str) -> list[str]:
    """The first layers that a ResNet for small images has instead of its own."""
    if config["mocoserve"].get("stem") != "cifar":
        return []
    return [
        f"{name}.conv1 = torch.nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)",
        f"{name}.maxpool = torch.nn.Identity()",
    ]


def _arguments(layer: dict[str, Any]) -> str:
    """Widths and a kernel's side by place, as people write them, the rest by name."""
    plain = ("in_channels", "out_channels", "num_features", "output_size")
    words = [
        f"{value!r}"
        if key in plain or (key == "kernel_size" and index == 2)
        else f"{key}={value!r}"
        for index, (key, value) in enumerate(layer["args"].items())
    ]
    return ", ".join(words)


def _block(code: str) -> str:
    return f"```python\n{code}\n```"
