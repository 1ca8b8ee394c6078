"""A word-level tokenizer that starts in no time: what `prepare` needs of a Hugging Face one, without transformers."""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers, processors


class SmallTokenizer:
    """`[CLS] words [SEP]`; knows letters, `text`, and the numbers below 20000."""

    model_max_length = 10**30
    pad_token_id = 0
    mask_token = "[UNK]"
    model_input_names = ("input_ids", "token_type_ids", "attention_mask")

    def __init__(self, backend: Tokenizer | None = None) -> None:
        self.backend_tokenizer = backend or _backend()


def _backend() -> Tokenizer:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", "text", *map(str, range(20_000))]
    vocabulary = {word: number for number, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.add_special_tokens(words[:4])
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return backend
