"""The built-in templates, for models whose tokenizer has none or whose user wants another.

Each states the tokens that it needs beyond the tokenizer's own BOS and EOS. Tokens that the tokenizer lacks are added, the run says so,
and their embedding rows are trained even under LoRA.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Builtin:
    """`source`: Jinja. `tokens`: control tokens it needs. `input_joint`: what stands between instruction and input (Alpaca rows)."""

    source: str
    tokens: tuple[str, ...] = ()
    input_joint: str = "\n\n"


# Tool definitions as a JSON list in the system turn, calls as JSON in <tool_call> tags: the convention that most ChatML models share
# (Hermes, Qwen), so that servers' stock parsers understand the tuned model.
CHATML = """\
{%- set system = messages[0].content if messages[0].role == 'system' else '' -%}
{%- if tools or system -%}
{{- '<|im_start|>system\\n' + system -}}
{%- if tools -%}
{{- '\\n\\n' if system else '' -}}
{{- '# Tools\\n\\nYou may call functions. Each is described in JSON:\\n<tools>' -}}
{%- for tool in tools %}{{ '\\n' + (tool | tojson) }}{% endfor -%}
{{- '\\n</tools>\\n\\nTo call one, answer with:\\n<tool_call>\\n{"name": <name>, "arguments": <arguments as JSON>}\\n</tool_call>' -}}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{%- if not loop.first %}{{ raise_exception('a system message can only come first') }}{% endif -%}
{%- elif message.role == 'tool' -%}
{{- '<|im_start|>user\\n' if loop.first or messages[loop.index0 - 1].role != 'tool' else '\\n' -}}
{{- '<tool_response>\\n' + message.content + '\\n</tool_response>' -}}
{{- '<|im_end|>\\n' if loop.last or messages[loop.index0 + 1].role != 'tool' else '' -}}
{%- else -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'assistant' and message.reasoning_content -%}
{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' -}}
{%- endif -%}
{{- message.content -}}
{%- for call in message.tool_calls or [] -%}
{{- '\\n' if message.content or not loop.first else '' -}}
{{- '<tool_call>\\n{"name": ' + (call.function.name | tojson) + ', "arguments": ' -}}
{{- call.function.arguments if call.function.arguments is string else call.function.arguments | tojson -}}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
"""

# Taori et al. 2023, both preambles to the letter. After `### Response:` comes a line break, as nearly every later project writes it:
# without it the answer's first word is glued to the colon and tokenized as no base model has seen it.
ALPACA = """\
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{{- message.content + '\\n\\n' -}}
{%- elif message.role == 'user' -%}
{%- if loop.first -%}
{%- if '\\n\\n### Input:\\n' in message.content -%}
{{- 'Below is an instruction that describes a task, paired with an input that provides further context. ' -}}
{%- else -%}
{{- 'Below is an instruction that describes a task. ' -}}
{%- endif -%}
{{- 'Write a response that appropriately completes the request.\\n\\n' -}}
{%- endif -%}
{{- '### Instruction:\\n' + message.content + '\\n\\n' -}}
{%- elif message.role == 'assistant' -%}
{{- '### Response:\\n' + message.content + eos_token + '\\n\\n' -}}
{%- else -%}
{{- raise_exception('the alpaca template has no ' + message.role + ' turns; use chatml') -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '### Response:\\n' }}{% endif -%}
"""

ZEPHYR = """\
{%- for message in messages -%}
{%- if message.role not in ['system', 'user', 'assistant'] -%}
{{- raise_exception('the zephyr template has no ' + message.role + ' turns; use chatml') -}}
{%- endif -%}
{{- '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif -%}
"""

LLAMA3 = """\
{%- for message in messages -%}
{%- if message.role not in ['system', 'user', 'assistant'] -%}
{{- raise_exception('the llama3 template here has no ' + message.role + ' turns; use chatml or the model\\'s own template') -}}
{%- endif -%}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + (message.content | trim) + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif -%}
"""

BUILTIN: dict[str, Builtin] = {
    "chatml": Builtin(CHATML, ("<|im_start|>", "<|im_end|>")),
    "alpaca": Builtin(ALPACA, input_joint="\n\n### Input:\n"),
    "zephyr": Builtin(ZEPHYR),
    "llama3": Builtin(LLAMA3, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")),
}
