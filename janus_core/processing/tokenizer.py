"""Text tokenizer, loaded from a checkpoint's `tokenizer.json`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from ..file_io import read_json_if_present, read_text


@dataclass(frozen=True)
class SpecialTokens:
    """Strings of the special tokens; their ids differ between conversions of the same model."""

    bos: str = "<｜begin▁of▁sentence｜>"
    eos: str = "<｜end▁of▁sentence｜>"
    pad: str = "<｜▁pad▁｜>"
    image: str = "<image_placeholder>"
    image_start: str = "<begin_of_image>"
    image_end: str = "<end_of_image>"


class JanusTokenizer:
    """Text to ids and back."""

    def __init__(self, tokenizer_file: Path, special: SpecialTokens) -> None:
        """Loads a `tokenizer.json` with the given special tokens.

        The file is used unchanged: transformers' model-specific classes alter it differently per release.
        """
        if not tokenizer_file.is_file():
            raise FileNotFoundError(
                f"{tokenizer_file.parent} must hold {tokenizer_file.name}, got none; "
                "download the whole checkpoint folder"
            )
        text = read_text(tokenizer_file)  # the tokenizers library itself refuses a byte-order mark
        try:
            self._tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(text))
        except Exception as error:  # the tokenizers library raises plain Exception for malformed files
            raise ValueError(
                f"{tokenizer_file} must be a tokenizer, got: {error}; download it again"
            ) from error
        self.special = special
        ids = self._tokenizer.get_vocab()
        missing = [token for token in vars(special).values() if token not in ids]
        if missing:
            raise ValueError(
                f"{tokenizer_file} must contain the special tokens of Janus, got none named "
                f"{', '.join(missing)}; use the tokenizer.json that belongs to the checkpoint"
            )
        self.bos_id, self.eos_id, self.pad_id = ids[special.bos], ids[special.eos], ids[special.pad]
        self.image_id = ids[special.image]
        self.image_start_id, self.image_end_id = ids[special.image_start], ids[special.image_end]
        self.max_id = max(ids.values())

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, beginning with the beginning-of-sentence token."""
        return [self.bos_id, *self._tokenizer.encode(text, add_special_tokens=False)]

    def with_tokens(self, tokens: Sequence[str]) -> JanusTokenizer:
        """A tokenizer in which these are single tokens, which are not special; those it lacks are added."""
        if set(tokens) <= self._tokenizer.get_vocab().keys():
            return self
        extended = copy.copy(self)
        extended._tokenizer = copy.deepcopy(self._tokenizer)
        extended._tokenizer.add_tokens(list(tokens))
        extended.max_id = max(extended._tokenizer.get_vocab().values())
        return extended

    def special_tokens_in(self, text: str) -> list[str]:
        """The special tokens that a text contains, sorted."""
        added = self._tokenizer.added_tokens_decoder.values()
        names = {token.content for token in added if token.special} | {*vars(self.special).values()}
        return sorted(name for name in names if name in text)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, without special tokens."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)


def read_tokenizer(folder: Path) -> JanusTokenizer:
    """Loads the tokenizer of a checkpoint folder.

    `processor_config.json` and `tokenizer_config.json` may rename the special tokens, as JanusFlow does.
    """
    processor = read_json_if_present(folder / "processor_config.json")
    tokenizer = read_json_if_present(folder / "tokenizer_config.json")
    named = {
        "bos": tokenizer.get("bos_token"),
        "eos": tokenizer.get("eos_token"),
        "image": processor.get("image_tag"),
        "image_start": processor.get("image_start_tag"),
        "image_end": processor.get("image_end_tag"),
        "pad": processor.get("pad_tag"),
    }
    strings = {
        name: token["content"] if isinstance(token, dict) else token for name, token in named.items() if token
    }
    return JanusTokenizer(folder / "tokenizer.json", SpecialTokens(**strings))
