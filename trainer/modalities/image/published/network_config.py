"""`config.json` of an encoder of images, for us, timm and transformers."""

from typing import Any

from torch import Tensor, nn

from trainer.modalities.image.preprocessing import RGB, Preprocessing, preprocessing
from trainer.modalities.outputs import Trained
from trainer.nn.timm_keys import timm_key
from trainer.nn.towers import feature_dim
from trainer.spec.job import JobSpec

# What a layer of the small encoder or a head is made from: attributes of the torch layer, by class.
_LAYERS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv2d: ("in_channels", "out_channels", "kernel_size", "stride", "padding"),
    nn.BatchNorm2d: ("num_features",),
    nn.ReLU: (),
    nn.MaxPool2d: ("kernel_size", "stride", "padding"),
    nn.AdaptiveAvgPool2d: ("output_size",),
    nn.Flatten: (),
    nn.Linear: ("in_features", "out_features"),
}


_STEMS = {
    "conv1.weight": ("layer1.0.conv1.weight", 3),
    "features.0.0.weight": ("features.1.0.layer_scale", 2),
}
"""First layer of ResNets and of ConvNeXts -> a key that they alone have, its side where small."""


def has_processor(config: dict[str, Any], steps: Preprocessing) -> bool:
    """Return whether timm's processor, which reads images of 8 bits only, fits the network."""
    return is_timms(config) and steps.is_plain


def steps_of(trained: Trained) -> Preprocessing:
    """Return the steps from an image file to the network's input."""
    return preprocessing(trained.spec, trained.facts)


def config_of(trained: Trained) -> dict[str, Any]:
    """Return `config.json`; that of a classifier has its head and its classes."""
    config = _config(trained.spec, trained.encoder, steps_of(trained))
    if trained.head is not None:
        classes = list(trained.facts.labels)
        config["mocoserve"]["classifier"] = {"classes": classes, "head": layers(trained.head)}
    return config


def layers(encoder: nn.Module) -> list[dict[str, Any]] | None:
    """The layers of a plain chain, each with name, torch class and arguments; else None."""
    if not isinstance(encoder, nn.Sequential):
        return None
    return [_layer(name, child) for name, child in encoder.named_children()]


def _layer(name: str, module: nn.Module) -> dict[str, Any]:
    kind = next(kind for kind in _LAYERS if isinstance(module, kind))
    arguments = {key: _plain(getattr(module, key)) for key in _LAYERS[kind]}
    if isinstance(module, nn.Conv2d):
        arguments["bias"] = module.bias is not None
    return {"name": name, "type": kind.__name__, "args": arguments}


def _plain(value: int | tuple[int, ...]) -> int | list[int]:
    """A square pair as one number."""
    if isinstance(value, tuple):
        return value[0] if len(set(value)) == 1 else list(value)
    return value


def stem(state: dict[str, Tensor]) -> str | None:
    """Return `cifar` or `imagenet` by the first layer of a ResNet or ConvNeXt, else None."""
    for name, (others, small_px) in _STEMS.items():
        if name in state and others in state:
            return "cifar" if state[name].shape[-1] == small_px else "imagenet"
    return None


def patch_px(state: dict[str, Tensor]) -> int | None:
    """Return the side of a ViT's patches; None for other networks."""
    projection = state.get("patch_embed.proj.weight")
    return None if projection is None else projection.shape[-1]


def _config(spec: JobSpec, encoder: nn.Module, steps: Preprocessing) -> dict[str, Any]:
    """Return `config.json`, as timm and Hugging Face read it where timm has the network.

    timm has no 3x3 stem and no `small`: then no architecture is named that would fail to load.
    The key `mocoserve` tells in either case how to rebuild the network.
    """
    state = encoder.state_dict()
    ours = {
        "architecture": spec.encoder.name,
        "stem": stem(state),
        "patch_px": patch_px(state),
        "layers": layers(encoder),
    }
    common = {
        "num_classes": 0,
        "num_features": feature_dim(encoder),
        "in_chans": steps.channels,
        "mocoserve": {key: value for key, value in ours.items() if value is not None},
    }
    if not is_timms(common):
        return common
    return {"architecture": timm_name(common), **common, **_timm_words(common, encoder, steps)}


def is_timms(config: dict[str, Any]) -> bool:
    """Return whether timm can build the network of a `config.json`.

    Its ResNets and ConvNeXts have no first layer for small images.
    """
    return config["mocoserve"].get("stem") == "imagenet" or is_vit(config)


def is_convnext(config: dict[str, Any]) -> bool:
    """Return whether the network of a `config.json` is a ConvNeXt, whose keys are torchvision's."""
    return str(config["mocoserve"]["architecture"]).startswith("convnext")


def is_vit(config: dict[str, Any]) -> bool:
    """Return whether the network of a `config.json` is a ViT."""
    return "patch_px" in config["mocoserve"]


def timm_name(config: dict[str, Any]) -> str:
    """Return timm's name of a network that timm has; a ViT's tells a patch that can be changed."""
    name: str = config["mocoserve"]["architecture"]
    return f"{name}_patch16_224" if is_vit(config) else name


def _classifier(config: dict[str, Any]) -> str:
    """Return timm's name of the classifier, which the encoder lacks."""
    if is_convnext(config):
        return "head.fc"
    return "head" if is_vit(config) else "fc"


def _timm_words(config: dict[str, Any], encoder: nn.Module, steps: Preprocessing) -> dict[str, Any]:
    first_conv = next(name for name, part in encoder.named_modules() if isinstance(part, nn.Conv2d))
    pretrained: dict[str, Any] = {
        "input_size": [steps.channels, steps.side_px, steps.side_px],
        "fixed_input_size": is_vit(config),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": list(steps.mean),
        "std": list(steps.std),
        "num_classes": 0,
        "first_conv": timm_key(f"{first_conv}.weight").removesuffix(".weight"),
        "classifier": _classifier(config),
    }
    arguments: dict[str, Any] = {}
    if is_vit(config):
        arguments = {"img_size": steps.side_px, "patch_size": config["mocoserve"]["patch_px"]}
    if steps.channels != RGB:
        # Without its name timm does not adapt the first convolution to the channels it already has.
        del pretrained["first_conv"]
        arguments["in_chans"] = steps.channels
    words = {"model_args": arguments} if arguments else {}
    pool = "token" if is_vit(config) else "avg"
    return {"global_pool": pool, "pretrained_cfg": pretrained, **words}
