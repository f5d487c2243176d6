"""The demo shop offers questions to click on: each gets an answer with its source."""

import pytest

from agent_app.widget import shop
from tests.chat_client import Chat
from tests.desk import Desk

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.mark.parametrize("question", [*shop.QUESTIONS, *(product.question for product in shop.PRODUCTS)])
async def test_the_shops_questions_are_answered(desk: Desk, question: str) -> None:
    chat = await Chat.open(desk.url)
    assert (await chat.say(question))["reply"]["citations"]
