"""Run the command line from a clone: python cli.py generate "Once upon a time"."""

from numpy_llama.commands import main

if __name__ == "__main__":
    main(prog_name="llama-np")
