"""The reference control plane: small enough to read in an hour, and to write your own from docs/PROTOCOL.md.

names, token, bounds, metrics, bill, fold   pure: what is right, decided without I/O
authority, csr, home                        certificates, and where they are kept
store/                                      SQLite: one thread, one transaction for each piece of work
peer, refusal, audit, handshakes            who is calling, how a refusal is said, and where it is written down
enrolment, control, session, calls          the node's side
operations, operator                        the operator's side
server, __main__                            where they meet
cli/                                        edgectl, a verb for each file
"""
