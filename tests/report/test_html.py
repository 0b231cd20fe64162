import polars as pl

from actlas.report.html import bullets, code, document, section, table


def test_everything_is_escaped():
    hostile = "<script>alert('&')</script>"
    frame = pl.DataFrame({hostile: [hostile]})
    for made in (table(frame, hostile), bullets([hostile]), code(hostile), section(hostile), document(hostile, "")):
        assert "<script>" not in made
        assert "&lt;script&gt;" in made


def test_numbers_stand_to_the_right_and_nothing_is_a_dash():
    made = table(pl.DataFrame({"step": [0, None], "overlap": [0.123456, float("nan")], "concept": ["cow", None]}))
    assert '<td class="number">0.1235</td>' in made
    assert made.count("<td>–</td>") == 1
    assert made.count('<td class="number">–</td>') == 2
    assert "<td>cow</td>" in made


def test_long_text_may_break():
    assert '<td class="long">' in table(pl.DataFrame({"text": ["word " * 20]}))


def test_no_bullets_without_texts():
    assert bullets([]) == ""
