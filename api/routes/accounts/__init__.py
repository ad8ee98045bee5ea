"""The endpoints of users, their tokens, projects and webhooks."""
