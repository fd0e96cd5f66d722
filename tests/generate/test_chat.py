import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from etudes.core.errors import Problem
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import cache_path
from etudes.generate import chat as module
from etudes.generate.chat import SMOLLM2, HubNetwork, HubTokenizer, Local, chat

ASK = [{"role": "user", "content": "Say hello."}]


class Answers(BaseHTTPRequestHandler):
    """A server that gives what the test put into `server.reply`: (status, content type, body)."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, json.loads(body), self.headers.get("Authorization")))
        self.server.wait.wait(self.server.silence)
        status, kind, reply = self.server.reply
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    found = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    found.asked, found.silence, found.wait = [], 0, threading.Event()
    found.daemon_threads = True
    threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{found.server_port}/v1/")
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "OPENAI_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield found
    found.wait.set()
    found.shutdown()
    found.server_close()


def events(*pieces):
    lines = [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
    return "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"


def test_an_endpoint_is_asked_and_its_pieces_come_one_by_one(server):
    server.reply = 200, "text/event-stream", (": ping\n\n" + events("Hel", "lo", "é")).encode()
    model = chat("openai:tiny")
    assert list(model.stream(ASK, tokens=5, temperature=0.5, top_p=0.9, seed=3)) == ["Hel", "lo", "é"]
    ((path, question, key),) = server.asked
    assert path == "/v1/chat/completions"
    assert key == "Bearer a-key"
    assert question == {
        "model": "tiny",
        "messages": ASK,
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 3,
        "stream": True,
    }
    assert model.answer(ASK, tokens=5) == "Helloé"
    assert model.context == 8192
    assert model.count("né") == 3


def test_an_endpoint_that_does_not_stream_is_read_too(server):
    server.reply = (
        200,
        "application/json",
        json.dumps({"choices": [{"message": {"content": "Hello"}}]}, indent=1).encode(),
    )
    assert chat("openai:tiny").answer(ASK, tokens=5) == "Hello"


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((500, "text/plain", b"oh"), "answered 500"),
        ((401, "text/plain", b"no"), "check OPENAI_API_KEY"),
        ((200, "text/html", b"<html>hello</html>"), "'<html>hello</html>' and no chat"),
        ((200, "text/event-stream", b"data: {oh\n\n"), "and no chat"),
        ((200, "application/json", b'{"choices": 3}'), "and no chat"),
        ((200, "application/json", b'{"error": {"message": "too busy"}}'), "an error: too busy"),
    ],
)
def test_bad_answers_of_an_endpoint_are_one_sentence(server, reply, says):
    server.reply = reply
    with pytest.raises(Problem, match=says):
        chat("openai:tiny").answer(ASK, tokens=5)


def test_an_endpoint_that_is_silent_is_given_up(server, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    server.silence, server.reply = 30, (200, "text/plain", b"")
    with pytest.raises(Problem, match="was silent for"):
        chat("openai:tiny").answer(ASK, tokens=5)


def test_an_endpoint_that_is_not_there_is_one_sentence(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    with pytest.raises(Problem, match=r"cannot be asked .*check OPENAI_BASE_URL"):
        chat("openai:tiny").answer(ASK, tokens=5)


def test_without_key_only_an_address_of_ones_own_is_asked(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    server.reply = 200, "text/event-stream", events("yes").encode()
    assert chat("openai:tiny").answer(ASK, tokens=5) == "yes"
    assert server.asked[0][2] is None
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(Problem, match="needs OPENAI_API_KEY"):
        chat("openai:tiny")


def test_a_context_must_be_a_number(server, monkeypatch):
    monkeypatch.setenv("OPENAI_CONTEXT", "many")
    with pytest.raises(Problem, match="OPENAI_CONTEXT is 'many'"):
        chat("openai:tiny")


def test_an_unknown_model_is_told():
    with pytest.raises(Problem, match="did you mean 'smollm2-135m'"):
        chat("smollm2-135")


class Letters:
    """A tokenizer of one token a byte; 1 ends an answer."""

    eos_token_id = 1
    chat_template = "yes"

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        assert not tokenize
        assert add_generation_prompt
        return "".join(f"{m['role'][0]}:{m['content']};" for m in messages) + "a:"

    def encode(self, text, add_special_tokens):
        return [byte + 2 for byte in text.encode()]

    def decode(self, ids, skip_special_tokens):
        return bytes(i - 2 for i in ids).decode(errors="replace")


@pytest.fixture(scope="module")
def tiny():
    """A Llama of transformers with random weights, over bytes."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=258,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=1,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    return Local("tiny", HubNetwork(model), HubTokenizer(model, Letters()))


def test_scores_are_those_of_each_whole_text_read_alone(tiny):
    texts = ["yes", "n", "perhaps so"]
    prompt = Letters().encode("u:Say hello.;a:", False)
    found = tiny.scores(ASK, texts)
    for text, score in zip(texts, found, strict=True):
        ids = prompt + Letters().encode(text, False)
        with torch.no_grad():
            logits = (
                tiny.network.model(torch.tensor([ids], device=tiny.network.device)).logits[0].double().log_softmax(-1)
            )
        alone = sum(logits[i - 1, ids[i]].item() for i in range(len(prompt), len(ids)))
        assert score == pytest.approx(alone, abs=1e-4)
    assert found.dtype == np.float64
    assert tiny.scores(ASK, []).shape == (0,)
    with pytest.raises(Problem, match="empty continuation"):
        tiny.scores(ASK, ["yes", ""])


def test_greedy_answers_are_those_of_transformers(tiny):
    prompt = torch.tensor([Letters().encode("u:Say hello.;a:", False)], device=tiny.network.device)
    wanted = tiny.network.model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False, pad_token_id=0
    )[0, prompt.shape[1] :].tolist()
    wanted = wanted[: wanted.index(1)] if 1 in wanted else wanted
    assert tiny.answer(ASK, tokens=20) == Letters().decode(wanted, True)


def test_drawn_answers_depend_on_the_seed_alone(tiny):
    answers = [tiny.answer(ASK, tokens=20, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]
    assert "".join(tiny.stream(ASK, tokens=20, temperature=1.0, seed=1)) == answers[0]


def test_messages_that_leave_no_place_are_a_problem(tiny):
    with pytest.raises(Problem, match=r"the messages have .* tokens, and tiny sees 64"):
        tiny.answer([{"role": "user", "content": "x" * 80}], tokens=5)
    nearly = [{"role": "user", "content": "x" * 54}]  # 5 tokens are left
    assert len(list(tiny.stream(nearly, tokens=50))) <= 5


@pytest.mark.slow
@pytest.mark.skipif(not cache_path(SMOLLM2, cache_folder()).exists(), reason="the small chat model was not fetched yet")
def test_the_small_model_knows_what_is_near():
    model = chat()
    ask = [{"role": "user", "content": "What is the capital of France? Answer with one word."}]
    paris, banana = model.scores(ask, ["Paris", "Banana"])
    assert paris > banana + 3
    assert model.count("hello world") == 2
    assert "Paris" in model.answer(ask, tokens=20)
