"""llama2.c's tokenizer.bin, judged by run.c's encode written out in Python."""

import pytest

from numpy_llama.tokenizers import load_tokenizer
from tests.tokenizers.strings import strings
from tests.tokenizers.vocabularies import llama2c_bytes, processor, train_sentencepiece


def run_c_encode(text: str, vocab: dict[str, int], scores: list[float]) -> list[int]:
    """A space, characters (bytes + 3 where unknown), then the best pair until there is none."""
    ids = [vocab[" "]] if text else []
    for character in text:
        known = vocab.get(character)
        ids += [known] if known is not None else [byte + 3 for byte in character.encode()]
    texts = {token: piece for piece, token in vocab.items()}
    while True:
        pairs = [vocab.get(texts[a] + texts[b]) for a, b in zip(ids, ids[1:], strict=False)]
        best = [(scores[token], -i, token) for i, token in enumerate(pairs) if token is not None]
        if not best:
            return ids
        _, i, token = max(best)
        ids[-i : -i + 2] = [token]


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "tokenizer.bin").write_bytes(llama2c_bytes(train_sentencepiece()))
    return load_tokenizer(tmp_path)


def test_ids_are_run_cs(tokenizer):
    sp = processor(train_sentencepiece())
    pieces = [sp.id_to_piece(i).replace("\u2581", " ") for i in range(sp.piece_size())]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    scores = [sp.get_score(i) for i in range(sp.piece_size())]
    # A ▁ in the text is a space for SentencePiece, and three bytes for run.c, which has no ▁.
    for text in [text for text in strings() if "\u2581" not in text][:1000]:
        expected = run_c_encode(text, vocab, scores)
        assert tokenizer.encode(text) == [1, *expected], text
        assert tokenizer.decode(expected) == text


def test_what_run_c_has_in_its_code(tokenizer):
    assert (tokenizer.bos_id, tokenizer.eos_ids, tokenizer.adds_bos) == (1, (2,), True)
    assert tokenizer.pieces([0, 1, 2, 3 + 0x0A]) == [" ⁇ ", "<s>", "</s>", "\n"]


def test_a_file_of_weights_has_it_beside(tokenizer, tmp_path):
    (tmp_path / "stories.bin").write_bytes(b"weights")
    beside = load_tokenizer(tmp_path / "stories.bin")
    assert beside.encode("once upon") == tokenizer.encode("once upon")
