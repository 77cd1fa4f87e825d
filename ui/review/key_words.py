"""Names of keys on the review page. Which key an action stands on is the browser's to know (ui/static/keys.js): what is
drawn here names the action, and the page writes the key that it is bound to now."""

from __future__ import annotations

from ui.markup import Markup, tag


def key_cap(action: str) -> Markup:
    """The key of an action, on its button."""
    return tag("kbd", data_key=action, aria_hidden="true")


def keyed(template: str) -> Markup:
    """A text in which `{swap}` is the key of that action and `{candidates}` are those of the candidates."""
    return tag("span", data_key_text=template)


def keyed_title(template: str) -> dict[str, str]:
    """The same in a tooltip: attributes for `tag`."""
    return {"data_key_title": template}
