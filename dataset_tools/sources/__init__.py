"""One small module per raw format."""
