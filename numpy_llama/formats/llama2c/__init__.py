"""llama2c's .bin: what its header says of it, read and write."""
