"""What a server of the hub answers, without a server."""

import json
from pathlib import Path

from numpy_llama.store.hub import announce, wanted
from numpy_llama.store.verify import guarded, listed
from tests.fuzz.format import Build, Format
from tests.fuzz.mutate import mutated_json
from tests.hub_server import Hub, model_info

NAME = "some-org/tiny-llama"


def answer(folder: Path) -> Format:
    """As pulling treats it: parsed by the hub's package, then looked at."""
    from huggingface_hub import ModelInfo

    files = {"config.json": b"{}", "model.safetensors": b"x" * 100, "tokenizer.model": b"y"}

    def use(folder: Path, content: bytes) -> None:
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):
            return  # the package's own error, which `reason` puts into a sentence
        with guarded():
            info = ModelInfo(**data)
            there = listed(info)
            files = wanted(NAME, list(there))
            announce(NAME, str(info.sha), {each: there[each].size for each in files}, str)

    hub = Hub(NAME, files, large={"model.safetensors"})
    return Format(json.dumps(model_info(hub)).encode(), use, mutated_json)


FORMATS: dict[str, Build] = {"the hub's answer": answer}
