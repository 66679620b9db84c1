"""The Go template against the Jinja, in real Go; and what is refused."""

import random
from dataclasses import replace

import pytest

from instil.core.errors import Refused, UserError
from instil.core.values import Message
from instil.release.go_template import INPUTS, TIDY, UNTIDY, _dialogues, make_go_template, quoted, served_text
from instil.template.builtin import BUILTIN
from instil.template.contract import make_contract
from instil.template.tokenizer import from_record
from tests.fakes import BOS, EOS, OWN_TEMPLATE, byte_level_tokenizer
from tests.template.toy import ends_of, toy_tokenizer, trl_templates

WITH_DATE = {"gptoss", "llama3_2", "muse_glimmer"}

LLAMA2 = (
    "{% if messages[0].role == 'system' %}{% set s = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' %}"
    "{% set rest = messages[1:] %}"
    "{% else %}{% set s = '' %}{% set rest = messages %}{% endif %}{% for m in rest %}{% if m.role == 'user' %}"
    "{{ bos_token + '[INST] ' + (s if loop.first else '') + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}"
    "{% endif %}{% endfor %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}<|s|>You are \"kind\" {{ '{{' }} and\nbrief.<|e|>{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
COUNTS = (
    "{% for m in messages %}({{ loop.index }}) {{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}>{% endif %}"
)
TWICE = "{% for m in messages %}{{ m.content }} {{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"
FORGETS = (
    "{% for m in messages %}{% if messages | length < 7 or not loop.first %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}>{% endif %}"
)


def contract(template, wants_bos=False):
    backend = byte_level_tokenizer()
    if not wants_bos:
        backend.post_processor = None
    special = {"bos_token": BOS, "eos_token": EOS}
    record = {"tokenizer": backend.to_str(), "special": special, "templates": {"default": template}, "eos_ids": []}
    return make_contract(from_record(record), template if template in BUILTIN else "own", where="here")


def drawn_chats(found, texts, count=60):
    """Chats as people send them: any length, a system message or none, now and then two turns of one role in a row."""
    random.seed(5)
    for _ in range(count):
        roles = ["system"] * (random.random() < 0.5 and "system" in found.shows) + ["user", "assistant"] * random.randint(0, 5) + ["user"]
        roles = [r for role in roles for r in [role] * (2 if role != "system" and random.random() < 0.2 else 1)]
        yield [Message(role=role, content=random.choice(texts)) for role in roles]


def as_served(found, chat):
    """What the Jinja makes of a chat whose turns were joined as Ollama joins them, by other code than the room's."""
    turns = []
    for message in chat:
        if turns and turns[-1].role == message.role:
            turns[-1] = replace(turns[-1], content=f"{turns[-1].content}\n\n{message.content}")
        else:
            turns.append(message)
    return served_text(found, turns)


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("name", [*BUILTIN, "own", "llama2", "default system", "no system"])
def test_go_gives_the_prompt_that_was_trained(go, name, bos):
    template = {"own": OWN_TEMPLATE, "llama2": LLAMA2, "default system": DEFAULT_SYSTEM, "no system": NO_SYSTEM}.get(name, name)
    found = contract(template, bos)
    made = make_go_template(found)
    chats = list(drawn_chats(found, TIDY)) + [[Message(role="user", content="Hi")]]
    texts = go(made.source, chats)
    assert texts == [as_served(found, chat) for chat in chats] == [made.render(chat) for chat in chats]
    assert made.proved >= 28
    if bos and name != "llama2":
        assert not texts[0].startswith(BOS), "the server puts it in front"


def test_an_unfinished_answer_is_gone_on_with(go):
    found = contract("chatml")
    chat = [Message(role="user", content="Hi"), Message(role="assistant", content="Hel")]
    (text,) = go(make_go_template(found).source, [chat])
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHel"


@pytest.mark.parametrize(("name", "texts", "said"), [("llama3", UNTIDY, "trims"), ("alpaca", INPUTS, "### Input:"), ("chatml", UNTIDY, "")])
def test_what_go_cannot_say_is_said(go, name, texts, said):
    found = contract(name)
    made = make_go_template(found)
    chats = list(_dialogues(texts, found))
    differ = go(made.source, chats) != [served_text(found, chat) for chat in chats]
    assert differ == bool(said) and (said in " ".join(made.notes) if said else "trims" not in " ".join(made.notes))


@pytest.mark.parametrize("template", [COUNTS, TWICE, FORGETS])
def test_what_is_no_chain_is_refused(template):
    with pytest.raises(UserError, match="cannot be put into Go's syntax.*--to gguf"):
        make_go_template(contract(template))


def test_a_changed_joint_is_seen(go):
    found = contract("chatml")
    made = make_go_template(found)
    changed = made.source.replace(quoted("<|im_end|>\n<|im_start|>assistant\n"), quoted("<|im_end|>\n<|im_start|>assistant"))
    assert changed != made.source
    chat = [Message(role="user", content="Hi")]
    assert go(changed, [chat]) != [served_text(found, chat)]


def test_quoted_text_cannot_end_a_modelfile(go):
    text = 'a """ b \\ {{ . }} \u2028 \x00 \U0001f642 é\t\n'
    assert '"""' not in quoted(text)[1:-1]
    assert go("{{ " + quoted(text) + " }}", [[]]) == [text]


@pytest.mark.parametrize("name", trl_templates())
def test_real_templates(go, name):
    """Those that trl carries: for chats without tools every one of them is a chain, and what is made of it is right in Go."""
    template = trl_templates()[name].read_text(encoding="utf-8")
    found = make_contract(toy_tokenizer(template, ends_of(name)), "own", where=name)
    made = make_go_template(found)
    chats = [chat for chat in drawn_chats(found, TIDY, 40) if rendered(found, chat) is not None]
    assert len(chats) >= 20
    assert go(made.source, chats) == [rendered(found, chat) for chat in chats]
    assert any("date" in note for note in made.notes) == (name in WITH_DATE)


def rendered(found, chat):
    try:
        return as_served(found, chat)
    except Refused:
        return None
