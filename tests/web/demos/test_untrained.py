"""Demos in a browser where nothing is trained and nothing comes along: what they offer, say and train."""

import re
from pathlib import Path

import pytest

from watching import LONG, watch


@pytest.mark.parametrize("slug", ["generation", "ddpm-sdedit", "cifar", "mixup", "doom-dqn", "rotnet"])
def test_without_a_network_a_demo_offers_to_train_one(browser, empty, slug):
    for watched in watch(browser, empty, 1280):
        page = watched.open(slug)
        page.get_by_role("button", name="Train", exact=True).wait_for()
        page.get_by_text("train").first.wait_for()


@pytest.mark.parametrize(
    ("slug", "button"),
    [
        ("generation", "Write"),
        ("ddpm-sdedit", "Load it"),
        ("ddpm-sdedit", "Redraw"),
        ("cifar", "Classify the test picture"),
        ("doom-dqn", "Play fresh games"),
        ("rag", "Delete what is ticked"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_marks_nothing_as_broken(browser, empty, slug, button):
    for watched in watch(browser, empty, 1280):
        page = watched.open(slug)
        page.wait_for_timeout(800)
        page.get_by_role("button", name=button, exact=True).click()
        said = page.locator(".toast-body")
        said.get_by_text(re.compile("no network is trained yet|tick the documents")).wait_for()
        page.wait_for_timeout(300)
        assert said.count() == 1
        assert page.get_by_text("Error", exact=True).count() == 0


def test_the_page_of_mixtures_opens_in_peace_without_networks(browser, empty):
    for watched in watch(browser, empty, 1280):
        page = watched.open("mixup")
        page.get_by_text("No pair of networks is trained yet").wait_for()
        page.get_by_label("number input for Share of the first picture").fill("0.25")
        page.keyboard.press("Tab")
        page.wait_for_timeout(1500)
        assert page.locator(".toast-body").count() == 0
        assert page.get_by_text("Error", exact=True).count() == 0


def test_a_training_goes_on_over_a_reload_is_seen_in_other_tabs_and_chosen_at_its_end(browser, empty):
    for watched in watch(browser, empty, 1280):
        page = watched.open("mixup")
        page.get_by_label(re.compile("mixup, erm and mixup, smoke")).check()
        page.get_by_role("button", name="Train", exact=True).click()
        page.get_by_text(re.compile(r"training mixup: \d+ %, about \d+ seconds left")).wait_for()
        page = watched.open("mixup")  # anew, in the middle
        page.get_by_text("training mixup").wait_for()
        other = page.context.new_page()
        other.goto(f"{empty}/demo/generation/")
        other.get_by_text("training mixup").wait_for(timeout=LONG)
        page.get_by_text(re.compile(r"trained in \d+ s")).wait_for(timeout=300_000)
        page.get_by_text("Loaded: mixup, variant erm, scale smoke").wait_for()
        other.get_by_text(re.compile(r"trained in \d+ s")).wait_for(timeout=LONG)
        assert not page.get_by_role("button", name="Stop the training").is_visible()


def test_documents_are_asked(browser, empty, tmp_path):
    for watched in watch(browser, empty, 1280):
        _ask_documents(watched, tmp_path)


def _ask_documents(watched, tmp_path):
    page = watched.open("rag")
    page.get_by_text("Vectors: hashed words").wait_for()
    for name, text in (
        ("light.md", "The lighthouse of Saint Ava was built in 1874.\n\n<script>window.injected = 1</script>"),
        ("empty.txt", ""),
        ("broken.pdf", "%PDF-1.4 nothing"),
    ):
        (tmp_path / name).write_text(text)
    page.locator("input[type=file]").set_input_files([tmp_path / n for n in ("light.md", "empty.txt", "broken.pdf")])
    page.locator("table.plain").get_by_text("light.md").wait_for()
    page.get_by_text("empty.txt is empty").wait_for()
    page.get_by_text("broken.pdf is no whole PDF").wait_for()
    page.get_by_label("Your question").fill("When was the lighthouse of Saint Ava built?")
    page.get_by_label("Your question").press("Enter")
    page.get_by_text("Quoted from light.md").wait_for()
    page.locator(".cite").first.click()
    assert page.locator("details[open] mark").inner_text() == "The lighthouse of Saint Ava was built in 1874."
    assert "window.injected" in page.locator("details[open] blockquote").inner_text()
    assert page.evaluate("window.injected") is None
    watched.reload()
    page.get_by_text("Quoted from light.md").wait_for()
    with page.expect_download() as saved:
        page.get_by_text("Save the talk").click()
    assert "## When was the lighthouse" in Path(saved.value.path()).read_text()
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_text("Quoted from light.md").wait_for()
    page.get_by_role("button", name="Delete the talk").click()
    other.get_by_text("Nothing was asked yet").wait_for()
    page.get_by_label("light.md").check()
    page.get_by_role("button", name="Delete what is ticked").click()
    page.get_by_text("No documents yet").wait_for()
    other.get_by_text("No documents yet").wait_for()
    other.close()
