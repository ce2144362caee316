"""Operations of the graph as TFLite operators."""
