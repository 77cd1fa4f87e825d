"""The guideline's marks are drawn, and nothing that is written becomes HTML, a script, or a request to elsewhere."""

from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from ui.markdown import draw_markdown

ELEMENTS = {"p", "br", "em", "strong", "code", "pre", "h4", "ul", "ol", "li", "blockquote", "hr", "a"}
ELEMENTS |= {"table", "thead", "tbody", "tr", "th", "td"}


class Reader(HTMLParser):
    """What a browser would see of it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_headings_paragraphs_lists_emphasis_and_line_breaks_are_drawn():
    text = "## Rules\nFirst *only*\n**seen**\n\n- one <b>\n- two\n  goes on\n\n1. a\n2. b\n\n• from a word processor"
    assert draw_markdown(text).replace("\n", "") == (
        "<h4>Rules</h4><p>First <em>only</em><br /><strong>seen</strong></p>"
        "<ul><li>one &lt;b&gt;</li><li>two<br />goes on</li></ul><ol><li>a</li><li>b</li></ol>"
        "<ul><li>from a word processor</li></ul>"
    )
    assert draw_markdown("  \n\n") == "" and draw_markdown("-no list") == "<p>-no list</p>"
    assert draw_markdown("5 * 3 * 2, snake_case_name") == "<p>5 * 3 * 2, snake_case_name</p>"


def test_links_lead_to_the_web_in_a_tab_of_their_own_or_stay_text():
    [(_, _), (_, link)] = Reader(draw_markdown("[rules](https://example.org/a?b=1&c=2)")).seen
    assert link == {"href": "https://example.org/a?b=1&c=2", "target": "_blank", "rel": "noopener noreferrer"}
    for address in ("javascript:alert(1)", "JavaScript:x", "data:text/html,x", "//evil.org", "/config", "file:///etc"):
        assert "<a" not in draw_markdown(f"[x]({address}) <{address}>\n\n[y]: {address}\n\n[y]")
    assert "<img" not in draw_markdown("![x](https://example.org/track.png)")


WRITTEN = """<script>alert(1)</script> <img_src=x_onerror=alert(1)> [a](javascript:x) [a](https://e.org/"onclick=x)
![i](https://e.org/i.png_"t'_onload=x") ` ``` * ** _ #_ -_ 1._ >_ |a|b|~|-|-|~ ~ ~~ ____ &lt;svg_onload=x&gt; &#60; <!--
]]> <a_href='javascript:x'> \u202e \x00 word_ <https://e.org> <mailto:a@b.c> [x]:_data:text/html,y~ [x] \\ " '"""
PIECES = [piece.replace("_", " ").replace("~", "\n") for piece in WRITTEN.split()]
pieces = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


@settings(max_examples=60)
@given(pieces)
def test_whatever_is_written_only_harmless_elements_come_of_it(text):
    for name, attributes in Reader(draw_markdown(text)).seen:
        assert name in ELEMENTS
        assert set(attributes) <= ({"href", "title", "target", "rel"} if name == "a" else {"start", "class"}), (
            attributes
        )
        assert name != "a" or attributes["href"].lower().startswith(("https://", "http://", "mailto:"))
    assert not {"\u202e", "\x00"} & set(draw_markdown(text))
