"""How texts are made and read fast, by the same model: around it, and not in it."""
