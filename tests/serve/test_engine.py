"""Many requests at a time get the answers that each would get alone."""

import asyncio
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from instil.core.errors import UserError
from instil.model.generate import generate
from instil.serve.engine import SlotEngine
from instil.serve.values import Busy, Served, Wanted
from instil.stages.talk import load
from tests.fakes import CONTEXT, small_llama
from tests.serve.served import answer, answers, ids_of, served, text_of


@pytest.fixture(scope="module")
def tiny() -> Iterator[Served]:
    made = served()
    yield made
    made.engine.close()


def prompts(count: int, seed: int = 0) -> list[tuple[int, ...]]:
    random = np.random.default_rng(seed)
    return [tuple(random.integers(0, 250, random.integers(1, 60)).tolist()) for _ in range(count)]


def test_sixty_four_at_once_answer_as_each_alone(tiny: Served) -> None:
    asked = prompts(64)
    model = small_llama(tiny.tokenizer.vocab_size)
    expected = generate(model, asked, stop_ids=tiny.stop_ids, max_new_tokens=20, batch_size=1)
    found = answers(tiny, [Wanted(prompt, 20) for prompt in asked])
    assert [ids_of(pieces) for pieces in found] == [one.tokens for one in expected]
    assert [pieces[-1].finish for pieces in found] == [one.finish for one in expected]


def test_the_built_in_model_answers_sixty_four_as_each_alone() -> None:
    assistant = load("pocket")
    texts = ("The capital of Ghana is", "A farmer in the north", "Once", "The river that runs through")
    random = np.random.default_rng(15)
    asked = [tuple(t for k in random.integers(0, 4, 1 + n % 9) for t in assistant.tokenizer.encode(texts[k])) for n in range(64)]
    expected = generate(assistant.model, asked, stop_ids=(), max_new_tokens=10, batch_size=1)
    engine = SlotEngine(assistant.model, assistant.tokenizer, (), context=256)
    one = Served("pocket", None, assistant.tokenizer, 256, engine)
    for pieces, right in zip(answers(one, [Wanted(prompt, 10, logprobs=2) for prompt in asked]), expected, strict=True):
        for info, token in zip([info for piece in pieces for info in piece.tokens], right.tokens, strict=True):
            if info.id != token:  # only rounding may exchange two tokens, and what follows them
                assert {info.id, token} == {info.top[0][0], info.top[1][0]} and info.top[0][1] - info.top[1][1] < 1e-4
                break
    engine.close()


def test_a_seed_draws_the_same_whatever_else_is_in_the_batch(tiny: Served) -> None:
    asked = [Wanted(prompt, 12, temperature=0.9, top_p=0.95, seed=number) for number, prompt in enumerate(prompts(24, 1))]
    together = answers(tiny, asked)
    assert [ids_of(p) for p in together] == [ids_of(answers(tiny, [one])[0]) for one in asked]
    other = answers(tiny, [Wanted(asked[0].prompt, 12, temperature=0.9, top_p=0.95, seed=99)])[0]
    assert ids_of(other) != ids_of(together[0])


def test_long_prompts_are_read_in_pieces() -> None:
    one = served(chunk=7)
    asked = prompts(12, 2)
    model = small_llama(one.tokenizer.vocab_size)
    expected = generate(model, asked, stop_ids=one.stop_ids, max_new_tokens=10, batch_size=1)
    assert [ids_of(p) for p in answers(one, [Wanted(prompt, 10) for prompt in asked])] == [found.tokens for found in expected]
    one.engine.close()


def test_the_next_turn_takes_over_what_was_read(tiny: Served) -> None:
    (first,) = prompts(1, 3)
    said = ids_of(answers(tiny, [Wanted(first, 8)])[0])
    before = tiny.engine.gauges()["reused_tokens"]
    longer = (*first, *said, *prompts(1, 4)[0])
    model = small_llama(tiny.tokenizer.vocab_size)
    (expected,) = generate(model, [longer], stop_ids=tiny.stop_ids, max_new_tokens=8)
    assert ids_of(answers(tiny, [Wanted(longer, 8)])[0]) == expected.tokens
    assert tiny.engine.gauges()["reused_tokens"] - before >= len(first)


def test_echo_gives_the_prompts_log_probabilities(tiny: Served) -> None:
    (prompt,) = prompts(1, 5)
    for limit in (0, 1):
        (pieces,) = answers(tiny, [Wanted(prompt, limit, logprobs=2, echo=True)])
        infos = [info for piece in pieces for info in piece.tokens]
        assert [info.id for info in infos if info.in_prompt] == list(prompt)
        assert len(infos) == len(prompt) + limit and pieces[-1].finish in ("length", "stop")
        with torch.no_grad():
            logp = small_llama(tiny.tokenizer.vocab_size)(torch.tensor([prompt])).logits[0].log_softmax(-1)
        assert infos[0].logprob is None
        for place, info in enumerate(infos[1 : len(prompt)]):
            assert info.logprob == pytest.approx(float(logp[place, info.id]), abs=1e-4)
            assert info.top[0][0] == int(logp[place].argmax())


def test_whoever_goes_away_frees_the_slot() -> None:
    one = served(slots=1)

    async def leave() -> None:
        pieces = one.engine.submit(Wanted(prompts(1)[0], None, temperature=1.0))
        await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]
        found = await asyncio.wait_for(answer(one, Wanted(prompts(1, 6)[0], 3)), 10)
        assert found[-1].finish

    asyncio.run(leave())
    until(lambda: one.engine.gauges()["running"] == 0)
    assert one.engine.gauges()["gone"] == 1
    one.engine.close()


def test_a_full_queue_says_so() -> None:
    one = served(slots=1, queue=1)

    async def crowd() -> list[object]:
        return await asyncio.gather(*(answer(one, Wanted(p, 60)) for p in prompts(8, 7)), return_exceptions=True)

    found = asyncio.run(crowd())
    assert 1 <= sum(isinstance(each, Busy) for each in found) <= 7
    assert any(isinstance(each, list) for each in found)
    one.engine.close()


def test_time_runs_out() -> None:
    one = served(slots=1, timeout=0.0)
    assert [p[-1].finish for p in answers(one, [Wanted(p, None) for p in prompts(3)])] == ["timeout"] * 3
    one.engine.close()


def test_an_answer_ends_where_the_context_does(tiny: Served) -> None:
    (prompt,) = prompts(1, 8)
    long = (prompt * CONTEXT)[: CONTEXT - 5]
    (pieces,) = answers(tiny, [Wanted(long, None, temperature=0.0)])
    assert len(ids_of(pieces)) <= 5 and pieces[-1].finish in ("length", "stop")


def test_a_stop_string_ends_an_answer_and_is_not_in_it(tiny: Served) -> None:
    (prompt,) = prompts(1, 9)
    whole = text_of(answers(tiny, [Wanted(prompt, 30)])[0])
    stop = whole[4:6]
    (pieces,) = answers(tiny, [Wanted(prompt, 30, stop=(stop,))])
    assert text_of(pieces) == whole[: whole.find(stop)] and pieces[-1].finish == "stop"


def test_closing_ends_what_runs_and_takes_nothing_more() -> None:
    one = served(slots=2)

    async def close() -> str | None:
        pieces = one.engine.submit(Wanted(prompts(1)[0], None, temperature=1.0, seed=3))
        await anext(pieces)
        task = asyncio.create_task(asyncio.to_thread(one.engine.close, 0.0))
        last = [piece async for piece in pieces][-1]
        await task
        with pytest.raises(Busy):
            await answer(one, Wanted(prompts(1)[0], 1))
        return last.finish

    assert asyncio.run(close()) in ("timeout", "stop", "length")


def test_a_failing_pass_ends_its_requests_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    one = served()
    reader = one.engine._reader
    read, calls = reader.read, []

    def fail_once(*args: object) -> torch.Tensor:
        calls.append(args)
        if len(calls) == 1:
            raise RuntimeError("out of memory")
        return read(*args)

    monkeypatch.setattr(reader, "read", fail_once)
    with pytest.raises(RuntimeError, match="out of memory"):
        answers(one, [Wanted(prompts(1)[0], 3)])
    assert answers(one, [Wanted(prompts(1)[0], 3)])[0][-1].finish
    one.engine.close()


def test_memory_for_few_slots_gives_the_same_answers() -> None:
    one = served(memory=3 * CONTEXT * token_bytes())  # three conversations as long as the context, or six of half
    asked = [prompt * 6 if number % 3 == 0 else prompt for number, prompt in enumerate(prompts(30, 11))]
    asked = [prompt[: CONTEXT - 20] for prompt in asked]
    model = small_llama(one.tokenizer.vocab_size)
    expected = generate(model, asked, stop_ids=one.stop_ids, max_new_tokens=40, batch_size=1)
    found = answers(one, [Wanted(prompt, 40, echo=number % 2 == 0, logprobs=1) for number, prompt in enumerate(asked)])
    for number, (prompt, pieces, right) in enumerate(zip(asked, found, expected, strict=True)):
        assert ids_of(pieces) == [*(prompt if number % 2 == 0 else ()), *right.tokens]
    gauges = one.engine.gauges()
    assert gauges["put_back"] > 0 and gauges["cache_bytes"] <= 3 * CONTEXT * token_bytes()
    one.engine.close()


def test_memory_for_less_than_one_conversation_is_refused() -> None:
    with pytest.raises(UserError, match=f"--context {CONTEXT - 1}"):
        served(memory=(CONTEXT - 1) * token_bytes())


def token_bytes() -> int:
    config = small_llama(10).config
    return 2 * 4 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim


def test_more_answers_than_a_pass_holds_all_go_on() -> None:
    one = served(chunk=2)
    asked = [Wanted(prompt, 30, temperature=1.0, seed=number) for number, prompt in enumerate(prompts(8, 12))]
    alone = [ids_of(answers(one, [each])[0]) for each in asked]
    before = one.engine.gauges()["passes"]
    assert [ids_of(pieces) for pieces in answers(one, asked)] == alone
    # prompts are read two tokens a pass (what they share with the first round lies there still), answers all at once
    assert one.engine.gauges()["passes"] - before < 30 + sum(len(each.prompt) for each in asked)
    one.engine.close()


class Breaks:
    """A constraint that fails at the third token."""

    def __init__(self, vocabulary: int, when: str):
        self._vocabulary, self._when, self._calls = vocabulary, when, 0

    def allowed(self) -> np.ndarray:
        return self._count("allowed")

    def accept(self, token: int) -> None:
        self._count("accept")

    def _count(self, name: str) -> np.ndarray:
        self._calls += name == self._when
        if self._calls == 3:
            raise ValueError("too many states")
        return np.arange(self._vocabulary) > 10


@pytest.mark.parametrize("when", ["allowed", "accept"])
def test_a_failing_constraint_ends_its_request_and_no_other(tiny: Served, when: str) -> None:
    (prompt,) = prompts(1, 13)
    (expected,) = answers(tiny, [Wanted(prompt, 20)])

    async def both() -> list[object]:
        broken = Wanted(prompt, 20, constraint=lambda: Breaks(tiny.tokenizer.vocab_size, when))
        return await asyncio.gather(answer(tiny, broken), answer(tiny, Wanted(prompt, 20)), return_exceptions=True)

    failed, whole = asyncio.run(both())
    assert isinstance(failed, UserError) and "too many states" in str(failed)
    assert ids_of(whole) == ids_of(expected)  # type: ignore[arg-type]
    until(lambda: tiny.engine.gauges()["running"] == 0)


def test_clients_that_come_and_go_mix_no_answers() -> None:
    one = served(slots=4, memory=6 * CONTEXT * token_bytes() // 2)
    random = np.random.default_rng(14)
    asked = prompts(48, 14)
    asked = [(*asked[number % 5], *prompt) for number, prompt in enumerate(asked)]  # some share a beginning
    model = small_llama(one.tokenizer.vocab_size)
    expected = generate(model, asked, stop_ids=one.stop_ids, max_new_tokens=25, batch_size=1)

    async def ask(number: int) -> list[int]:
        await asyncio.sleep(float(random.random()) * 0.2)
        stays, got = (25 if number % 3 else int(random.integers(1, 10))), []
        pieces = one.engine.submit(Wanted(asked[number], 25))
        async for piece in pieces:
            got += [info.id for info in piece.tokens]
            if len(got) >= stays and not piece.finish:
                await pieces.aclose()  # type: ignore[attr-defined]
                return got
        assert got == expected[number].tokens
        return got

    async def all_of_them() -> list[list[int]]:
        return await asyncio.gather(*(ask(number) for number in range(len(asked))))

    for got, right in zip(asyncio.run(all_of_them()), expected, strict=True):
        assert got == right.tokens[: len(got)]
    until(lambda: one.engine.gauges()["running"] == 0)
    assert sorted(one.engine._slots.free) == list(range(len(one.engine._slots.holds)))
    one.engine.close()


def until(true: object) -> None:
    end = time.monotonic() + 10
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)
