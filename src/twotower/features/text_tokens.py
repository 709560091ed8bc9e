"""Text -> hashes of its words and of the character n-grams of its words."""

import re
import zlib

WORD = re.compile(r"[^\W_]+")
GRAM_SIZES = (3, 4, 5)


def hashed_tokens(text: str, buckets: int, char_ngrams: bool, memo: dict[str, list[int]]) -> list[int]:
    """Return the distinct hashes of a text's tokens, words first.

    Args:
        text: any text; case does not count.
        buckets: hashes are in 0..buckets-1, the same on every machine.
        char_ngrams: add the character n-grams (3 to 5) of each word with its edges marked.
        memo: keeps the hashes of words seen before; one for each setting of the other arguments.

    Reference: Bojanowski et al., Enriching Word Vectors with Subword Information, TACL 2017, section 3.2.
    """
    words = list(dict.fromkeys(WORD.findall(text.lower())))
    hashes: dict[int, None] = {}
    grams: dict[int, None] = {}
    for word in words:
        tokens = memo.get(word)
        if tokens is None:
            tokens = memo[word] = _hash_word(word, buckets, char_ngrams)
        hashes[tokens[0]] = None
        grams.update(dict.fromkeys(tokens[1:]))
    return list(hashes | grams)


def _hash_word(word: str, buckets: int, char_ngrams: bool) -> list[int]:
    tokens = [f"w{word}"]
    if char_ngrams:
        marked = f"<{word}>"
        tokens += [f"g{marked[i : i + n]}" for n in GRAM_SIZES for i in range(len(marked) - n + 1)]
    # crc32 is the same in every process; Python's own hash is not.
    return [zlib.crc32(token.encode("utf-8", "replace")) % buckets for token in tokens]
