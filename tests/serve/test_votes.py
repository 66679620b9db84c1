"""Votes are a preference file: what is written is read back by the data room and by `instil data validate`, to the letter."""

import json
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from instil.cli import app
from instil.core.errors import Refused, UserError
from instil.core.values import Message
from instil.data.formats import FORMATS
from instil.serve.votes import Said, Sampled, choice_row, judged_row, save_vote

PROMPT = (Message(role="system", content="Be brief."), Message(role="user", content="Name a colour. \u2028 <b>"))
HOW = Sampled(0.7, 0.9, 32, 5)
GOOD, BAD = Said("tuned", "Blue,\n\nas the sky."), Said("base", "Name a colour. Name a")


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_data_room_reads_what_was_voted(tmp_path: Path) -> None:
    path = tmp_path / "new" / "votes.jsonl"
    save_vote(path, "1", [choice_row(PROMPT, GOOD, BAD, HOW)])
    save_vote(path, "2", [judged_row(PROMPT, GOOD, True, HOW, "thumb")])
    save_vote(path, "3", [judged_row(PROMPT, BAD, False, HOW, "thumb")])
    pair, liked, disliked = (FORMATS["preference"](row) for row in rows(path))
    assert pair.prompt == liked.prompt == disliked.prompt == PROMPT
    assert (pair.chosen[0].content, pair.rejected[0].content) == (GOOD.text, BAD.text)
    assert (liked.chosen[0].content, liked.rejected) == (GOOD.text, ())
    assert (disliked.chosen, disliked.rejected[0].content) == ((), BAD.text)
    assert pair.extra["chosen_model"] == "tuned" and pair.extra["rejected_model"] == "base"
    result = CliRunner().invoke(app, ["data", "validate", str(path)])
    assert result.exit_code == 0, result.output
    assert "3" in result.output and "preference" in result.output, result.output


def test_a_vote_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    save_vote(path, "a", [judged_row(PROMPT, GOOD, True, HOW, "thumb")])
    save_vote(path, "b", [judged_row(PROMPT, BAD, True, HOW, "thumb")])
    save_vote(path, "a", [judged_row(PROMPT, GOOD, False, HOW, "thumb")])
    assert [(row["vote"], bool(row["chosen"])) for row in rows(path)] == [("b", True), ("a", False)]
    save_vote(path, "a", [])
    assert [row["vote"] for row in rows(path)] == ["b"]


def test_votes_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    row = judged_row(PROMPT, GOOD, True, HOW, "thumb")
    threads = [threading.Thread(target=save_vote, args=(path, str(n), [row])) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(row["vote"]) for row in rows(path)) == list(range(20))


def test_what_nothing_can_be_learned_from_is_no_row() -> None:
    with pytest.raises(Refused, match="the same"):
        choice_row(PROMPT, GOOD, Said("base", GOOD.text), HOW)
    with pytest.raises(Refused, match="empty"):
        choice_row(PROMPT, Said("base", " \n"), GOOD, HOW)
    with pytest.raises(Refused, match="empty"):
        judged_row(PROMPT, Said("base", ""), True, HOW, "thumb")
    assert choice_row(PROMPT, GOOD, Said("base", ""), HOW)["rejected"] == []


def test_a_file_that_is_damaged_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text("not json\n")
    with pytest.raises(UserError, match="damaged"):
        save_vote(path, "1", [judged_row(PROMPT, GOOD, True, HOW, "thumb")])
    assert path.read_text() == "not json\n"
