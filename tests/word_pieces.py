"""A WordPiece that the same texts give again, in every process.

The trainer of `tokenizers` numbers the letters inside words in the order of a hash, and ties between merges follow
the numbers: left alone, every run of the tests has pieces of its own, and what a model learns of them is luck.
"""

from collections.abc import Sequence

from tokenizers import Tokenizer, models, trainers
from tokenizers.normalizers import Normalizer
from tokenizers.pre_tokenizers import PreTokenizer


def learn_word_pieces(
    texts: Sequence[str],
    size: int,
    specials: Sequence[str],
    normalizer: Normalizer,
    pre_tokenizer: PreTokenizer,
) -> Tokenizer:
    learning = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learning.normalizer, learning.pre_tokenizer = normalizer, pre_tokenizer
    words = [w for text in texts for w, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text))]
    inside = sorted({f"##{letter}" for word in words for letter in word[1:]})
    learning.train_from_iterator(
        texts,
        trainers.WordPieceTrainer(  # special tokens are numbered in the order given
            vocab_size=size,
            special_tokens=[*specials, *inside],
            show_progress=False,
        ),
    )
    tokenizer = Tokenizer(models.WordPiece(learning.get_vocab(with_added_tokens=False), unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    return tokenizer
