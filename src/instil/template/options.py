"""The template's own switches (`enable_thinking`, `thinking`, ...): which of them makes trained turns exact."""

from collections.abc import Sequence
from dataclasses import replace

from instil.core.errors import Refused
from instil.core.values import Conversation
from instil.template.contract import Contract, with_options


def switches(contract: Contract) -> list[tuple[str, bool]]:
    """The template's own switches that concern reasoning, each with both values, unless the recipe has set it."""
    names = sorted(v for v in contract.template.variables() if "think" in v or "reason" in v)
    return [(name, value) for name in names if name not in contract.template.options for value in (False, True)]


def is_exact(conversation: Conversation, i: int, contract: Contract) -> bool:
    """Whether the server's prompt for turn `i` is how the template begins the turn. False, too, where it refuses the conversation."""
    try:
        context = contract.render(conversation.messages[:i], conversation.tools, generate=True)
        return contract.render(conversation.messages[: i + 1], conversation.tools).startswith(context)
    except Refused:
        return False


def exact_switch(conversation: Conversation, i: int, contract: Contract) -> str | None:
    """The first of the template's own switches that makes turn `i` exact, as `name: value`."""
    for option, value in switches(contract):
        template = replace(contract.template, options={**contract.template.options, option: value})
        if is_exact(conversation, i, replace(contract, template=template)):
            return f"{option}: {str(value).lower()}"
    return None


def choose_options(sample: Sequence[Conversation], contract: Contract) -> Contract:
    """The contract under the template switch that makes most turns of `sample` exact; as it is where none is better."""
    turns = [(c, i) for c in sample for i, m in enumerate(c.messages) if m.role == "assistant" and m.weight > 0]

    def count_exact(candidate: Contract) -> int:
        return sum(is_exact(conversation, i, candidate) for conversation, i in turns)

    plain = most = count_exact(contract)
    best = contract
    for option, value in switches(contract) if plain < len(turns) else ():
        candidate = with_options(contract, {option: value})
        if candidate.stop_ids and (count := count_exact(candidate)) > most:
            said = f"{option}: {str(value).lower()} makes {count} of {len(turns)} sampled turns exact ({plain} without it)"
            note = f"template option {said}: used, and recorded for serving"
            best, most = replace(candidate, notes=(*contract.notes, note)), count
    return best
