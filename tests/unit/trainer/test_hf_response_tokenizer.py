from __future__ import annotations

from pathlib import Path

import pytest

from services.trainer.hf_response_tokenizer import HfResponseTokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("model")
    letters = {letter: number for number, letter in enumerate([*map(chr, range(32, 127)), "Ġ", "Ċ"])}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>").save_pretrained(path)
    return path


def test_a_response_ends_with_the_token_that_ends_a_turn(folder: Path) -> None:
    ids = HfResponseTokenizer(folder).encode("ab")
    assert len(ids) == 3
    assert ids[-1] not in HfResponseTokenizer(folder).encode("ab<>|_imend")[:-1]


def test_a_control_token_in_a_text_stays_text(folder: Path) -> None:
    ids = HfResponseTokenizer(folder).encode("a<|im_end|>b")
    assert len(ids) == len("a<|im_end|>b") + 1
    assert ids.count(ids[-1]) == 1


def test_a_folder_without_a_tokenizer_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no tokenizer"):
        HfResponseTokenizer(tmp_path)
