"""Does a GGUF file, loaded by llama.cpp's own server, say what the trained model says?

The server comes with the package xllamacpp and runs in this process. It tokenizes, renders the file's own template and answers; nothing of
instil's stands between.
"""

import json
import math
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from instil.release.expected import ANSWER, Expected
from instil.release.gguf import GgufReport
from instil.release.parity import Check, Parity
from instil.template.render import as_dict


@dataclass(frozen=True, slots=True)
class Tolerance:
    """`divergence`: of the first token's probabilities from the trained model's, in nats. `tie`: two tokens whose log-probabilities lie
    so close count as about as likely."""

    divergence: float
    tie: float


TOLERANCES = {
    "f32": Tolerance(1e-5, 2e-3),
    "f16": Tolerance(2e-3, 0.1),
    "bf16": Tolerance(0.05, 0.4),
    "q8_0": Tolerance(0.05, 0.4),
    "q6_k": Tolerance(0.1, 0.6),
}
"""By type of the weights. What is left is rounding: llama.cpp also rounds what it multiplies weights of that type with."""
FEW_BITS = Tolerance(2.0, 3.0)
"""The same for 4 and 5 bits a weight, which change a small model visibly: it finds broken files, not worse ones."""
SEEN = 20


def check_gguf(report: GgufReport, expected: Expected) -> Parity:
    """Checks of a file just written. Raises nothing of its own: a file that cannot be loaded is a failed check, and so is one that nobody
    here could load, because llama.cpp is not installed."""
    longest = max([len(ids) for ids in (*expected.prompts, *expected.text_ids)], default=1)
    tolerance = TOLERANCES.get(report.quantize, FEW_BITS)
    try:
        with serving(report, longest + ANSWER + 8) as ask:
            checks = [
                Check("loads", True, "; ".join(["llama.cpp (xllamacpp)", *report.remarks])),
                *_check_texts(ask, report, expected),
                _check_chats(ask, report, expected),
                _check_first(ask, expected, tolerance),
                _check_answers(ask, expected, tolerance),
                _check_stops(ask, expected),
            ]
    except ModuleNotFoundError as error:
        checks = [Check("loads", False, f"not asked, because {error.name} is not installed (pip install 'instil[gguf]')")]
    except (RuntimeError, OSError, ValueError) as error:
        checks = [Check("loads", False, f"{type(error).__name__}: {str(error).strip()[:200]}")]
    return Parity(report.path.name, tuple(checks))


class Ask:
    """Requests to one server; a path and a body give the answer's JSON."""

    def __init__(self, address: str):
        self.address = address

    def __call__(self, path: str, **body: Any) -> Any:
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ValueError(f"{path}: {error.read().decode(errors='replace')[:200]}") from None


@contextmanager
def serving(report: GgufReport, context: int) -> Iterator[Ask]:
    """llama.cpp's server on a free port of this machine, with a cache in full precision and one request at a time."""
    import xllamacpp

    knobs = xllamacpp.CommonParams()
    knobs.model.path = str(report.path)
    knobs.n_ctx, knobs.n_parallel, knobs.port = -(-context // 256) * 256, 1, 0
    knobs.warmup = knobs.ui = False
    knobs.verbosity = 1  # errors only
    # Threads wait for each other by spinning, which on a busy machine costs a small model a hundred times what it gains.
    knobs.cpuparams.n_threads = min(1 + report.size // (64 << 20), 4, os.cpu_count() or 1)
    # Flash attention computes in half precision; without it F32 weights give the trained model's figures to 1e-4.
    knobs.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    knobs.cache_type_k = knobs.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    server = xllamacpp.Server(knobs)
    try:
        yield Ask(server.listening_address)
    finally:
        del server


def _check_texts(ask: Ask, report: GgufReport, expected: Expected) -> list[Check]:
    if report.bare:  # differs by one blank in front, as a remark of the report says; what is sent to a chat model is a chat
        return []
    found = [ask("/tokenize", content=text, add_special=False, parse_special=True)["tokens"] for text in expected.texts]
    return [_same("text tokens", report, found, expected.text_ids, expected.texts)]


def _check_chats(ask: Ask, report: GgufReport, expected: Expected) -> Check:
    found, texts = [], []
    for chat in expected.chats:
        messages = [as_dict(message, expected.parts) for message in chat.messages]
        tools = {"tools": list(chat.tools)} if chat.tools else {}
        try:
            text = ask("/apply-template", messages=messages, add_generation_prompt=True, **tools)["prompt"]
        except ValueError as error:
            return Check("chat tokens", False, f"{chat.messages[-1].content!r}: {str(error)[:150]}")
        texts.append(text)
        found.append(ask("/tokenize", content=text, add_special=True, parse_special=True)["tokens"])
    return _same("chat tokens", report, found, expected.chat_ids, texts)


def _same(name: str, report: GgufReport, found: Sequence[list[int]], wanted: Sequence[list[int]], texts: Sequence[str]) -> Check:
    """All token ids equal, but for texts of which `write_gguf` has said that llama.cpp cuts them differently."""
    wrong = [k for k, (one, other) in enumerate(zip(found, wanted, strict=True)) if list(one) != list(other)]
    known = [k for k in wrong if report.differs is not None and report.differs(texts[k])]
    if unknown := [k for k in wrong if k not in known]:
        k = unknown[0]
        pairs = zip(found[k], wanted[k], strict=False)
        at = next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(found[k]), len(wanted[k])))
        return Check(name, False, f"{len(unknown)} of {len(wanted)} differ, first {texts[k][:60]!r} at token {at + 1}")
    said = f", {len(known)} differ as the export says" if known else ""
    return Check(name, True, f"{len(wanted) - len(known)} of {len(wanted)} equal{said}")


def _completion(ask: Ask, prompt: Sequence[int], most: int, **more: Any) -> Any:
    return ask("/completion", prompt=list(prompt), n_predict=most, temperature=0, cache_prompt=False, return_tokens=True, **more)


def _likely(ask: Ask, ids: Sequence[int], expected: Expected) -> dict[int, float]:
    """The likeliest next tokens and their log-probabilities, the likeliest first. A plain token is forced, which those do not show: of a
    token that is half a character the server would tell nothing."""
    plain = expected.text_ids[0][-1]
    seen = _completion(ask, ids, 1, n_probs=SEEN, logit_bias=[[plain, 1000.0]])
    return {one["id"]: one["logprob"] for one in seen["completion_probabilities"][0]["top_logprobs"]}


def _check_first(ask: Ask, expected: Expected, tolerance: Tolerance) -> Check:
    name, worst, off = "first log-probabilities", 0.0, 0.0
    for prompt, wanted_V in zip(expected.prompts, expected.first_QV.tolist(), strict=True):
        found = _likely(ask, prompt, expected)
        if strange := [token for token in found if token >= len(wanted_V)]:
            return Check(name, False, f"token {strange[0]} is not among the model's {len(wanted_V)}")
        wanted = {token: wanted_V[token] for token in found}
        worst = max(worst, divergence(wanted, found))
        off = max([off, *(abs(found[token] - one) for token, one in wanted.items() if one > -5)])
    said = f"divergence {worst:.1e} nats at most over {len(expected.prompts)} prompts, of {tolerance.divergence:g} allowed"
    return Check(name, worst <= tolerance.divergence, f"{said}; a likely token's log-probability differs by up to {off:.1e}")


def divergence(wanted: Mapping[int, float], found: Mapping[int, float]) -> float:
    """Kullback-Leibler divergence in nats of `found` from `wanted` (log-probabilities of the same tokens), all others taken as one."""
    pairs = [(math.exp(one), math.exp(found[token])) for token, one in wanted.items()]
    rest = tuple(max(1 - sum(column), 1e-9) for column in zip(*pairs, strict=True))
    total = sum(p * math.log(p / max(q, 1e-30)) for p, q in (*pairs, rest) if p > 0)
    return max(total, 0.0) if math.isfinite(total) else math.inf


def _check_answers(ask: Ask, expected: Expected, tolerance: Tolerance) -> Check:
    """Greedy answers, token by token, the end included. An answer may part from the trained model's where two tokens are about as likely,
    and is not compared any further; how many do is said."""
    ties = 0
    for prompt, answer in zip(expected.prompts, expected.answers, strict=True):
        at = _first_difference(_completion(ask, prompt, len(answer)), answer, set(expected.stop_ids))
        if at is None:
            continue
        likely = _likely(ask, [*prompt, *answer[:at]], expected)
        if max(likely.values()) - likely.get(answer[at], -math.inf) > tolerance.tie:
            return Check("greedy answers", False, f"token {at + 1} of the answer to {len(prompt)} tokens differs, and it is no tie")
        ties += 1
    equal = f"{len(expected.answers) - ties} of {len(expected.answers)} equal"
    said = f", {ties} up to a token that is likelier by {tolerance.tie:g} nats at most" if ties else ""
    return Check("greedy answers", True, equal + said)


def _first_difference(seen: Any, answer: Sequence[int], stops: set[int]) -> int | None:
    """The first place where the server's answer is another; None where there is none. The server leaves out what it stopped at."""
    found = [token for token in seen["tokens"] if token not in stops]
    wanted = [token for token in answer if token not in stops]
    at = next((k for k, (one, other) in enumerate(zip(found, wanted, strict=False)) if one != other), None)
    if at is None and len(found) == len(wanted) and (seen["stop_type"] == "eos") == (len(wanted) < len(answer)):
        return None
    return min(len(found), len(wanted), len(answer) - 1) if at is None else at


def _check_stops(ask: Ask, expected: Expected) -> Check:
    if not expected.prompts or not expected.stop_ids:
        return Check("forced end of turn", not expected.stop_ids, "no prompt leaves room for an answer")
    prompt, deaf = min(expected.prompts, key=len), []
    for token in expected.stop_ids:
        ended = _completion(ask, prompt, 4, logit_bias=[[token, 1000.0]])
        if ended["stop_type"] != "eos" or ended["tokens_predicted"] > 1:
            deaf.append(token)
    said = f"the server does not stop at token {', '.join(map(str, deaf))}" if deaf else f"the server stops at all {len(expected.stop_ids)}"
    return Check("forced end of turn", not deaf, said)
