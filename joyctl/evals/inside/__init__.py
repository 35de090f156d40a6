"""What runs inside the sandbox: the program's side and the judge's side of the calls between them.

Both files use the standard library only and import nothing of joyctl: the sandbox sees this folder and no other of
the package.
"""
