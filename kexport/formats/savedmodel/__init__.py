"""SavedModel: Keras's own export."""
