"""From files to what is trained: nothing lost, nothing on both sides, nothing tokenized twice."""

import os
import signal
import subprocess
import sys
from collections import Counter

import pytest

from instil.core.errors import UserError
from instil.core.ledger import read_ledger
from instil.stages import prepare as stage
from instil.stages.prepare import prepare
from instil.template.tokenizer import ChatTokenizer
from tests.fakes import EOS, alpaca_rows, message_rows
from tests.stages.rows import alpacas, chat, examples, outcomes, trained, written


def test_an_example_is_what_will_be_served(recipe, write):
    data = prepare(recipe(write("a.jsonl", chat("Hi", "Ho", "Hm", "Ha", system="Be brief."), chat("One", "Two"))))
    asked = [("system", "Be brief."), ("user", "Hi")]
    assert examples(data) == [
        [
            (written(*asked), f"Ho{EOS}"),
            (written(*asked, ("assistant", "Ho"), ("user", "Hm")), f"Ha{EOS}"),
        ],
        [(written(("user", "One")), f"Two{EOS}")],
    ]


def test_a_second_start_tokenizes_nothing(recipe, write, monkeypatch):
    asked = recipe(write("a.jsonl", *alpaca_rows()), write("b.jsonl", *message_rows()), holdout__examples="10%")
    calls = []
    encode = ChatTokenizer.encode_batch
    monkeypatch.setattr(ChatTokenizer, "encode_batch", lambda self, texts: calls.append(len(texts)) or encode(self, texts))
    said: list[list[str]] = [[], []]
    first = prepare(asked, said[0].append)
    assert sum(calls) == 2 * (40 + 32), "context and whole of every turn"
    files = {file: file.stat().st_mtime_ns for store in first.stores for file in store.folder.iterdir()}
    calls.clear()
    second = prepare(asked, said[1].append)
    assert not calls
    assert {file: file.stat().st_mtime_ns for store in second.stores for file in store.folder.iterdir()} == files
    assert said[0] == said[1] and any("format alpaca (detected)" in sentence for sentence in said[0])
    assert trained(first) == trained(second) and outcomes(first) == outcomes(second)


def key(asked) -> str:
    return prepare(asked).stores[0].folder.name


OTHERS = {
    "format": "alpaca",
    "template": "zephyr",
    "max_length": "100",
    "overlong": "refuse",
    "control_tokens": "escape",
    "allow": "no_stop",
    "train_on": "last",
    "system": "Be brief.",
    "data__0__take": "100%",
    "data__0__task": "t",
}
SAME = {
    "data__0__weight": "2",
    "holdout__examples": "2",
    "seed": "1",
    "duplicates": "keep",
    "train__batch": "3",
    "method": "lora",
    "name": "other",
    "runs": "elsewhere",
}


@pytest.mark.parametrize("knob", [*OTHERS, *SAME])
def test_what_makes_another_store(recipe, write, knob):
    file = write("a.jsonl", *alpacas(4))
    name = "data__0__format" if knob == "format" else knob
    again = key(recipe(file, **{name: (OTHERS | SAME)[knob]}))
    assert (again != key(recipe(file))) == (knob in OTHERS)


def test_other_content_and_another_name_make_another_store(recipe, write):
    keys = [key(recipe(write("a.jsonl", *alpacas(4))))]
    keys.append(key(recipe(write("a.jsonl", *alpacas(4, start=1)))))
    keys.append(key(recipe(write("b.jsonl", *alpacas(4)))))  # the ledger names files
    assert len(set(keys)) == 3
    assert key(recipe(write("a.jsonl", *alpacas(4)))) == keys[0]


def test_template_options_make_another_store(recipe, write, tmp_path):
    template = "{% for m in messages %}{{ style }}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
    template += "{% if add_generation_prompt %}{{ style }}assistant: {% endif %}"
    (tmp_path / "t.jinja").write_text(template)
    file = write("a.jsonl", *alpacas(4))
    plain, styled = (recipe(file, template=str(tmp_path / "t.jinja"), template_options=o) for o in ({}, {"style": "!"}))
    assert key(plain) != key(styled)
    assert examples(prepare(styled))[0][0][0].endswith("!assistant: ")


def test_another_seed_takes_other_rows(recipe, write):
    file = write("a.jsonl", *alpacas(20))
    keys = {key(recipe(file, data__0__take="5 rows", seed=seed)) for seed in (0, 1)}
    assert len(keys) == 2


def test_another_tokenizer_makes_another_store(recipe, write, monkeypatch):
    file = write("a.jsonl", *alpacas(4))
    before = key(recipe(file))
    real = stage.read_resolved
    monkeypatch.setattr(stage, "read_resolved", lambda path: real(path).with_tokens(["<|unheard of|>"]))
    assert key(recipe(file)) != before


def test_every_row_of_every_source_is_accounted_for(recipe, write, tmp_path):
    bad = ['{"instruction": ', {"output": "no instruction"}, [1], {"instruction": "x", "output": ""}, *alpacas(1), *alpacas(1)]
    files = write("a.jsonl", *alpacas(30), *bad), write("b.jsonl", *alpacas(10), *alpacas(30, 100)), write("c.jsonl", *message_rows())
    asked = recipe(*files, allow="bad_json", holdout__examples="10%", data__1__take="50%")
    data = prepare(asked)
    counts = data.write_ledger(tmp_path / "ledger.jsonl")
    entries = list(read_ledger(tmp_path / "ledger.jsonl"))
    lines = [(str(file), n) for file in files for n in range(1, 1 + len(file.read_text().splitlines()))]
    assert [(e.origin.file, e.origin.line) for e in entries] == lines
    assert counts.rows == len(lines) == sum(counts.outcomes.values())
    assert counts.reasons == Counter(bad_json=1, bad_row=2, empty_answer=1)
    assert counts.outcomes["not taken"] == 20
    assert counts.outcomes["held out"] == len(data.held) > 0
    assert counts.outcomes["kept"] == sum(map(len, data.rows))


def test_duplicates_are_found_across_sources(recipe, write):
    files = write("a.jsonl", *alpacas(3), *alpacas(1)), write("b.jsonl", *alpacas(4))
    assert outcomes(prepare(recipe(*files))) == ["kept"] * 3 + ["duplicate"] * 4 + ["kept"]
    assert outcomes(prepare(recipe(*files, duplicates="keep"))) == ["kept"] * 8
    spaced = write("c.jsonl", {"instruction": "Name number 0. ", "output": "It is 0."})
    assert outcomes(prepare(recipe(files[0], spaced)))[-1] == "kept", "equal to the letter, or not at all"


def test_held_out_prompts_are_never_trained(recipe, write):
    """Every prompt occurs three times, spelled in three ways, with three answers, over two files."""
    spellings = [("Name number {}.", "{}!"), (" name  NUMBER {}.", "{}?"), ("Name\nnumber {}.", "It is {}.")]
    rows = [{"instruction": ask.format(n), "output": answer.format(n)} for ask, answer in spellings for n in range(60)]
    data = prepare(recipe(write("a.jsonl", *rows[:100]), write("b.jsonl", *rows[100:]), holdout__examples="25%", train__epochs=3))

    def prompt(tokens) -> str:
        text = data.contract.tokenizer.decode(list(tokens)).partition("user: ")[2].partition(EOS)[0]
        return " ".join(text.lower().split())

    held = Counter(prompt(path.tokens[: path.num_context]) for path in data.held_paths())
    seen = Counter(prompt(tokens) for tokens in trained(data))
    assert held and set(held.values()) == {3} and sum(held.values()) == 45
    assert not held.keys() & seen.keys() and len(held) + len(seen) == 60
    assert set(seen.values()) == {9}, "three rows, three epochs"


def test_tasks_are_held_out_whole(recipe, write):
    rows = [{**row, "category": ("qa", "sums", "rhymes")[k % 3]} for k, row in enumerate(alpacas(30))]
    data = prepare(recipe(write("a.jsonl", *rows), holdout__tasks=["sums", "rhymes"]))
    assert outcomes(data) == ["held out" if k % 3 else "kept" for k in range(30)]
    with pytest.raises(UserError, match=r"holdout\.tasks: no row has the task 'sum'; did you mean 'sums'\?"):
        prepare(recipe(write("a.jsonl", *rows), holdout__tasks="sum"))
    with pytest.raises(UserError, match="no row has a task label"):
        prepare(recipe(write("b.jsonl", *alpacas(3)), holdout__tasks="sum"))


def test_a_source_may_be_a_task_that_is_held_out(recipe, write):
    data = prepare(recipe(write("a.jsonl", *alpacas(3)), write("b.jsonl", *alpacas(3, 10)), data__0__task="sums", holdout__tasks="sums"))
    assert outcomes(data) == ["held out"] * 3 + ["kept"] * 3
    assert len(trained(data)) == 6, "two epochs of three rows"


def test_the_held_out_loss_is_bounded(recipe, write):
    rows = [{**row, "category": "qa" if k % 2 else "sums"} for k, row in enumerate(alpacas(30))]
    file = write("a.jsonl", *rows)
    data = prepare(recipe(file, holdout__tasks="qa", holdout__most=4))
    assert outcomes(data).count("held out") == 15 and len(data.held) == 4
    assert len(prepare(recipe(file, holdout__examples="50%", holdout__most=4)).held) == 4
    assert len(prepare(recipe(file, holdout__examples="10")).held) == 10


def test_a_system_message_for_those_that_have_none(recipe, write):
    rows = chat("Hi", "Ho"), chat("Hi", "Hu", system="Be long.")
    data = prepare(recipe(write("a.jsonl", *rows), system="Be brief."))
    contexts = [row[0][0] for row in examples(data)]
    assert contexts == [written(("system", s), ("user", "Hi")) for s in ("Be brief.", "Be long.")]


def test_only_last_turns(recipe, write):
    file = write("a.jsonl", chat("Hi", "Ho", "Hm", "Ha"), chat("One", "Two"))
    assert [[answer for _, answer in row] for row in examples(prepare(recipe(file, train_on="last")))] == [[f"Ha{EOS}"], [f"Two{EOS}"]]


def test_the_input_of_an_instruction_stands_where_its_template_wants_it(recipe, write, bare):
    file = write(
        "a.jsonl", {"instruction": "Add.", "input": "1 and 2", "output": "3"}, {"instruction": "Sing.", "input": "", "output": "La"}
    )
    (own,), _ = examples(prepare(recipe(file)))
    assert own[0] == written(("user", "Add.\n\n1 and 2"))
    (with_input,), (without,) = examples(prepare(recipe(file, model=str(bare), template="alpaca")))
    assert (
        "paired with an input" in with_input[0] and "\n\n### Instruction:\nAdd.\n\n### Input:\n1 and 2\n\n### Response:\n" in with_input[0]
    )
    assert "paired with an input" not in without[0] and "### Input" not in without[0]
    assert "\n\n### Instruction:\nSing.\n\n### Response:\n" in without[0] and without[1] == f"La{EOS}"


def test_a_line_that_is_no_json_stops_everything_unless_allowed(recipe, write, cache):
    file = write("a.jsonl", *alpacas(3), '{"instruction": "x", ', *alpacas(3, 10))
    stores = set((cache / "stores").glob("*"))
    with pytest.raises(UserError, match=r"a\.jsonl:4: .*line 4, column \d+: .*; mend the file, or set `allow: \[bad_json\]`"):
        prepare(recipe(file))
    assert set((cache / "stores").glob("*")) == stores
    assert outcomes(prepare(recipe(file, allow="bad_json"))) == ["kept"] * 3 + ["refused"] + ["kept"] * 3


def test_a_killed_preparation_leaves_no_store(recipe, write, cache, monkeypatch):
    asked = recipe(write("a.jsonl", *alpacas(1200)))
    flags = {"model": asked.model, "data": asked.data[0].path, "holdout.examples": "0"}
    code = f"""
import os, signal
from instil.core.loading import load_recipe
from instil.stages import prepare as stage
calls, template_rows = [], stage.template_rows
def killed(*arguments):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return template_rows(*arguments)
stage.template_rows = killed
stage.prepare(load_recipe(None, {flags!r}))
"""
    stores = set((cache / "stores").glob("[!.]*"))
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode == -signal.SIGKILL
    )
    assert set((cache / "stores").glob("[!.]*")) == stores
    assert outcomes(prepare(asked)) == ["kept"] * 1200


def test_a_damaged_store_is_made_anew(recipe, write):
    asked = recipe(write("a.jsonl", *alpacas(5)))
    first = prepare(asked)
    before = trained(first)
    (first.stores[0].folder / "tokens.u32").unlink()  # not cut short: `first` still looks at it
    (first.stores[0].folder / "tokens.u32").touch()
    assert trained(prepare(asked)) == before


def test_rows_are_counted_while_they_are_read(recipe, write, monkeypatch):
    monkeypatch.setattr(stage, "CHUNK", 4)
    ticks: list[int] = []
    prepare(recipe(write("a.jsonl", *alpacas(10))), tick=ticks.append)
    assert ticks == [4, 8, 10]


def test_lengths(recipe, write):
    """The model's context of 256 is the default; what does not fit loses whole turns, or is refused."""
    rows = chat("Hi " * 60, "Ho", "Hm", "Ha"), chat("Hi " * 120, "Ho")
    file = write("a.jsonl", *rows)
    data = prepare(recipe(file))
    assert data.rules.max_length == 256 and outcomes(data) == ["kept", "refused"]
    shorter = prepare(recipe(file, max_length=190))
    assert outcomes(shorter) == ["shortened", "refused"]
    assert [e.detail for e in shorter.entries()][0] == "examples longer than 190 tokens: 1 lost leading turns, 1 left out"
    assert examples(shorter)[0] == [(written(("user", "Hm")), f"Ha{EOS}")]
    kept = prepare(recipe(write("b.jsonl", *rows, chat("a", "b")), max_length=190, overlong="refuse"))
    assert outcomes(kept) == ["refused", "refused", "kept"]


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"max_length": 300}, r"max_length 300 exceeds the context of .*own \(256 tokens\): lower it"),
        ({"train__max_tokens": 200}, r"train\.max_tokens \(200\) must hold the longest example \(256 tokens\)"),
        ({"template": "chatlm"}, "template 'chatlm' is neither built in nor a .jinja file; did you mean 'chatml'"),
        ({"template_options": {"thinking": True}}, "does not read 'thinking'"),
        ({"holdout__examples": "100%"}, "would hold out all of the 3 rows"),
        ({"data": "absent.jsonl"}, "absent.jsonl does not exist: check the path"),
        ({"model": "/no/such/folder"}, "model folder /no/such/folder does not exist"),
    ],
)
def test_what_cannot_be_is_a_sentence(recipe, write, knobs, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        prepare(recipe(write("a.jsonl", *alpacas(3)), **knobs))
    assert "\n" not in str(error.value)


def test_no_template_and_none_chosen(recipe, write, bare):
    with pytest.raises(UserError, match="has no chat template: choose one with `template: chatml`"):
        prepare(recipe(write("a.jsonl", *alpacas(3)), model=str(bare)))


def test_nothing_left_to_train(recipe, write):
    rows = [{"instruction": f"{n} {EOS}", "output": "x"} for n in range(3)]
    sentence = (
        r"no row of .*a\.jsonl is left to train: 3 refused, the first at .*a\.jsonl:1 \(control_token: .*\); mend the rows or set `allow"
    )
    with pytest.raises(UserError, match=sentence):
        prepare(recipe(write("a.jsonl", *rows)))
    with pytest.raises(UserError, match=r"no row of .*b\.jsonl is left to train: 2 duplicate"):
        prepare(recipe(write("c.jsonl", *alpacas(2)), write("b.jsonl", *alpacas(2))))
    with pytest.raises(UserError, match=r"no row of .*c\.jsonl is left to train: 2 not taken"):
        prepare(recipe(write("c.jsonl", *alpacas(2)), data__0__take="0 rows"))


def test_weights_and_lengths_of_a_run(recipe, write):
    files = write("a.jsonl", *alpacas(8)), write("b.jsonl", *alpacas(4, 100))
    weighted = prepare(recipe(*files, data__0__weight=0.5, data__1__weight=2, train__batch=4, train__epochs=2))
    assert weighted.num_steps() == 6, "8 * 0.5 + 4 * 2 rows an epoch, in batches of 4, twice"
    assert len(trained(weighted)) == 24
    counts = Counter(trained(weighted))
    assert sorted(counts.values()) == [1] * 8 + [4] * 4
    stepped = prepare(recipe(*files, train__batch=5, train__steps=3))
    assert stepped.num_steps() == 3 and len(trained(stepped)) == 15


def test_steps_name_their_rows(recipe, write):
    data = prepare(recipe(write("a.jsonl", *alpacas(8)), train__batch=6))
    assert data.where(0).count("a.jsonl:") == 4 and data.where(0).endswith(" and 2 more")
    assert data.where(2).count("a.jsonl:") == 4 and "more" not in data.where(2), "16 rows leave 4 for the third step"
