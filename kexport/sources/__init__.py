"""What the user named becomes a `keras.Model` with its weights and facts."""
