import re

from etudes.reports import glossary


def test_the_first_use_of_a_word_is_marked_and_what_is_shown_is_escaped() -> None:
    mark = glossary.Marker()
    text = mark("Undecided <b>claims</b> stay undecided: [0.1, 0.2] of `test_error`")
    assert text.count('popovertarget="term-undecided"') == 1
    assert ">Undecided</button>" in text
    assert "&lt;b&gt;" in text
    assert "<code>test_error</code>" in text
    assert "[0.1,\N{NO-BREAK SPACE}0.2]" in text
    assert [term.name for term in mark.met] == ["undecided", "claim"]
    assert "button" not in mark("undecided")


def test_a_word_within_a_word_is_none() -> None:
    assert "button" not in glossary.Marker()("seedling unclaimed top-p P")
    assert "button" in glossary.Marker()("p = 0.02")


def test_the_longest_word_wins() -> None:
    assert ">heavy-ball momentum</button>" in glossary.Marker()("heavy-ball momentum")


def test_each_term_has_its_own_name_and_a_short_meaning() -> None:
    slugs = [term.slug for term in glossary.TERMS]
    assert len({*slugs}) == len(slugs)
    assert all(re.fullmatch(r"[a-z0-9-]+", slug) for slug in slugs)
    forms = [form.lower() for term in glossary.TERMS for form in (term.name, *term.forms)]
    assert len({*forms}) == len(forms)
    assert all(20 < len(term.says) <= 260 and term.says.endswith(".") for term in glossary.TERMS)
