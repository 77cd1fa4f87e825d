"""The preview of an import shows what a file says as text, whatever it says, and keeps columns chosen by hand."""

from html.parser import HTMLParser

from m3po.formats.mapping import FIELDS
from ui.import_card import AS_READ, _columns_of, _source
from ui.import_view import draw_preview

HOSTILE = '<img src=x onerror="alert(1)"></dd><script>alert(2)</script>\'" \u202e'
KNOWN_TAGS = {"section", "div", "h2", "p", "b", "span", "button", "dl", "dt", "dd", "img"}
KNOWN_TAGS |= {"table", "thead", "tbody", "tr", "th", "td"}


def test_everything_of_a_file_is_text():
    row = {"row": HOSTILE, "id": HOSTILE, "instruction": HOSTILE * 40, "system": HOSTILE, "split": None}
    row |= {"answer": HOSTILE, "category": HOSTILE, "objects": [HOSTILE], "candidates": [HOSTILE, HOSTILE]}
    row |= {"turns": [{"role": "user", "text": HOSTILE}], "ratings": [{HOSTILE: 1.0}, {}], "warnings": [HOSTILE]}
    row |= {"decisions": [{"chosen": 0, "rejected": 1}]}
    row |= {"images": [{"name": HOSTILE, "width": 1, "height": 2, "thumbnail": "data:image/webp;base64,AA"}]}
    shown = {"label": HOSTILE, "container": HOSTILE, "problem": "x", "columns": [HOSTILE], "ignored": [HOSTILE],
             "doubt": HOSTILE}  # fmt: skip
    shown |= {"format": "llava", "mapping": {"image": HOSTILE}, "rows": [row, {"row": HOSTILE, "refused": HOSTILE}]}
    found = []

    class Reader(HTMLParser):
        def handle_starttag(self, name, attributes):
            found.append((name, dict(attributes)))

    html = draw_preview(shown)
    Reader().feed(html)
    assert {name for name, _ in found} <= KNOWN_TAGS
    assert not any(key.startswith("on") for _, attributes in found for key in attributes)
    [image] = [attributes for name, attributes in found if name == "img"]
    assert image["src"] == "data:image/webp;base64,AA" and "\u202e" not in html
    assert "characters)" in html and html.count(">chosen<") == 1 and html.count(">rejected<") == 1


def test_a_file_whose_columns_are_unknown_shows_what_stands_in_them():
    shown = {"label": "x", "container": "CSV", "problem": "x", "columns": ["frage"], "ignored": [], "mapping": {},
             "doubt": ""}  # fmt: skip
    html = draw_preview(shown | {"format": "mapping", "rows": [], "values": {"frage": "<Was?>"}})
    assert '<th scope="row">frage</th><td>&lt;Was?&gt;</td>' in html


def test_columns_by_hand_go_from_the_page_to_the_import():
    untouched = dict.fromkeys(FIELDS)
    assert _source(" x.csv ", "auto", "", untouched.values()) == {
        "source": "x.csv", "format": "auto", "images": None, "mapping": None
    }  # fmt: skip
    known = {"format": "llava", "mapping": {"id": "id"}, "columns": ["id", "sample"]}
    values = [update["value"] for update in _columns_of(known, untouched.values())]
    assert set(values) == {AS_READ} and _source("x", "auto", "", values)["mapping"] is None
    values[list(FIELDS).index("id")] = "sample"
    assert _source("x", "auto", "", values)["mapping"] == {"id": "sample"}
    assert [u["value"] for u in _columns_of(known | {"mapping": {"id": "sample"}}, values)] == values  # it stays
    by_hand = {"format": "mapping", "mapping": {"instruction": "frage"}, "columns": ["frage"]}
    values = [update["value"] for update in _columns_of(by_hand, untouched.values())]
    assert _source("x", "auto", "", values)["mapping"] == dict.fromkeys(FIELDS, "") | {"instruction": "frage"}
