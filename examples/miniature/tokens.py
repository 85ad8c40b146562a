"""A small tokenizer in CLIP's own format: byte-level BPE with `</w>` word endings."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from transformers import CLIPTokenizer

from examples.miniature.data import ADJECTIVES, COLOURS, TEMPLATES, WORDS

CONTEXT = 16
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
BYTES = [*range(33, 127), *range(161, 173), *range(174, 256)]


def byte_symbols() -> list[str]:
    """Return CLIP's 256 printable stand-ins for the bytes, in the order of its vocabulary."""
    others = [byte for byte in range(256) if byte not in BYTES]
    return [chr(byte) for byte in BYTES] + [chr(256 + k) for k in range(len(others))]


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Learn byte-pair merges, most frequent pair first, until every word is one symbol."""
    split = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges = []
    while counts := Counter(pair for word in split for pair in pairwise(word)):
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        split = [merge(word, best) for word in split]
    return merges


def merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    """Return `word` with every occurrence of `pair` joined."""
    joined: list[str] = []
    for symbol in word:
        if joined and (joined[-1], symbol) == pair:
            joined[-1] += symbol
        else:
            joined.append(symbol)
    return joined


def new_tokenizer() -> CLIPTokenizer:
    """Return a tokenizer to which every word of the captions is one token."""
    text = " ".join(TEMPLATES).replace(",", " ").split()
    fixed = {word for word in text if "{" not in word}
    merges = learn_merges(sorted(fixed | {*ADJECTIVES, *COLOURS, *WORDS}))
    symbols = byte_symbols()
    vocabulary = [*symbols, *(symbol + "</w>" for symbol in symbols)]
    vocabulary += [*("".join(pair) for pair in merges), BOS, EOS]
    return CLIPTokenizer(
        vocab={symbol: index for index, symbol in enumerate(vocabulary)},
        merges=merges,
        model_max_length=CONTEXT,
    )


def tokenize(tokenizer: CLIPTokenizer, prompts: list[str]):
    """Return token ids (n, 16), padded as Stable Diffusion pads them."""
    return tokenizer(
        prompts,
        padding="max_length",
        max_length=CONTEXT,
        truncation=True,
        return_tensors="pt",
    ).input_ids
