"""Imports all that training and exporting need, so that processes forked from one that did start at once.

Starts no thread and opens nothing; safe to import in a fork server.
"""

import joyctl.train.export
import joyctl.train.segment  # noqa: F401
