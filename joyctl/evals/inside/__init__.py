"""What runs inside the sandbox: the program's side and the judge's side of the calls between them.

Both files use the standard library only and import nothing of joyctl: their compiled code is sent into the sandbox,
which sees no file of the package.
"""
