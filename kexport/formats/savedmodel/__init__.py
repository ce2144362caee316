"""SavedModel: Keras's own export."""

from __future__ import annotations

from kexport.registry import Format, engines_of

FORMAT = Format.register("savedmodel", suffix="-savedmodel", engines=engines_of(f"{__name__}.engines"))
