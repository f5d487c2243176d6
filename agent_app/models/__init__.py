from agent_app.models.audit import AuditEntry
from agent_app.models.conversations import Conversation, Entry, Message
from agent_app.models.desk import Ticket

__all__ = ["AuditEntry", "Conversation", "Entry", "Message", "Ticket"]
