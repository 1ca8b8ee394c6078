"""Uses of other libraries' private parts, one small module each."""
