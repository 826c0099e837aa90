"""From a checkpoint's tensors to the model's arrays: resident or streamed."""
