import subprocess
import sys

import pytest

from etudes.cli import main

pytest.importorskip("qdrant_client")


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "norway.txt").write_text("Norway is a country. Oslo is the capital of Norway. Fish is eaten there.")
    (folder / "japan.md").write_text("# Japan\n\nTokyo is the capital of Japan. Rice is eaten there.")
    return folder


def ask(*words):
    return main(["ask", *map(str, words), "--embedder", "hashing"])


def test_an_answer_is_quoted_with_its_place(shelf, capsys):
    assert ask(shelf, "Is Oslo the capital of Norway?", "--k", 2) == 0
    first = capsys.readouterr()
    assert "Quoted from norway.txt [1]:\n  Oslo is the capital of Norway." in first.out
    assert "[1] norway.txt, characters 0-" in first.out
    assert "dense 0." not in first.out
    assert "indexing norway.txt" in first.err
    assert ask(shelf, "Is Oslo the capital of Norway?", "--k", 2, "--scores") == 0
    second = capsys.readouterr()
    assert "dense 0." in second.out
    assert "(score " in second.out
    assert "indexing" not in second.err


def test_what_cannot_be_read_is_named_and_the_others_are_asked(shelf, capsys):
    (shelf / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    assert ask(shelf, "What is the capital of Norway?") == 0
    told = capsys.readouterr()
    assert "broken.pdf is no whole PDF" in told.err
    assert "Oslo is the capital of Norway." in told.out


def test_a_model_s_words_come_on_demand_and_are_checked(shelf, capsys, monkeypatch):
    class Liar:
        name, context = "liar 1B", 2000

        def count(self, text):
            return len(text.split())

        def stream(self, messages, *, tokens, **how):
            yield from ("The capital is Oslo. ", "Halvorsen founded it in 1048.")

    monkeypatch.setattr("etudes.retrieval.ask.chat", lambda name: Liar())
    assert ask(shelf, "Is Oslo the capital of Norway?", "--model", "smollm2-135m") == 0
    told = capsys.readouterr().out
    assert "In the words of liar 1B, which may be wrong:\n  The capital is Oslo." in told
    assert "(in no passage: 1048, of “Halvorsen founded it in 1048.”)" in told
    assert told.index("Quoted from") < told.index("In the words of")


def test_what_left_the_folder_leaves_the_index(shelf, capsys):
    ask(shelf, "What is the capital of Norway?")
    (shelf / "norway.txt").unlink()
    capsys.readouterr()
    ask(shelf, "What is the capital of Norway?", "--mode", "dense")
    assert "norway.txt" not in capsys.readouterr().out


def test_what_the_documents_do_not_say_is_told(shelf, capsys):
    assert ask(shelf, "Quarterly revenue forecasts?") == 0
    assert "Not in the documents" in capsys.readouterr().out


def test_bad_input_is_one_sentence(shelf, capsys):
    assert ask(shelf / "absent.txt", "Who?") == 2
    assert ask(shelf, " ") == 2
    assert (
        main(["ask", str(shelf), "What is the capital of Norway?", "--model", "nosuch", "--embedder", "hashing"]) == 2
    )
    told = capsys.readouterr().err.strip().splitlines()
    assert "no file or folder" in told[0]
    assert all("Traceback" not in line for line in told)


def test_nothing_is_imported_that_is_not_needed(shelf):
    words = ["ask", str(shelf), "Who?", "--embedder", "hashing"]
    heavy = ["transformers", "sentence_transformers", "scipy", "pandas", "datasets", "altair", "PIL", "pypdf"]
    program = (
        f"import sys; from etudes.cli import main; assert main({words}) == 0\n"
        f"print('heavy', [name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy []"
