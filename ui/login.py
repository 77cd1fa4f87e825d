"""The page before a login: Gradio's own form, which knows neither our styles nor our scripts, in our colours."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
TITLE = "Log in to <b>M3PO Studio</b>"


def draw_login() -> str:
    """HTML for Gradio's `auth_message`, which is all of that page that can be given: the styles come with it. Dark as
    the system says."""
    colours = (HERE / "colours.css").read_text(encoding="utf-8")
    at = colours.index(":root.m3-dark")
    dark = colours[at:].replace(":root.m3-dark", ":root")
    login = (HERE / "login.css").read_text(encoding="utf-8")
    return f"<style>{colours[:at]}@media (prefers-color-scheme: dark) {{ {dark} }}{login}</style>{TITLE}"
