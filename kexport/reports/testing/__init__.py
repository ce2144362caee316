"""For test runs of other projects: `plugin` is pytest's, and is imported by pytest alone."""
