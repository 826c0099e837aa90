"""Which mistakes explain a candidate: runs of models that have them, and what they leave."""
