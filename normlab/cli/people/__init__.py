"""The verbs about people: users, tokens, the audit trail, and who is listed in which project."""
