"""Commands: parse, call one function, render, exit. Heavy imports live inside the bodies."""
