"""What every step is made of: strict config, declaration, execution, command, progress."""
