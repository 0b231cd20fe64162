import base64
import hashlib
import json
import re

import polars as pl
import pytest

from actlas.report.html import bullets, code, document, escape, figure, inline_json, name_of, section, table


def test_everything_is_escaped():
    hostile = "<script>alert('&')</script>"
    frame = pl.DataFrame({hostile: [hostile]})
    for made in (table(frame, hostile), bullets([hostile]), code(hostile), section(hostile), document(hostile, "")):
        assert "<script>" not in made
        assert "&lt;script&gt;" in made


def test_numbers_stand_to_the_right_and_nothing_is_a_dash():
    made = table(pl.DataFrame({"step": [0, None], "overlap": [0.123456, float("nan")], "concept": ["cow", None]}))
    assert '<td class="number">0.1235</td>' in made
    assert made.count('<td dir="auto">–</td>') == 1
    assert made.count('<td class="number">–</td>') == 2
    assert '<td dir="auto">cow</td>' in made


def test_long_text_may_break():
    assert '<td class="long" dir="auto">' in table(pl.DataFrame({"text": ["word " * 20]}))


def test_no_bullets_without_texts():
    assert bullets([]) == ""


def test_what_is_not_seen_is_made_visible_and_breaks_stay():
    assert escape("a\x1b[2J\u202eb\nc\x00") == "a\\x1b[2J\\u202eb\nc\\x00"
    # a joiner is part of how Persian is written
    assert escape("می\u200cخواهم") == "می\u200cخواهم"


@pytest.mark.parametrize("text", ["</script><script>", "<!--", "]]>", "\u2028\u2029", "&lt;", "\x1b[2J", "\u202e", "\U000e0041"])
def test_inlined_json_ends_no_script_and_says_the_same(text):
    made = inline_json({text: [text, 1, None]})
    assert not set("<>&\u2028\u2029") & set(made)
    assert json.loads(made) == {text: [text, 1, None]}


def test_numbers_that_are_none_are_refused_in_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        inline_json([float("nan")])


def test_only_what_is_named_by_its_hash_may_run():
    page = document("A page", section("One?") + section("Two"), "const a = 1 < 2;")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        (text,) = re.findall(rf"<{element}[^>]*>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "script-src 'none'" in document("A page", "")


def test_a_script_that_would_end_itself_is_refused():
    with pytest.raises(ValueError, match="ends itself"):
        document("A page", "", "const a = '</script>';")


def test_contents_lead_to_the_sections_and_a_first_link_past_them():
    page = document("A page", section("What <is> it?") + section("Two"))
    links = re.findall(r'<a[^>]* href="#([^"]*)"', page)
    assert links == ["content", "what-is-it", "two"]
    assert all(f'id="{link}"' in page for link in links)
    assert ">What &lt;is&gt; it?</a>" in page
    assert "<nav" not in document("A page", "<p>no section</p>")


def test_a_name_is_what_an_address_can_hold():
    assert name_of("Do languages share their experts?") == "do-languages-share-their-experts"


def test_a_figure_carries_its_answer_and_what_is_drawn_without_a_script():
    made = figure("<svg></svg>", "About <it>", "<p>rows</p>", name="overlap", data={"answer": "</script>"})
    assert made.startswith('<figure data-actlas="overlap"><div class="fallback wide"><svg></svg></div>')
    assert "<figcaption>About &lt;it&gt;</figcaption>" in made
    assert json.loads(re.findall(r'<script type="application/json">(.*?)</script>', made)[0]) == {"answer": "</script>"}
    assert "data-actlas" not in figure("<svg></svg>", "")


def test_tables_are_named_and_can_be_scrolled_by_keys():
    made = table(pl.DataFrame({"n": [1]}), "How <many>")
    assert 'tabindex="0" role="region" aria-label="How &lt;many&gt;"' in made
    assert "<caption>How &lt;many&gt;</caption>" in made
    assert '<th scope="col"' in made
    assert '<caption class="unseen">' in table(pl.DataFrame({"n": [1]}), "n", is_headed=True)
