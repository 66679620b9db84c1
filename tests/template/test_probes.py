"""What is found out about a template before any row: stop tokens, BOS, control tokens, what it shows."""

import pytest

from instil.core.errors import UserError
from instil.template.contract import make_contract
from instil.template.probes import controls_of, pattern_of, settle_parts, shown_by, stop_ids_of
from instil.template.render import ChatTemplate
from instil.template.tokenizer import ChatTokenizer
from tests.template.toy import ends_of, toy_tokenizer, trl_templates

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"

# Family: what ends its answers, beside the declared ends. By hand, from the models' own generation configs and chat formats.
OWN_STOPS = {
    "cohere": [],
    "deepseek": [],
    "diffusion_gemma": ["<turn|>", "<|tool_response>"],
    "gemma": ["<end_of_turn>"],
    "gemma4": ["<turn|>", "<|tool_response>"],
    "gemma4_v2": ["<turn|>"],
    "glm4moe": [],
    "gptoss": [],
    "idefics3": ["<end_of_utterance>"],
    "lfm2": ["<|im_end|>"],
    "llama3": [],
    "llava": [],
    "muse": [],
    "nemotron": ["<|im_end|>"],
    "phi3": ["<|end|>"],
    "qwen": ["<|im_end|>"],
    "smolvlm": ["<end_of_utterance>"],
}


@pytest.mark.parametrize("name", trl_templates())
def test_stops_of_every_family(name: str) -> None:
    family = max((f for f in OWN_STOPS if name.startswith(f)), key=len)
    contract = make_contract(toy_tokenizer(trl_templates()[name].read_text(encoding="utf-8"), ends_of(name)), "own", where=name)
    assert list(contract.stops) == [*ends_of(name), *OWN_STOPS[family]]


def stops(source: str, *ends: str, extra: tuple[str, ...] = ()) -> list[str]:
    tokenizer = toy_tokenizer(source, ends or ("</s>",), extra=extra)
    template = ChatTemplate(source, tokenizer.special)
    return [tokenizer.decode([i]) for i in stop_ids_of(template, tokenizer, controls_of(template, tokenizer))]


def test_stops_of_templates_written_here() -> None:
    assert stops(CHATML) == ["</s>", "<|im_end|>"], "ChatML on a base whose EOS is another"
    assert stops(CHATML, "<|im_end|>") == ["<|im_end|>"]
    assert stops("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}") == [], "nothing that could stop"
    assert stops("{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}") == ["</s>"]
    header_only = "{% for m in messages %}{{ '<|user|>' if m.role == 'user' else '<|assistant|>' }}{{ m.content }}{% endfor %}"
    assert stops(header_only) == [], "the next turn's header is no declared end"
    assert stops(header_only, "<|end|>", "<|user|>") == ["<|end|>", "<|user|>"], "and here it is (GLM)"


def test_an_end_that_decodes_to_nothing_stops_nothing() -> None:
    source = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    tokenizer = toy_tokenizer(source)
    template = ChatTemplate(source, tokenizer.special)
    broken = ChatTokenizer(tokenizer.backend, tokenizer.special, {}, (10**6,), False)
    assert stop_ids_of(template, broken, controls_of(template, broken)) == ()


def test_controls() -> None:
    """Special tokens always; ordinary added ones if the template writes them, be it from pieces; white space never."""
    source = "{% for m in messages %}{{ '<' + m.role + '>' }}{{ m.content }}<tool_call>\n{{ eos_token }}{% endfor %}"
    tokenizer = toy_tokenizer(source, ("</s>",), extra=("<pad>",))
    tokenizer.backend.add_tokens(["<user>", "<tools>", "\n", "<tool_call>"])
    tokenizer = ChatTokenizer(tokenizer.backend, tokenizer.special, {}, tokenizer.eos_ids, False)
    assert set(controls_of(ChatTemplate(source, tokenizer.special), tokenizer)) == {"<bos>", "</s>", "<pad>", "<user>", "<tool_call>"}


def test_pattern_prefers_the_longest() -> None:
    assert pattern_of(["<a>", "<a><b>", ""]).findall("<a><b><a>") == ["<a><b>", "<a>"]
    assert pattern_of([]).search("") is None


def test_parts() -> None:
    typed = "{% for m in messages %}{{ m.role }}{% for p in m.content %}{{ p.text }}{% endfor %}</s>{% endfor %}"
    assert settle_parts(ChatTemplate(typed), "x").parts
    assert not settle_parts(ChatTemplate(CHATML), "x").parts
    with pytest.raises(UserError, match=r"^x: the chat template refuses a plain question and answer \(the template says: never\)"):
        settle_parts(ChatTemplate("{{ raise_exception('never') }}"), "x")
    with pytest.raises(UserError, match="^x: the chat template does not write what a user and an assistant say"):
        settle_parts(ChatTemplate("{{ messages[0].content }}"), "x")


def test_shown() -> None:
    assert shown_by(ChatTemplate(CHATML)) == {"system", "tool"}
    assert shown_by(ChatTemplate(CHATML + "{{ tools }}{{ messages[-1].tool_calls }}{{ messages[-1].reasoning_content }}")) == {
        "system", "tool", "tools", "tool_calls", "reasoning"
    }  # fmt: skip
