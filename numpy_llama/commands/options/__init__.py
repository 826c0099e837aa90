"""The options that several commands share, and the help that shows them."""

from .model import (
    check_positions,
    context_option,
    device_option,
    dtype_option,
    load_text,
    model_option,
    stream_option,
    threads_option,
)
from .text import (
    chat_template_option,
    parse_ids,
    sampling_options,
    several,
    system_option,
    text_options,
)

__all__ = [
    "chat_template_option",
    "check_positions",
    "context_option",
    "device_option",
    "dtype_option",
    "load_text",
    "model_option",
    "parse_ids",
    "sampling_options",
    "several",
    "stream_option",
    "system_option",
    "text_options",
    "threads_option",
]
