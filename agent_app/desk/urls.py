from django.urls import path

from agent_app.desk import views

urlpatterns = [
    path("desk/", views.conversations, name="desk"),
    path("desk/<str:thread_id>/", views.thread, name="desk-thread"),
]
