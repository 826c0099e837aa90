"""Many prompts, on any Executor: each by itself, or together in one pass over the weights."""

from .dispatch import run
from .requests import Request, parse_request
