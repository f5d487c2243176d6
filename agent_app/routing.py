from django.urls import path

from agent_app.consumers import ChatConsumer
from agent_app.desk.socket import DeskSocket

websocket_urlpatterns = [path("ws/chat/", ChatConsumer.as_asgi()), path("ws/desk/", DeskSocket.as_asgi())]
