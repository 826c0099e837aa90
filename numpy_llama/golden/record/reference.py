"""Find the model that a golden was recorded from, and make sure that it is that one."""

from ...errors import InputError
from ...loading.open import open_reference
from ...model import Llama
from ...store.find import find_model
from .bundle import Bundle
from .fingerprint import weights_sha256
from .source import path_of


def check_model(bundle: Bundle, model: Llama, name: str) -> Llama:
    """The model itself. Raises InputError unless its weights and config are the golden's."""
    if model.config != bundle.config:
        raise InputError(f"{name}: has another config than the model that the golden is of")
    found = weights_sha256(model)
    if found != bundle.weights_sha256:
        raise InputError(
            f"{name}: its weights have the sha256 {found[:12]}…, those of the golden "
            f"{bundle.weights_sha256[:12]}…: name the model that it was recorded from with -m"
        )
    return model


def load_reference(bundle: Bundle, source: str | None = None) -> Llama:
    """The golden's model in float32, from `source` or from where the golden says that it is.

    A path in the golden is relative to the golden. Raises InputError where there is none, or
    another one.
    """
    name = source or path_of(bundle.source, bundle.place)
    if not name:
        raise InputError("the golden does not say which model it is of: name it with -m")
    return check_model(bundle, open_reference(find_model(name)), name)
