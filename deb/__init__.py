"""The Debian package of the agent, built without a Debian source package: docs/decisions/0082."""
