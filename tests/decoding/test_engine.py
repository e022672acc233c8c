"""Tests what the engine answers: log-probabilities of the model, choices, ends, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from palmetto.decoding.engine import Limits
from palmetto.decoding.request import Event, Finish, Request
from palmetto.decoding.sampling import Sampling
from palmetto.errors import UserError
from tests.conftest import slow_but
from tests.decoding.engines import SMALL, alone, engine, finished, gathered, stepped
from tests.decoding.test_kinds import KINDS, LENGTH, TOKENS, VOCABULARY, whole

PROMPT = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5)
KIND = "grouped queries"


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


@pytest.mark.parametrize("kind", slow_but(("grouped queries", "t5", "memory"), KINDS))
def test_log_probabilities_agree_with_the_whole_sequence(kind: str) -> None:
    limits = Limits(rows=5, block=4, sequences=2, longest=LENGTH)
    requests = [Request(tuple(row.tolist()), tokens=0, echo=True, top=4) for row in TOKENS]
    expected = log_softmax(whole(kind, TOKENS))
    for row, [result] in enumerate(engine(kind, limits).run(requests)):
        assert [token.id for token in result.prompt] == TOKENS[row].tolist()
        assert result.prompt[0].logprob is None
        for position, token in enumerate(result.prompt[1:]):
            assert token.logprob == pytest.approx(expected[row, position, token.id], abs=2e-5)
            best = np.argsort(-expected[row, position], kind="stable")[:4]
            assert [pair[0] for pair in token.top] == best.tolist()
            assert [pair[1] for pair in token.top] == pytest.approx(expected[row, position, best].tolist(), abs=2e-5)


@pytest.mark.parametrize("kind", slow_but(["local"], ["local", "t5, bidirectional", "experts"]))
@pytest.mark.parametrize("rows", slow_but([4], [4, 8]))
def test_a_prefix_sees_itself_in_full(kind: str, rows: int) -> None:
    prefix = np.array([7, 5], np.int32)
    expected = log_softmax(whole(kind, TOKENS, prefix))
    limits = Limits(rows=rows, block=4, sequences=2, longest=LENGTH)
    asked = [
        Request(tuple(r.tolist()), tokens=0, echo=True, prefix=int(p)) for r, p in zip(TOKENS, prefix, strict=True)
    ]
    for row, [result] in enumerate(engine(kind, limits).run(asked)):
        assert [token.logprob for token in result.prompt[: prefix[row]]] == [None] * prefix[row]
        for position in range(prefix[row] - 1, LENGTH - 1):
            token = result.prompt[position + 1]
            assert token.logprob == pytest.approx(expected[row, position, token.id], abs=2e-5)


def test_greedy_rows_have_the_same_bits_beside_banned_tokens() -> None:
    of = engine(KIND)
    [[greedy]] = of.run([Request(PROMPT, 6, top=2)])
    [[biased], [other]] = of.run([Request(PROMPT, 6, Sampling(banned=(7,))), Request(PROMPT, 6, top=2)])
    assert (other, biased.tokens[0].logprob) == (greedy, greedy.tokens[0].logprob)


def test_echoed_log_probabilities_are_those_of_generating() -> None:
    [[result]] = engine(KIND).run([Request(PROMPT, 20, Sampling(1.3), seed=5, top=2)])
    text = (*PROMPT, *(token.id for token in result.tokens))
    of = engine(KIND)
    of.run([Request(text[:17], 4)])
    [[echo]] = of.run([Request(text, 0, echo=True, top=2)])
    assert echo.prompt[len(PROMPT) :] == result.tokens
    assert echo.tokens == ()


def test_the_end_of_an_echo_is_scored_from_the_cache() -> None:
    of = engine(KIND)
    [[whole_echo]] = of.run([Request(PROMPT, tokens=0, echo=True)])
    before = of.figures().hits
    for start in (len(PROMPT) - 1, len(PROMPT) // 2, 1, 0):
        [[end]] = of.run([Request(PROMPT, tokens=0, echo=True, echo_from=start)])
        assert end.prompt == whole_echo.prompt[start:]
    assert of.figures().hits > before
    with pytest.raises(UserError, match=r"echo_from=\d+: expected 0 to"):
        of.submit(Request(PROMPT, echo=True, echo_from=len(PROMPT) + 1))


def test_greedy_tokens_are_the_most_probable() -> None:
    [[result]] = engine(KIND).run([Request(PROMPT, 20, top=1)])
    assert [token.top for token in result.tokens] == [((token.id, token.logprob),) for token in result.tokens]
    hot = Sampling(2.0, top_k=1)
    assert engine(KIND).run([Request(PROMPT, 20, hot, seed=3, top=1)]) == [[result]]


def test_choices_differ_and_each_is_reproducible() -> None:
    hot = Sampling(2.0)
    first = alone(engine(KIND), Request(PROMPT, 12, hot, choices=4))
    assert len({tuple(token.id for token in tokens) for tokens, _ in first}) == 4
    assert alone(engine(KIND), Request(PROMPT, 12, hot, choices=2)) == first[:2]
    assert alone(engine(KIND), Request(PROMPT, 12, hot, seed=1, choices=1))[0] != first[0]


def test_choices_share_the_blocks_of_the_prompt() -> None:
    of = engine(KIND)
    of.submit(Request(PROMPT, 2, Sampling(1.0), choices=4))
    most = 0
    while of.busy:
        stepped(of)
        most = max(most, of.figures().blocks_used)
    assert of.figures().preemptions == 0
    assert most <= 2 + 4 * 2, "two full blocks of the prompt are there once"
    assert of.figures().hits == 0


def test_a_stop_token_ends_a_choice_and_is_reported() -> None:
    [[whole_answer]] = engine(KIND).run([Request(PROMPT, 12, top=1)])
    end = whole_answer.tokens[5].id
    at = [token.id for token in whole_answer.tokens].index(end)
    [[result]] = engine(KIND).run([Request(PROMPT, 12, stop=frozenset({end}), top=1)])
    assert result.tokens == whole_answer.tokens[: at + 1]
    assert (result.finish, whole_answer.finish) == (Finish.STOP, Finish.LENGTH)


def test_blocks_take_less_memory_than_sequences_of_the_greatest_length() -> None:
    of = engine(KIND)
    of.submit(Request(PROMPT, 9, choices=2))
    for _ in range(3):
        stepped(of)
    figures = of.figures()
    one_block = 2 * 2 * 2 * 4 * 6 * 4  # keys and values, layers, heads, positions, elements, bytes
    assert figures.running == 2
    assert figures.paged_bytes == figures.blocks_used * one_block
    assert figures.contiguous_bytes == 2 * 10 * one_block


def test_an_answer_ends_where_the_longest_sequence_does() -> None:
    [[result]] = engine(KIND).run([Request(PROMPT, 1000)])
    assert len(PROMPT) + len(result.tokens) == SMALL.longest + 1
    assert result.finish == Finish.LENGTH


def test_a_cancelled_request_frees_its_rows_at_the_next_step() -> None:
    of = engine(KIND)
    number = of.submit(Request(PROMPT, 20, choices=2))
    other = of.submit(Request(PROMPT[:3], 20))
    for _ in range(4):
        stepped(of)
    of.cancel(number)
    events = stepped(of)
    assert {(event.request, event.finish) for event in events} == {(number, Finish.CANCELLED), (other, None)}
    assert of.figures().rows == of.figures().running == 1
    assert finished(of)[other, 0][1] == Finish.LENGTH


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
@pytest.mark.parametrize("cancelled", [0, 1, 2])
def test_a_cancelled_choice_leaves_the_others_as_they_are(steps: int, cancelled: int) -> None:
    request = Request(PROMPT, 12, Sampling(1.3), seed=5, choices=3)
    of, expected = engine(KIND), alone(engine(KIND), request)
    number = of.submit(request)
    events = [event for _ in range(steps) for event in stepped(of)]
    of.cancel(number, cancelled)
    events += stepped(of)
    assert (number, cancelled, Finish.CANCELLED) in {(event.request, event.choice, event.finish) for event in events}
    assert of.figures().running <= 2
    while of.busy:
        events += stepped(of)
    answers = gathered(events)
    assert all(answers[number, choice] == expected[choice] for choice in {0, 1, 2} - {cancelled})


def test_choices_without_tokens_end_after_the_echo() -> None:
    of = engine(KIND)
    of.submit(Request(PROMPT, 0, choices=3, echo=True))
    events = list[Event]()
    while of.busy:
        events += stepped(of)
    assert [event.choice for event in events if event.finish] == [0, 1, 2]
    assert [len(event.tokens) for event in events][-3:][1:] == [0, 0]
    assert sum(len(event.tokens) for event in events) == len(PROMPT)


def test_a_request_of_higher_priority_overtakes_others() -> None:
    of = engine(KIND)
    low = [of.submit(Request((*PROMPT[:4], i), 30, priority=0)) for i in range(6)]
    stepped(of)
    high = of.submit(Request(PROMPT, 2, priority=1))
    events = list[Event]()
    while (high, 0) not in gathered(events):
        events += stepped(of)
    assert of.figures().preemptions > 0
    answers = gathered(events) | finished(of)
    assert all(answers[number, 0][1] == Finish.LENGTH for number in (*low, high))


def test_equal_requests_finish_in_the_order_of_arrival() -> None:
    of, events = engine(KIND, replace(SMALL, sequences=1)), list[Event]()
    numbers = [of.submit(Request((*PROMPT[:3], i), 4)) for i in range(5)]
    while of.busy:
        events += stepped(of)
    assert [event.request for event in events if event.finish] == numbers


def test_later_requests_find_the_blocks_of_earlier_ones() -> None:
    of = engine(KIND)
    assert of.figures().hits == 0
    [[first]] = of.run([Request(PROMPT, 4)])
    [[again]] = of.run([Request(PROMPT, 4)])
    assert of.figures().hits == 8, "two full blocks"
    assert first == again


def test_prompts_that_come_together_share_their_beginning() -> None:
    requests = [Request((*PROMPT, end), 3) for end in (1, 2, 3)]
    of = engine(KIND)
    together = of.run(requests)
    assert of.figures().hits == 2 * 8, "two full blocks of the second and the third"
    of.scheduler.check()
    assert together == [engine(KIND).run([request])[0] for request in requests]


def test_windows_free_blocks_that_nobody_sees() -> None:
    used = {}
    for kind in ("local", "sinks", "grouped queries"):
        of, used[kind] = engine(kind), 0
        of.submit(Request(PROMPT, 29))
        while of.busy:
            stepped(of)
            used[kind] = of.figures().blocks_used or used[kind]
    assert used["local"] <= 2
    assert used["sinks"] <= 3
    assert used["grouped queries"] == 10


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(()), "prompt: empty"),
        (Request((0,) * 41), "prompt: 41 tokens; expected at most 40"),
        (Request((0, VOCABULARY)), "prompt: token 40; expected 0 to 39"),
        (Request((0,), top=21), "top=21: expected 0 to 20"),
        (Request((0,), choices=0), "choices=0: expected 1 to"),
        (Request((0,), tokens=-1), "tokens=-1: expected 0 to"),
        (Request((0,), prefix=2), "prefix=2: expected 0 to 1"),
        (Request((0,), sampling=Sampling(-1.0)), "temperature -1.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_can_never_be_served_is_refused(request_: Request, message: str) -> None:
    of = engine(KIND)
    with pytest.raises(UserError, match=message):
        of.submit(request_)
    assert not of.busy


def test_a_cache_too_small_for_a_request_is_refused() -> None:
    of = engine(KIND, Limits(rows=8, block=4, blocks=5, sequences=2, longest=40))
    with pytest.raises(UserError, match="21 positions, take 6 blocks of cache; there are 5"):
        of.submit(Request(PROMPT, 11))
    of.submit(Request(PROMPT, 10))


def test_learned_positions_bound_the_sequence() -> None:
    of = engine("learned")
    with pytest.raises(UserError, match=f"prompt: 13 tokens; expected at most {LENGTH}"):
        of.submit(Request((0,) * 13))
