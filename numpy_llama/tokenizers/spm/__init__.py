"""SentencePiece vocabularies: tokenizer.model, read strictly, and the tokenizer."""
