"""Meta's directories and PyTorch's .bin, read without PyTorch: nothing is unpickled."""
