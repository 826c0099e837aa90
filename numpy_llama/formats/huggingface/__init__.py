"""Hugging Face directories: config.json and safetensors."""
