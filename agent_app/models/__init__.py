from agent_app.models.attachments import Attachment
from agent_app.models.audit import AuditDetails, AuditEntry, AuditSeal
from agent_app.models.budget import ConversationUse, DailyUse
from agent_app.models.confirmations import Confirmation
from agent_app.models.conversations import Conversation, Entry, Message
from agent_app.models.demo import DemoRecord, DemoWrite
from agent_app.models.desk import CannedReply, Note, Ticket
from agent_app.models.drafts import DraftSource
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
from agent_app.models.mail import Mail, Seen
from agent_app.models.memory import ConversationSummary, Fact
from agent_app.models.people import Attendance
from agent_app.models.tokens import ApiToken

__all__ = [
    "ApiToken",
    "Article",
    "Attachment",
    "Attendance",
    "AuditDetails",
    "AuditEntry",
    "AuditSeal",
    "CannedReply",
    "Confirmation",
    "Conversation",
    "ConversationSummary",
    "ConversationUse",
    "DailyUse",
    "DemoRecord",
    "DemoWrite",
    "DraftSource",
    "Entry",
    "Erasure",
    "ExampleQuestion",
    "Fact",
    "Feedback",
    "IndexGeneration",
    "KnowledgeState",
    "Mail",
    "Message",
    "Note",
    "Seen",
    "TextVector",
    "Ticket",
    "UnansweredQuestion",
]
