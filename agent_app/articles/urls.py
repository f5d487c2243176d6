"""Under /api/v1/knowledge/."""

from django.urls import path

from agent_app.articles import views

urlpatterns = [
    path("articles/", views.ArticleList.as_view(), name="articles"),
    path("articles/<slug:slug>/", views.ArticleDetail.as_view(), name="article"),
    path("search/", views.Search.as_view(), name="knowledge-search"),
]
