"""Text never becomes markup, whatever it is."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.markup import Markup, escape, join, tag
from ui.word_diff import diff_words

HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["<img src=x onerror=alert(1)>", "</script><script>", '" onload="x', "' x='", "&lt;b&gt;", "<!--"]),
)


class Recorder(HTMLParser):
    """What a parser sees: elements, attributes and text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@given(HOSTILE, HOSTILE)
def test_text_and_attributes_stay_text(text, attribute):
    seen = Recorder(tag("p", text, data_x=attribute, title=attribute))
    assert [name for name, _ in seen.elements] == ["p"]
    assert set(seen.elements[0][1]) == {"data-x", "title"}
    assert seen.text == Recorder(str(escape(text))).text
    assert "<" not in escape(text) and '"' not in escape(text)


def test_elements_nest_and_leave_out():
    inner = tag("b", "x")
    assert tag("p", inner, None, False, 0, hidden=True, id=None) == "<p hidden><b>x</b>0</p>"
    assert tag("img", src="a&b", class_="c") == '<img src="a&amp;b" class="c">'
    assert join(["<", Markup("<i>")], "&") == "&lt;&amp;<i>"
    assert tag("p", "a\u202eb\x00") == "<p>a\ufffdb\ufffd</p>"


def test_a_wrong_element_name_is_refused():
    with pytest.raises(ValueError, match="no element name"):
        tag("p onload=x")


@given(st.text(max_size=80), st.text(max_size=80))
def test_a_diff_keeps_every_character(left, right):
    a, b = diff_words(left, right)
    assert "".join(text for text, _ in a) == left and "".join(text for text, _ in b) == right


def test_a_diff_marks_the_words_that_differ():
    a, b = diff_words("A red boat and a fish.", "A red boat and a duck.")
    assert a == [("A red boat and a ", False), ("fish", True), (".", False)]
    assert [text for text, differs in b if differs] == ["duck"]
    assert diff_words("same text", "same text")[0] == [("same text", False)]


def test_two_differing_words_are_one_mark():
    a, _ = diff_words("one two three", "one four five")
    assert a == [("one ", False), ("two three", True)]
