"""Tokens are drawn row by row: what one row draws depends on nothing but its own logits and random number."""

import numpy as np
import torch

from instil.serve.sampling import Draw, choose, named


def logits(rows: int = 5, vocabulary: int = 11) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(0)) * 2


def test_greedy_is_the_likeliest_and_of_equals_the_first() -> None:
    made = logits()
    made[2] = 0.0
    assert choose(made, [Draw()] * 5) == made.argmax(-1).tolist()
    assert choose(made, [Draw()] * 5)[2] == 0


def test_a_temperature_next_to_zero_is_zero() -> None:
    made = logits()
    assert choose(made, [Draw(1e-320, 1.0, 0.9)] * 5) == choose(made, [Draw(1e-5, 1.0, 0.9)] * 5) == made.argmax(-1).tolist()


def test_frequencies_are_the_probabilities() -> None:
    made, draws = logits(1), 4000
    random = np.random.default_rng(0)
    tokens = choose(made.expand(draws, -1), [Draw(0.8, 1.0, u) for u in random.random(draws)])
    expected = (made[0] / 0.8).softmax(-1).numpy()
    found = np.bincount(tokens, minlength=11) / draws
    assert np.abs(found - expected).max() < 4 * np.sqrt(0.25 / draws)


def test_top_p_keeps_the_fewest_tokens_that_reach_it() -> None:
    made = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    drawn = {choose(made, [Draw(1.0, 0.8, u)])[0] for u in np.linspace(0, 0.999, 50)}
    assert drawn == {0, 1}
    assert {choose(made, [Draw(1.0, 0.01, u)])[0] for u in np.linspace(0, 0.999, 50)} == {0}


def test_rows_do_not_depend_on_each_other() -> None:
    made = logits()
    draws = [Draw(), Draw(1.0, 0.9, 0.3), Draw(0.5, 1.0, 0.7), Draw(2.0, 0.5, 0.1), Draw()]
    together = choose(made, draws)
    assert together == [choose(made[row : row + 1], [draw])[0] for row, draw in enumerate(draws)]


def test_a_constraint_leaves_only_what_it_allows() -> None:
    made = logits(2)
    allowed = np.zeros(9, bool)  # shorter than the vocabulary: spare rows of the embeddings are never allowed
    allowed[[3, 5]] = True
    best = 3 if made[0, 3] > made[0, 5] else 5
    assert choose(made, [Draw(allowed=allowed), Draw()]) == [best, int(made[1].argmax())]
    assert {choose(made, [Draw(5.0, 1.0, u, allowed), Draw()])[0] for u in np.linspace(0, 0.999, 40)} == {3, 5}


def test_named_probabilities_are_the_models_own() -> None:
    made = logits()
    expected = made.double().log_softmax(-1)
    for row, (own, top) in enumerate(named(made, [1, 2, 3, 4, 5], 3)):
        assert abs(own - float(expected[row, row + 1])) < 1e-5
        assert [token for token, _ in top] == made[row].argsort(descending=True)[:3].tolist()
    assert [top for _, top in named(made, [0] * 5, 0)] == [()] * 5
