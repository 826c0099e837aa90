"""`python -m numpy_llama` is `llama-np`."""

from .commands import main

main(prog_name="llama-np")
