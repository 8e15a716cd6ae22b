"""The methods by name. A new one is a folder here, and its spec in `MethodSpec`.

Whatever else a method declares is found in its folder by its name: SIGNALS, SETTINGS, ADVICE and
READING in `spec.py`, RULES in `defaults.py`, `cost` in `cost.py`, `build` in `method.py`. Loads no
tensors.
"""

from importlib import import_module
from types import ModuleType
from typing import Annotated, Any, get_args

from pydantic import Tag

from trainer.methods.byol.spec import BYOLSpec
from trainer.methods.classification.spec import ClassificationSpec
from trainer.methods.moco.spec import MoCoSpec
from trainer.methods.moco_v3.spec import MoCoV3Spec
from trainer.methods.nnclr.spec import NNCLRSpec
from trainer.methods.none.spec import NoneSpec
from trainer.methods.siamese.spec import SiameseSpec
from trainer.methods.simclr.spec import SimCLRSpec
from trainer.methods.supcon.spec import SupConSpec
from trainer.methods.triplet.spec import TripletSpec
from trainer.methods.vicreg.spec import VICRegSpec
from trainer.schema.base import by_name, tags_of

DEFAULT = "moco"
DEFAULTS = {"pretrain": DEFAULT, "finetune": "classification"}
"""Kind of a job -> its method, unless the spec names one."""
_MethodMember = (
    Annotated[MoCoSpec, Tag("moco")]
    | Annotated[SimCLRSpec, Tag("simclr")]
    | Annotated[SupConSpec, Tag("supcon")]
    | Annotated[TripletSpec, Tag("triplet")]
    | Annotated[SiameseSpec, Tag("siamese")]
    | Annotated[BYOLSpec, Tag("byol")]
    | Annotated[MoCoV3Spec, Tag("moco_v3")]
    | Annotated[NNCLRSpec, Tag("nnclr")]
    | Annotated[VICRegSpec, Tag("vicreg")]
    | Annotated[NoneSpec, Tag("none")]
    | Annotated[ClassificationSpec, Tag("classification")]
)
MethodSpec = Annotated[_MethodMember, by_name(DEFAULT, kind="method", names=tags_of(_MethodMember))]


def method_names() -> tuple[str, ...]:
    """Return the names of all methods."""
    return tags_of(_MethodMember)


def methods_of_more_views() -> tuple[str, ...]:
    """Return the names of the methods whose loss takes more than two views of a row."""
    members = (get_args(member) for member in get_args(_MethodMember))
    return tuple(tag.tag for spec, tag in members if getattr(spec, "takes_more_views", False))


def part_of(name: str, part: str) -> ModuleType:
    """Return a module of a method: `spec`, `defaults`, `cost` or `method`."""
    return import_module(f"trainer.methods.{name}.{part}")


def declared(table: str) -> dict[str, Any]:
    """Return one table of all methods' `spec.py` together, such as SIGNALS."""
    return {
        key: value
        for name in method_names()
        for key, value in getattr(part_of(name, "spec"), table).items()
    }
