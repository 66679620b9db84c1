"""Ollama's Modelfile: everything that `ollama create` would otherwise guess from the weights' file is written out."""

from instil.core.errors import UserError
from instil.release.go_template import GoTemplate
from instil.template.contract import Contract

LEAST_CONTEXT = 4096


def modelfile(
    weights: str, go: GoTemplate, contract: Contract, *, context: int | None, trained: int | None, system: str | None, licence: str | None
) -> str:
    """`weights`: name of the GGUF file beside it. `context`: what the model takes; `trained`: the longest example of the run, both in
    tokens. Ollama reserves memory for all of num_ctx, so it is no more than what was trained, or 4,096 if that is more."""
    wanted = max(trained or 0, LEAST_CONTEXT)
    lines = [
        f"FROM ./{weights}",
        f"TEMPLATE {_text(go.source)}",
        *(f"PARAMETER stop {_text(stop)}" for stop in contract.stops),
        f"PARAMETER num_ctx {min(wanted, context or wanted)}",
    ]
    if system:
        lines.append(f"SYSTEM {_text(system)}")
    if licence:
        lines.append(f"LICENSE {_text(licence)}")
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """A Modelfile's text knows no escapes: it ends at its own three quotation marks."""
    if '"""' in text or text.endswith('"'):
        raise UserError(
            f"{text[:40]!r} holds quotation marks that would end a Modelfile's text early: change the system message or template"
        )
    return f'"""{text}"""'
