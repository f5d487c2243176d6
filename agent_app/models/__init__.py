from agent_app.models.attachments import Attachment
from agent_app.models.audit import AuditDetails, AuditEntry, AuditSeal
from agent_app.models.conversations import Conversation, Entry, Message
from agent_app.models.desk import Ticket
from agent_app.models.erasure import Erasure
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
    "AuditDetails",
    "AuditEntry",
    "AuditSeal",
    "Conversation",
    "Entry",
    "Erasure",
    "ExampleQuestion",
    "Feedback",
    "IndexGeneration",
    "KnowledgeState",
    "Message",
    "TextVector",
    "Ticket",
    "UnansweredQuestion",
]
