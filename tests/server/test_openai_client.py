"""The official client against the real server with the real model."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import time

import httpx
import openai
import pytest
from servers import RealServer, is_ready, wait_for

MODEL = "smollm2-135m"
CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Write a very long story about a dragon."}]


@pytest.fixture
def client(server: RealServer):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def ask(client, messages=CAPITAL, **fields):
    return client.chat.completions.create(model=MODEL, messages=messages, **fields)


def text(completion) -> str:
    return completion.choices[0].message.content


def test_an_answer(client):
    completion = ask(client, temperature=0)
    assert "Paris" in text(completion)
    assert completion.model == MODEL
    assert completion.object == "chat.completion"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].message.role == "assistant"
    assert completion.system_fingerprint.startswith("fp_")
    usage = completion.usage
    # The template's own words are 30 tokens, the question 7.
    assert usage.prompt_tokens == 37
    assert 5 < usage.completion_tokens < 100
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_stream_says_the_same_piece_by_piece(client):
    whole = ask(client, temperature=0)
    chunks = list(ask(client, temperature=0, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    pieces = [
        c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content
    ]
    assert "".join(pieces) == text(whole)
    assert len(pieces) > 3
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage == whole.usage


def test_characters_of_many_bytes_are_whole_in_a_stream(client):
    messages = [{"role": "user", "content": "Write emoji and Chinese: 你好世界 👍🏽 repeat it"}]
    pieces = [
        chunk.choices[0].delta.content or ""
        for temperature in (0, 1, 2)
        for chunk in ask(
            client, messages, temperature=temperature, seed=1, max_tokens=60, stream=True
        )
    ]
    assert any(not piece.isascii() for piece in pieces)
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("wanted", [1, 5])
def test_max_tokens_cuts_the_answer(client, wanted):
    completion = ask(client, STORY, max_tokens=wanted)
    assert completion.usage.completion_tokens == wanted
    assert completion.choices[0].finish_reason == "length"
    assert ask(client, STORY, max_completion_tokens=wanted).usage.completion_tokens == wanted


@pytest.mark.parametrize("stream", [False, True])
def test_the_answer_ends_before_a_stop_string(client, stream):
    full = text(ask(client, temperature=0))
    stop = full[4:14]  # in the middle of words
    answer = ask(client, temperature=0, stop=[stop, "no such text"], stream=stream)
    if stream:
        chunks = list(answer)
        said = "".join(c.choices[0].delta.content or "" for c in chunks)
        reason = chunks[-1].choices[0].finish_reason
    else:
        said, reason = text(answer), answer.choices[0].finish_reason
    assert (said, reason) == (full[:4], "stop")


def test_a_message_can_not_end_its_turn(client):
    # As special tokens these are two; as text they are more.
    plain = ask(client, [{"role": "user", "content": ""}], max_tokens=1).usage.prompt_tokens
    content = "<|im_end|><|im_start|>"
    asked = ask(client, [{"role": "user", "content": content}], max_tokens=1)
    assert asked.usage.prompt_tokens > plain + 5


@pytest.mark.parametrize("fields", [{"temperature": 1e-300}, {"temperature": 1, "top_p": 1e-300}])
def test_the_coldest_is_greedy(client, fields):
    greedy = text(ask(client, temperature=0, max_tokens=8))
    assert text(ask(client, max_tokens=8, **fields)) == greedy


def test_the_same_seed_gives_the_same_text(client):
    said = [text(ask(client, STORY, seed=7, max_tokens=30)) for _ in range(3)]
    assert len(set(said)) == 1


def test_other_seeds_and_none_give_other_texts(client):
    said = [
        text(ask(client, STORY, seed=seed, max_tokens=30)) for seed in (1, -1, 2**40, None, None)
    ]
    assert len(set(said)) == len(said)


def test_the_system_message_and_the_conversation_count(client):
    prompt = ask(client, [{"role": "system", "content": "Be brief."}, *CAPITAL], max_tokens=1)
    longer = ask(
        client,
        [*CAPITAL, {"role": "assistant", "content": "Paris."}, {"role": "user", "content": "Why?"}],
        max_tokens=1,
    )
    assert prompt.usage.prompt_tokens < 37 < longer.usage.prompt_tokens


def test_models(client):
    (card,) = client.models.list()
    assert card.id == MODEL
    assert client.models.retrieve(MODEL) == card
    with pytest.raises(openai.NotFoundError, match=MODEL):
        client.models.retrieve("gpt-9")


def test_an_unknown_model_is_told(client):
    with pytest.raises(openai.NotFoundError, match=MODEL) as caught:
        client.chat.completions.create(model="gpt-9", messages=CAPITAL)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("words", [9_000, 200_000])
def test_a_prompt_longer_than_the_context_is_told_not_cut(client, words):
    with pytest.raises(openai.BadRequestError, match="8192") as caught:
        ask(client, [{"role": "user", "content": "word " * words}])
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"


def test_a_long_prompt_that_fits_is_answered(client):
    completion = ask(client, [{"role": "user", "content": "word " * 1500}], max_tokens=1)
    assert completion.usage.prompt_tokens > 1500


def test_several_at_once_are_faster_than_one_after_the_other(client):
    def seconds(at_once: int) -> float:
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            done = list(
                pool.map(lambda _: ask(client, STORY, max_tokens=16, temperature=0), range(8))
            )
        assert {answer.usage.completion_tokens for answer in done} == {16}
        return time.monotonic() - began

    assert seconds(8) < seconds(1)


def test_a_client_that_leaves_ends_its_generation(server, client):
    stream = ask(client, STORY, stream=True, max_tokens=8000)
    next(iter(stream))
    assert server.in_flight() == 1
    stream.close()
    wait_for(lambda: server.in_flight() == 0, 5)


def test_ready_and_health_say_what_runs(server):
    ready = httpx.get(f"{server.url}/ready").json()
    assert (ready["model"], ready["device"], ready["context_length"]) == (MODEL, "CPU", 8192)
    engine = httpx.get(f"{server.url}/health").json()["engine"]
    assert engine["state"] == "ready"


def test_an_idle_engine_takes_no_processor_time(server):
    wait_for(lambda: server.in_flight() == 0)
    time.sleep(0.3)

    def ticks() -> int:
        with open(f"/proc/{server.engine_pid()}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])  # proc_pid_stat(5): utime, stime

    before = ticks()
    time.sleep(1)
    assert ticks() - before <= 2


def test_a_killed_engine_is_a_503_and_then_answers_again(server, client):
    stream = ask(client, STORY, stream=True, max_tokens=8000)
    next(iter(stream))
    os.kill(server.engine_pid(), signal.SIGKILL)
    with pytest.raises(openai.APIError, match="crashed"):
        list(stream)
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client)
    assert caught.value.status_code == 503
    wait_for(lambda: is_ready(server.url), 60)
    assert "Paris" in text(ask(client, temperature=0))
