"""A Studio with imported, unscored candidates, and the review page on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from review_page import Page, open_imported

from m3po.studio import Studio


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    opened = open_imported(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def page(studio: Studio) -> Page:
    return Page(studio)
