"""The seam to torchtitan: training a segment and exporting a model; nothing else imports it.

Importing this package, or any module in it, first prepares torchtitan for this machine (`device.prepare`),
because torchtitan settles its device when it is imported.
"""

from joyctl.train.device import prepare

prepare()
