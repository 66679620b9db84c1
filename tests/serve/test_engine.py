"""Many requests at a time get the answers that each would get alone."""

import asyncio
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from instil.model.generate import generate
from instil.serve.values import Busy, Served, Wanted
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


def until(true: object) -> None:
    end = time.monotonic() + 10
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)
