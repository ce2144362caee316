"""A module that ends whoever imports it."""

from __future__ import annotations

import sys

sys.stderr.write("cannot be imported here\n")
sys.exit(7)
