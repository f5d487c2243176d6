from django.urls import path

from agent_app.widget import views

urlpatterns = [
    path("", views.demo_shop, name="shop"),
    path("widget.js", views.embed, name="embed"),
    path("widget/", views.chat, name="chat"),
    path("widget/strings/<str:language>.js", views.strings, name="chat-strings"),
    path("help/<slug:slug>/", views.article, name="help"),
]
