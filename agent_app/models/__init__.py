from agent_app.models.attachments import Attachment
from agent_app.models.audit import AuditEntry
from agent_app.models.conversations import Conversation, Entry, Message
from agent_app.models.desk import Ticket
from agent_app.models.feedback import Feedback
from agent_app.models.knowledge import (
    Article,
    ExampleQuestion,
    IndexGeneration,
    KnowledgeState,
    TextVector,
    UnansweredQuestion,
)
from agent_app.models.tokens import ApiToken

__all__ = [
    "ApiToken",
    "Article",
    "Attachment",
    "AuditEntry",
    "Conversation",
    "Entry",
    "ExampleQuestion",
    "Feedback",
    "IndexGeneration",
    "KnowledgeState",
    "Message",
    "TextVector",
    "Ticket",
    "UnansweredQuestion",
]
