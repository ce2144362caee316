"""Images: seeded, photographs, arrays, their classes; calibration and evaluation sets, and what is wrong with them."""
