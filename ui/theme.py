"""Gradio's own components in our colours and sizes; what we draw ourselves is in style.css, of the same colours."""

from __future__ import annotations

import inspect

import gradio as gr

SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace"]


def build_theme() -> gr.themes.Base:
    """System fonts alone: no font is fetched. Colours are the variables of colours.css, which know light and dark."""
    theme = gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        spacing_size=gr.themes.sizes.spacing_sm,
        radius_size=gr.themes.sizes.radius_sm,
        text_size=gr.themes.sizes.text_sm,
        font=SANS,
        font_mono=MONO,
    )
    both = {
        "body_background_fill": "var(--m3-page)",
        "body_text_color": "var(--m3-ink)",
        "body_text_color_subdued": "var(--m3-quiet)",
        "background_fill_primary": "var(--m3-surface)",
        "background_fill_secondary": "var(--m3-page)",
        "border_color_primary": "var(--m3-line)",
        "border_color_accent": "var(--m3-accent)",
        "color_accent": "var(--m3-accent)",
        "color_accent_soft": "var(--m3-accent-soft)",
        "link_text_color": "var(--m3-accent)",
        "block_background_fill": "var(--m3-surface)",
        "block_border_color": "var(--m3-line)",
        "block_label_background_fill": "var(--m3-surface)",
        "block_label_text_color": "var(--m3-quiet)",
        "block_title_text_color": "var(--m3-quiet)",
        "block_info_text_color": "var(--m3-quiet)",
        "panel_background_fill": "var(--m3-surface)",
        "input_background_fill": "var(--m3-field)",
        "input_border_color": "var(--m3-line-strong)",
        "input_border_color_focus": "var(--m3-accent)",
        "input_placeholder_color": "var(--m3-quiet)",
        "button_primary_background_fill": "var(--m3-accent)",
        "button_primary_background_fill_hover": "var(--m3-accent-strong)",
        "button_primary_text_color": "var(--m3-on-accent)",
        "button_primary_border_color": "var(--m3-accent)",
        "button_secondary_background_fill": "var(--m3-surface)",
        "button_secondary_background_fill_hover": "var(--m3-hover)",
        "button_secondary_text_color": "var(--m3-ink)",
        "button_secondary_border_color": "var(--m3-line-strong)",
        "button_cancel_background_fill": "var(--m3-surface)",
        "button_cancel_text_color": "var(--m3-rejected)",
        "button_cancel_border_color": "var(--m3-rejected)",
    }
    # Gradio derives a dark twin of most variables; the same name of ours serves both.
    twins = inspect.signature(theme.set).parameters
    dark = {f"{name}_dark": value for name, value in both.items() if f"{name}_dark" in twins}
    return theme.set(
        **both,
        **dark,
        block_shadow="none",
        block_shadow_dark="none",
        button_primary_shadow="none",
        button_secondary_shadow="none",
        input_shadow="none",
        input_shadow_focus="0 0 0 2px var(--m3-accent-soft)",
        block_title_text_weight="500",
        block_label_text_weight="500",
        button_large_text_weight="600",
        button_small_text_weight="500",
    )
