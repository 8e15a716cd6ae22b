"""Python that loads the files without mocoserve, written for the network at hand."""

from typing import Any

from trainer.data.spec import ASPECT_MAX
from trainer.modalities.image.preprocessing import RGB, Preprocessing
from trainer.modalities.image.published.network_config import (
    is_convnext,
    is_timms,
    is_vit,
    timm_name,
)
from trainer.schema.events import ValueMapping

IMPORTS = "import torch\nfrom safetensors.torch import load_file"


def loading(config: dict[str, Any], steps: Preprocessing) -> str:
    """Return Markdown whose code blocks run, in order, in the folder of the files."""
    ours = config["mocoserve"]
    build = plain_torch(ours["layers"]) if "layers" in ours else _library_code(config, steps)
    is_image = not steps.is_deep and steps.channels in (1, RGB)
    image = "Image.open(path)" if is_image else "values"
    parts = [
        _block(build),
        "Every image goes through these steps, which are those of `preprocess.json`:",
        _block(preprocess_code(steps) if is_image else array_code(steps)),
        f"`encoder(preprocess({image})[None])` is then the embedding of an image, a tensor of "
        f"shape [1, {config['num_features']}]. For images of the dataset it is that of "
        "`embeddings.parquet`. `moco embed` does all of this for a folder.",
    ]
    if is_timms(config) and steps.is_plain and steps.channels == RGB:
        parts += ["timm loads the folder as well:", _block(f"{TIMM}\n{TIMM_TRANSFORM}")]
        parts += ["So does transformers, which needs timm:", _block(TRANSFORMERS), APART]
    elif is_timms(config):
        parts += ["timm loads the network as well:", _block(TIMM)]
    return "\n\n".join(parts)


def classifying(config: dict[str, Any]) -> str:
    """Return Markdown on a classifier, whose code runs after that of `loading`."""
    classifier = config["mocoserve"]["classifier"]
    head = _chain("head", classifier["head"])
    return CLASSIFYING.format(code=_block(CLASSIFY.format(head=head)))


CLASSIFYING = """The classifier is this encoder with a head. `classify(image)` gives the probability
of each class:

{code}"""
CLASSIFY = """import json
from collections import OrderedDict
from pathlib import Path
from torch import nn

{head}
weights = load_file("classifier.safetensors")
for prefix, part in (("encoder.", encoder), ("head.", head)):
    own = {{key: value for key, value in weights.items() if key.startswith(prefix)}}
    part.load_state_dict({{key.removeprefix(prefix): value for key, value in own.items()}})
classes = json.loads(Path("config.json").read_text())["mocoserve"]["classifier"]["classes"]


def classify(image):
    with torch.no_grad():
        logits = head(encoder(preprocess(image)[None]))
    return dict(zip(classes, logits.softmax(1)[0].tolist()))"""
TIMM = """import timm

encoder = timm.create_model("local-dir:.", pretrained=True).eval()"""
TIMM_TRANSFORM = (
    "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(encoder))"
)
TRANSFORMERS = """from transformers import AutoImageProcessor, AutoModel

processor = AutoImageProcessor.from_pretrained(".")
model = AutoModel.from_pretrained(".")"""
APART = """The embedding of an RGB image is `encoder(transform(image)[None])` with timm and
`model(**processor(image, return_tensors="pt")).pooler_output` with transformers. Both shrink a file
in one step, while the dataset was stored at a limited size first. For large images their embeddings
therefore differ slightly: the cosine similarity to those above is about 0.999."""


def _library_code(config: dict[str, Any], steps: Preprocessing) -> str:
    return timm_code(config, steps) if is_vit(config) else torchvision_code(config)


def timm_code(config: dict[str, Any], steps: Preprocessing) -> str:
    """Return code for a ViT of timm."""
    patch_px = config["mocoserve"]["patch_px"]
    sizes = f"img_size={steps.side_px}, patch_size={patch_px}, in_chans={steps.channels}"
    return "\n".join(
        [
            IMPORTS,
            "import timm",
            "",
            "encoder = timm.create_model(",
            f'    "{timm_name(config)}", {sizes}, num_classes=0',
            ")",
            'encoder.load_state_dict(load_file("encoder.safetensors"))',
            "encoder.eval()",
        ]
    )


def torchvision_code(config: dict[str, Any]) -> str:
    """Return code for a network of torchvision; only its last layer is missing from the file."""
    arch = config["mocoserve"]["architecture"]
    last, place = ("classifier.2", "classifier[2]") if is_convnext(config) else ("fc", "fc")
    missing = f'["{last}.weight", "{last}.bias"]'
    lines = [IMPORTS, "import torchvision", "", f"encoder = torchvision.models.{arch}()"]
    lines += _convnext_stem(config) if is_convnext(config) else _stem(config, "encoder")
    lines += [
        'missing = encoder.load_state_dict(load_file("encoder.safetensors"), strict=False)',
        f"assert missing.missing_keys == {missing} and not missing.unexpected_keys",
        f"encoder.{place} = torch.nn.Identity()",
        "encoder.eval()",
    ]
    return "\n".join(lines)


def _convnext_stem(config: dict[str, Any]) -> list[str]:
    """Return code for a first layer that is not torchvision's own."""
    channels, is_small = config["in_chans"], config["mocoserve"]["stem"] == "cifar"
    if channels == RGB and not is_small:
        return []
    side = 2 if is_small else 4
    first = f"torch.nn.Conv2d({channels}, encoder.features[0][0].out_channels, {side}, {side})"
    return [f"encoder.features[0][0] = {first}"]


def plain_torch(layers: list[dict[str, Any]]) -> str:
    """Return code for a chain of layers, spelled out."""
    return "\n".join(
        [
            "from collections import OrderedDict",
            IMPORTS,
            "from torch import nn",
            "",
            _chain("encoder", layers),
            'encoder.load_state_dict(load_file("encoder.safetensors"))',
            "encoder.eval()",
        ]
    )


def _chain(name: str, layers: list[dict[str, Any]]) -> str:
    rows = [
        f'    ("{layer["name"]}", nn.{layer["type"]}({_arguments(layer)})),' for layer in layers
    ]
    return "\n".join([f"{name} = nn.Sequential(OrderedDict([", *rows, "]))"])


def preprocess_code(steps: Preprocessing) -> str:
    """Return `preprocess.json` as code for Pillow and torchvision: grey or RGB with 8 bits."""
    return PREPROCESS.format(
        stored=steps.stored_px,
        long=ASPECT_MAX * steps.stored_px,
        filter=steps.shrink_filter.upper(),
        alpha=ON_WHITE if steps.alpha == "white" else "",
        mode="L" if steps.channels == 1 else "RGB",
        seen="" if steps.is_plain else f"    {_seen('pixels', steps.values)}\n",
        crop=_crop(steps),
        mean=list(steps.mean),
        std=list(steps.std),
    )


def array_code(steps: Preprocessing) -> str:
    """Return `preprocess.json` as code for numpy and torchvision: any values and channels."""
    return ARRAY.format(
        stored=steps.stored_px,
        long=ASPECT_MAX * steps.stored_px,
        channels=steps.channels,
        scale=steps.values.scale,
        offset=steps.values.offset,
        low=(steps.values.low - steps.values.offset) / steps.values.scale,
        span=(steps.values.high - steps.values.low) / steps.values.scale,
        crop=_crop(steps),
        mean=list(steps.mean),
        std=list(steps.std),
    )


def _crop(steps: Preprocessing) -> str:
    text = SQUARE_FIRST if steps.crop == "square" else RESIZE_FIRST
    return text.format(side=steps.side_px)


def _seen(name: str, values: ValueMapping) -> str:
    span = values.high - values.low
    return f"{name} = (({name} * 255.0 - {values.low}) / {span}).clamp(0.0, 1.0)"


ON_WHITE = """    if image.has_transparency_data:
        image = image.convert("RGBA")
        low, high = image.getchannel("A").getextrema()
        if low < high:
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
"""
PREPROCESS = """from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional as F


def share(image):
    return min(1.0, {stored} / min(image.size), {long} / max(image.size))


def preprocess(image):
    short, long = sorted(image.size)
    # JPEGs much larger than needed are decoded at a half, a quarter or an eighth of their size.
    image.draft(None, [round(2 * share(image) * side) for side in image.size])
    image = ImageOps.exif_transpose(image)
{alpha}    image = image.convert("{mode}")
    if share(image) < 1.0:  # as the dataset was stored: at most {stored} px
        stored = [max(1, round(share(image) * side)) for side in image.size]
        image = image.resize(stored, Image.Resampling.{filter})
    pixels = F.to_dtype(F.to_image(image), torch.float32, scale=True)
{seen}{crop}
    return F.normalize(pixels, {mean}, {std})"""
ARRAY = """import numpy as np
from torchvision.transforms.v2 import functional as F


def preprocess(values):
    \"\"\"Prepare the values of a file, [height, width, {channels}], as numpy reads them.\"\"\"
    short, long = sorted(values.shape[:2])
    stored = np.rint((values.astype(np.float64) - {offset}) / {scale}).astype(np.float32)
    pixels = torch.from_numpy(stored).permute(2, 0, 1)
    share = min(1.0, {stored} / short, {long} / long)
    if share < 1.0:  # as the dataset was stored: at most {stored} px
        size = [max(1, round(share * side)) for side in pixels.shape[1:]]
        pixels = F.resize(pixels, size, antialias=True).round()
    pixels = ((pixels - {low}) / {span}).clamp(0.0, 1.0)
{crop}
    return F.normalize(pixels, {mean}, {std})"""
RESIZE_FIRST = """    height, width = pixels.shape[1:]
    long = {side} * long // short
    size = [long, {side}] if height > width else [{side}, long]
    pixels = F.center_crop(F.resize(pixels, size, antialias=True), [{side}, {side}])"""
SQUARE_FIRST = """    pixels = F.center_crop(pixels, [min(pixels.shape[1:])] * 2)
    pixels = F.resize(pixels, [{side}, {side}], antialias=True)"""


def _stem(config: dict[str, Any], name: str) -> list[str]:
    """Return code for a first layer that is not torchvision's own."""
    channels = config["in_chans"]
    if config["mocoserve"].get("stem") == "cifar":
        return [
            f"{name}.conv1 = torch.nn.Conv2d({channels}, 64, 3, stride=1, padding=1, bias=False)",
            f"{name}.maxpool = torch.nn.Identity()",
        ]
    if channels == RGB:
        return []
    return [f"{name}.conv1 = torch.nn.Conv2d({channels}, 64, 7, stride=2, padding=3, bias=False)"]


def _arguments(layer: dict[str, Any]) -> str:
    """Widths and a kernel's side by place, as people write them, the rest by name."""
    plain = {"in_channels", "out_channels", "num_features", "output_size"}
    plain |= {"in_features", "out_features"}
    words = [
        f"{value!r}"
        if key in plain or (key == "kernel_size" and index == 2)
        else f"{key}={value!r}"
        for index, (key, value) in enumerate(layer["args"].items())
    ]
    return ", ".join(words)


def _block(code: str) -> str:
    return f"```python\n{code}\n```"
