"""``python -m kexport`` is ``kexport``."""

from __future__ import annotations

import sys

from kexport.cli import main

sys.exit(main())
