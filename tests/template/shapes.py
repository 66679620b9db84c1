"""Small chat templates with ways of their own, most of them bad: prompts that history does not show, history that is rewritten, texts that
are repeated, moved, cut, or answered before they are asked."""

import itertools
from collections.abc import Iterator

HEADERS = {"chatml": ("<|im_start|>{role}\\n", "<|im_end|>\\n"), "words": ("{role}: ", "</s>\\n\\n"), "bare": ("", "</s>")}

# What the generation prompt adds behind the header, and what history writes before an answer: (tail, opening).
TAILS = {
    "none": ("", ""),
    "closed": ("<think></think>", ""),
    "open": ("<think>\\n", ""),
    "both": ("<think></think>", "<think></think>"),
    "odd": ("<|hint|>", ""),
    "cut": ("", "\\n"),
    "blank": (" ", ""),
}

# One Jinja statement per way, run before the messages are written.
WAYS = {
    "straight": "",
    "forgets": "",  # reasoning of earlier turns is dropped once an answer follows
    "echoes": "",  # the answer repeats the question
    "reminds": "",  # the first user's words stand behind the last message
    "reverses": "{% set messages = messages | reverse | list %}",
    "latest": "{% if messages | length > 2 %}{% set messages = messages[-2:] %}{% endif %}",
    "twice": "",  # the answer stands there twice
    "shouts": "",  # user text in capitals
    "whispers": "",  # the last answer begins with the first letter of what the user said
}


def shape(header: str, tail: str, way: str) -> str:
    begin, end = HEADERS[header]
    prompt, opening = TAILS[tail]
    assistant, asked = (begin.format(role=role) for role in ("assistant", "user"))
    return "".join(
        [
            WAYS[way],
            "{%- for m in messages -%}",
            "{%- if m.role == 'assistant' -%}",
            f"{{{{- '{assistant}{opening}' -}}}}",
            "{%- if m.reasoning_content" + (" and (loop.last or messages[-1].role != 'assistant')" if way == "forgets" else "") + " -%}",
            "{{- '<think>' + m.reasoning_content + '</think>' -}}{%- endif -%}",
            "{{- 're ' + messages[loop.index0 - 1].content + ': ' -}}" if way == "echoes" else "",
            "{%- if loop.last -%}{{- messages[0].content[:1] -}}{%- endif -%}" if way == "whispers" else "",
            "{{- m.content -}}",
            "{{- ' / ' + m.content -}}" if way == "twice" else "",
            f"{{{{- '{end}' -}}}}",
            "{%- else -%}",
            f"{{{{- '{asked}' + (m.content | upper) + '{end}' -}}}}" if way == "shouts" else f"{{{{- '{asked}' + m.content + '{end}' -}}}}",
            "{%- endif -%}",
            "{%- endfor -%}",
            "{{- '<|note|>' + messages[0].content + '<|note|>' -}}" if way == "reminds" else "",
            f"{{%- if add_generation_prompt -%}}{{{{- '{assistant}{prompt}' -}}}}{{%- endif -%}}",
        ]
    )


def shapes() -> Iterator[tuple[tuple[str, str, str], str]]:
    """Every header with every tail and every way."""
    for key in itertools.product(HEADERS, TAILS, WAYS):
        yield key, shape(*key)
