"""What a PyTorch pickle may call, and what each call gives: a description of a tensor, no more.

Source: PyTorch, torch/_utils.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_AXES = 8

STORAGES = {
    "torch.DoubleStorage": "F64",
    "torch.FloatStorage": "F32",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
}


@dataclass(frozen=True)
class Storage:
    """A run of elements in the archive, under the name `data/{key}`."""

    dtype: str
    key: str
    length: int  # in elements


@dataclass(frozen=True)
class View:
    """A tensor: which elements of a storage it consists of. Offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Refused(Exception):
    """Why a pickle is not read, without the name of the file."""


def whole(value: object) -> bool:
    """Whether `value` is a count: a whole number from 0 (True is not one)."""
    return type(value) is int and value >= 0


def make_view(storage: Any, offset: Any, shape: Any, strides: Any) -> View:
    """A View, once it is certain that all of its elements lie within the storage.

    The last element is at offset + Σ (nᵢ - 1)·sᵢ. More elements than the storage has would repeat
    some of them, which is how a file of a few bytes claims terabytes.
    """
    if not isinstance(storage, Storage):
        raise Refused("rebuilds a tensor from something that is not a storage")
    if not (isinstance(shape, tuple) and isinstance(strides, tuple) and whole(offset)):
        raise Refused("rebuilds a tensor from an offset, shape or strides of the wrong kind")
    if len(shape) != len(strides) or len(shape) > MAX_AXES:
        raise Refused(f"has a tensor with {len(shape)} axes and {len(strides)} strides")
    if not all(whole(n) for n in shape + strides):
        raise Refused("has a tensor with a negative or non-integer size or stride")
    count, last = 1, offset
    for n, stride in zip(shape, strides, strict=True):
        count *= n
        last += (n - 1) * stride
    if count > storage.length or (last >= storage.length if count else offset > storage.length):
        raise Refused(
            f"has a tensor that reaches beyond the {storage.length} elements of its storage"
        )
    return View(storage, offset, tuple(shape), tuple(strides))


def rebuild_tensor(*args: Any) -> View:
    """torch._utils._rebuild_tensor(_v2): the view, then whether it learns, its hooks, metadata."""
    if len(args) not in (4, 6, 7):
        raise Refused(f"rebuilds a tensor from {len(args)} arguments")
    if any(isinstance(extra, dict) and extra for extra in args[5:]):
        raise Refused("has a tensor with hooks or metadata, which plain weights do not have")
    return make_view(*args[:4])


def rebuild_parameter(*args: Any) -> View:
    """torch._utils._rebuild_parameter(tensor, requires_grad, hooks): the tensor."""
    if len(args) != 3 or not isinstance(args[0], View):
        raise Refused("rebuilds a parameter from something that is not a tensor")
    return args[0]


def ordered_dict(*args: Any) -> dict[str, Any]:
    """collections.OrderedDict(), empty: the items follow."""
    if args:
        raise Refused("makes an OrderedDict with arguments")
    return {}


def size(*args: Any) -> tuple[int, ...]:
    """torch.Size(tuple): the tuple."""
    if len(args) != 1 or not isinstance(args[0], tuple):
        raise Refused("makes a torch.Size from something that is not a tuple")
    return args[0]


CALLABLE: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": ordered_dict,
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch.Size": size,
}
