"""Imports all that training and exporting need, so that processes forked from one that did start at once.

Opens nothing and starts no thread of its own (libraries below it start theirs, which survive a fork), so a
fork server can import it.
"""

import joyctl.train.export
import joyctl.train.segment  # noqa: F401
