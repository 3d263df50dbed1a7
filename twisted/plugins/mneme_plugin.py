"""Tells twistd about `twistd mneme`."""

from twisted.application.service import ServiceMaker

mneme = ServiceMaker(
    "mneme", "mneme.tap", "Keep the memory of coding agents in step across machines.", "mneme"
)
