"""How predicted masks are scored."""
