"""A module whose import starts a thread, as that of a library may."""

from __future__ import annotations

import threading

threading.Thread(target=threading.Event().wait, daemon=True).start()
