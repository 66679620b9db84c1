"""Does a folder, loaded as anybody would with plain transformers or peft, say what the trained model says?

Nothing of instil's is used to load it: the tokenizer, template, stop tokens and weights are those that the folder's files give.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from peft import AutoPeftModelForCausalLM
from transformers.generation.configuration_utils import GenerationConfig
from transformers.generation.logits_process import LogitsProcessor, LogitsProcessorList
from transformers.models.auto.modeling_auto import AutoModelForCausalLM
from transformers.models.auto.tokenization_auto import AutoTokenizer

from instil.model.adapters import without_peft_noise
from instil.model.load import quiet
from instil.release.expected import ANSWER, Expected, first_logprobs, last_logprobs
from instil.release.parity import Check, Parity
from instil.template.render import as_dict

TOLERANCE = 1e-3
"""Largest difference of a log-probability (nats). Both sides compute in float32; measured differences lie below 1e-4."""


def check_hf(target: str, folder: Path, expected: Expected) -> Parity:
    """Checks of `folder`: an adapter where it holds one, else whole weights. Raises nothing of its own: a folder that cannot be loaded is a
    failed check."""
    try:
        tokenizer, model = load_plainly(folder)
    except Exception as error:  # whatever a library raises is why nobody could load it
        return Parity(target, (Check("loads", False, f"{type(error).__name__}: {str(error).strip()[:200]}"),))
    checks = [Check("loads", True, "plain transformers and peft" if is_adapter(folder) else "plain transformers")]
    checks += [_check_texts(tokenizer, expected), _check_chats(tokenizer, expected)]
    checks += [_check_first(model, expected), _check_answers(model, expected), *_check_stops(model, expected)]
    return Parity(target, tuple(checks))


def is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").exists()


def load_plainly(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and model as the folder's README says; an adapter is given the folder's own stop tokens, since peft keeps the base's."""
    with quiet(), without_peft_noise():
        tokenizer = cast(Any, AutoTokenizer).from_pretrained(str(folder))
        if is_adapter(folder):
            generation = GenerationConfig.from_pretrained(str(folder))
            model = cast(Any, AutoPeftModelForCausalLM).from_pretrained(str(folder), dtype=torch.float32, generation_config=generation)
        else:
            model = cast(Any, AutoModelForCausalLM).from_pretrained(str(folder), dtype=torch.float32)
    return tokenizer, model.eval()


def _check_texts(tokenizer: Any, expected: Expected) -> Check:
    found = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in expected.texts]
    return _same("text tokens", found, expected.text_ids, [repr(text) for text in expected.texts])


def _check_chats(tokenizer: Any, expected: Expected) -> Check:
    found: list[Sequence[int]] = []
    for chat in expected.chats:
        messages = [as_dict(message, expected.parts) for message in chat.messages]
        try:
            with quiet():
                ids = tokenizer.apply_chat_template(messages, tools=list(chat.tools) or None, add_generation_prompt=True, return_dict=True)
        except Exception as error:  # a template is somebody's program
            return Check("chat tokens", False, f"{chat.messages[-1].content!r}: {str(error)[:150]}")
        found.append(ids["input_ids"])
    return _same("chat tokens", found, expected.chat_ids, [repr(chat.messages[-1].content) for chat in expected.chats])


def _same(name: str, found: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]], said: Sequence[str]) -> Check:
    wrong = [k for k, (one, other) in enumerate(zip(found, wanted, strict=True)) if list(one) != list(other)]
    if not wrong:
        return Check(name, True, f"{len(wanted)} of {len(wanted)} equal")
    k = wrong[0]
    at = next(
        (i for i, (one, other) in enumerate(zip(found[k], wanted[k], strict=False)) if one != other), min(map(len, (found[k], wanted[k])))
    )
    return Check(name, False, f"{len(wrong)} of {len(wanted)} differ, first {said[k][:60]} at token {at + 1}")


def _check_first(model: Any, expected: Expected) -> Check:
    found_QV = first_logprobs(model, expected.prompts)
    if found_QV.shape[-1] < expected.first_QV.shape[-1]:
        return Check("first log-probabilities", False, f"{found_QV.shape[-1]} tokens in place of {expected.first_QV.shape[-1]}")
    off = largest_difference(found_QV, expected.first_QV)
    return Check(
        "first log-probabilities", off <= TOLERANCE, f"largest difference {off:.1e} over {len(found_QV)} prompts, at most {TOLERANCE:.0e}"
    )


def largest_difference(found_QV: torch.Tensor, wanted_QV: torch.Tensor) -> float:
    """Of log-probabilities above -20, which is where they can matter; infinite where one is not a number."""
    wide = wanted_QV.shape[-1]
    seen = wanted_QV > -20
    difference = (found_QV[:, :wide] - wanted_QV)[seen].abs().max().item() if len(wanted_QV) else 0.0
    return difference if difference == difference else float("inf")


def _check_answers(model: Any, expected: Expected) -> Check:
    name, ties = "greedy answers", 0
    for prompt, wanted in zip(expected.prompts, expected.answers, strict=True):
        found = _generate(model, prompt, ANSWER)
        if found == wanted:
            continue
        at = next((k for k, (one, other) in enumerate(zip(found, wanted, strict=False)) if one != other), None)
        if at is None:
            return Check(name, False, f"an answer has {len(found)} tokens in place of {len(wanted)}: it stops elsewhere")
        logprobs = last_logprobs(model, [*prompt, *wanted[:at]])
        if logprobs[found[at]] - logprobs[wanted[at]] > 2 * TOLERANCE:
            return Check(name, False, f"another token {at + 1}: {found[at]} in place of {wanted[at]}")
        ties += 1
    tied = f", {ties} of them up to a tie of two tokens" if ties else ""
    return Check(name, True, f"{len(expected.answers)} of {len(expected.answers)} equal{tied}")


class _Force(LogitsProcessor):
    """Nothing but `token` from the second new token on; before that anything that does not stop."""

    def __init__(self, token: int, start: int, stops: Sequence[int]):
        self.token, self.start, self.stops = token, start, list(stops)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if input_ids.shape[1] == self.start:
            scores[:, self.stops] = -float("inf")
            return scores
        forced = torch.full_like(scores, -float("inf"))
        forced[:, self.token] = 0
        return forced


def _check_stops(model: Any, expected: Expected) -> list[Check]:
    if not expected.prompts or not expected.stop_ids:
        return []
    prompt = min(expected.prompts, key=len)
    deaf = []
    for token in expected.stop_ids:
        force = LogitsProcessorList([_Force(token, len(prompt), expected.stop_ids)])
        if len(_generate(model, prompt, 4, logits_processor=force)) != 2:
            deaf.append(token)
    said = f"generate does not stop at token {', '.join(map(str, deaf))}" if deaf else f"generate stops at all {len(expected.stop_ids)}"
    return [Check("forced end of turn", not deaf, said)]


def _generate(model: Any, prompt: Sequence[int], most: int, **options: Any) -> list[int]:
    ids = torch.tensor([list(prompt)], device=next(model.parameters()).device)
    with torch.no_grad(), quiet():
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=most, **options)
    found: list[int] = out[0, len(prompt) :].tolist()
    return found
