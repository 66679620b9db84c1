"""Modelfiles, read back by Ollama's rules: an instruction, then a word or a text between three quotation marks."""

import re

import pytest

from instil.core.errors import UserError
from instil.release.go_template import make_go_template
from instil.release.ollama import modelfile
from instil.stages.talk import load


def read(text):
    """[(instruction, value)] as Ollama's parser sees them."""
    found = re.findall(r'^([A-Z]+) (?:(stop|num_ctx) )?(?:"""(.*?)"""|(\S+))$', text, flags=re.M | re.S)
    return [(name, key, quoted or word) for name, key, quoted, word in found]


def test_everything_that_would_be_guessed_is_written(lora, go):
    contract = load(lora).contract
    made = make_go_template(contract)
    text = modelfile("x.gguf", made, contract, context=1024, trained=512, system='Say "hi" twice.\nThen stop.', licence="MIT")
    lines = read(text)
    assert lines[0] == ("FROM", "", "./x.gguf")
    assert [value for name, key, value in lines if key == "stop"] == ["<|end|>", "<|im_end|>"]
    assert ("PARAMETER", "num_ctx", "1024") in lines
    assert ("SYSTEM", "", 'Say "hi" twice.\nThen stop.') in lines and ("LICENSE", "", "MIT") in lines
    (template,) = [value for name, _, value in lines if name == "TEMPLATE"]
    assert template == made.source
    assert "".join(go(template, [[]])) == ""


@pytest.mark.parametrize(
    ("context", "trained", "written"), [(32768, 512, 4096), (32768, 8192, 8192), (None, None, 4096), (2048, 8192, 2048)]
)
def test_context(full, context, trained, written):
    contract = load(full).contract
    text = modelfile("x.gguf", make_go_template(contract), contract, context=context, trained=trained, system=None, licence=None)
    assert f"PARAMETER num_ctx {written}\n" in text and "SYSTEM" not in text and "LICENSE" not in text


@pytest.mark.parametrize("system", ['three """ marks', 'it ends with "'])
def test_text_that_would_end_early(full, system):
    contract = load(full).contract
    with pytest.raises(UserError, match="quotation marks"):
        modelfile("x.gguf", make_go_template(contract), contract, context=None, trained=None, system=system, licence=None)
