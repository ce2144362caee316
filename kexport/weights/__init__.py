"""Where weights come from: one module per kind; each gives a built `keras.Model` its weights."""
