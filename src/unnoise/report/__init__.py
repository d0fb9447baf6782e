"""Self-contained pages: what the demo's model learned (`page`), and how methods compare (`evaluation_page`)."""

from __future__ import annotations

from .evaluation import evaluation_page
from .learned import Example, crops, page

__all__ = ["Example", "crops", "evaluation_page", "page"]
