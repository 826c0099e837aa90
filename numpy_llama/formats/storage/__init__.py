"""What files are made of: whole or not at all, directories, zip, strict JSON, narrow floats."""
