"""The knowledge's REST doors for staff and their programs: articles, and the search that the agent answers from."""

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from agent_app.articles.serializers import (
    ArticlePageSerializer,
    ArticleQuerySerializer,
    ArticleSerializer,
    FindingsSerializer,
    SearchQuerySerializer,
)
from agent_app.knowledge.indexing import knowledge
from agent_app.knowledge.retrieval import Hit
from agent_app.models import Article, AuditEntry
from agent_app.models.knowledge import ArticleQuerySet
from sessions_app.staff import StaffView, answers


class ArticleList(StaffView):
    staff_permissions = {"GET": "agent_app.view_article", "POST": "agent_app.add_article"}

    @extend_schema(
        operation_id="articles_list",
        summary="Articles, by slug",
        parameters=[ArticleQuerySerializer],
        responses=answers(200, ArticlePageSerializer, 400),
    )
    def get(self, request: Request) -> Response:
        query = self.checked(ArticleQuerySerializer, request.query_params)
        wanted = query.validated_data
        found = articles().filter(slug__gt=wanted["cursor"]).order_by("slug")
        if wanted["q"]:
            found = found.matching(wanted["q"])
        page = list(found[: wanted["limit"] + 1])
        shown = page[: wanted["limit"]]
        following = shown[-1].slug if len(page) > len(shown) else None
        return Response({"results": ArticleSerializer(shown, many=True).data, "next_cursor": following})

    @extend_schema(
        summary="Write an article", request=ArticleSerializer, responses=answers(201, ArticleSerializer, 400, 409)
    )
    def post(self, request: Request) -> Response:
        article = self.checked(ArticleSerializer, request.data)
        article.save()
        record(request, "added", article.instance.pk)
        return Response(article.data, status=status.HTTP_201_CREATED)


class ArticleDetail(StaffView):
    staff_permissions = {
        "GET": "agent_app.view_article",
        "PUT": "agent_app.change_article",
        "PATCH": "agent_app.change_article",
        "DELETE": "agent_app.delete_article",
    }

    @extend_schema(
        operation_id="articles_retrieve", summary="One article", responses=answers(200, ArticleSerializer, 404)
    )
    def get(self, request: Request, slug: str) -> Response:
        return Response(ArticleSerializer(get_object_or_404(articles(), slug=slug)).data)

    @extend_schema(
        summary="Replace an article",
        request=ArticleSerializer,
        responses=answers(200, ArticleSerializer, 400, 404, 409),
    )
    def put(self, request: Request, slug: str) -> Response:
        return self.change(request, slug, partial=False)

    @extend_schema(
        summary="Change some of an article",
        request=ArticleSerializer(partial=True),
        responses=answers(200, ArticleSerializer, 400, 404, 409),
    )
    def patch(self, request: Request, slug: str) -> Response:
        return self.change(request, slug, partial=True)

    def change(self, request: Request, slug: str, partial: bool) -> Response:
        article = get_object_or_404(articles(), slug=slug)
        changed = ArticleSerializer(article, data=request.data, partial=partial)
        changed.is_valid(raise_exception=True)
        changed.save()
        record(request, "changed", article.pk, fields=sorted(changed.validated_data))
        return Response(changed.data)

    @extend_schema(summary="Delete an article", responses=answers(204, OpenApiResponse(description="It is gone"), 404))
    def delete(self, request: Request, slug: str) -> Response:
        article = get_object_or_404(articles(), slug=slug)
        number = article.pk
        article.delete()
        record(request, "deleted", number)
        return Response(status=status.HTTP_204_NO_CONTENT)


class Search(StaffView):
    staff_permissions = {"GET": "agent_app.view_article"}

    @extend_schema(
        operation_id="knowledge_search",
        summary="What the agent would find",
        parameters=[SearchQuerySerializer],
        responses=answers(200, FindingsSerializer, 400),
    )
    def get(self, request: Request) -> Response:
        query = self.checked(SearchQuerySerializer, request.query_params)
        found = knowledge.find(query.validated_data["q"], query.validated_data["limit"])
        about = {"question": found.question, "band": found.band, "probability": found.probability}
        return Response({**about, "results": [hit_to_wire(hit) for hit in found.hits]})


def record(request: Request, act: str, number: int, **details: Any) -> None:
    """By its number, as in the admin: a draft's slug may be what a customer asked."""
    AuditEntry.record(f"article.{act}", "", request.user.get_username(), number=str(number), **details)


def articles() -> ArticleQuerySet:
    return Article.objects.with_questions()


def hit_to_wire(hit: Hit) -> dict[str, Any]:
    passage = hit.passage
    return {
        "slug": hit.source.slug,
        "title": hit.source.title,
        "url": hit.source.url,
        "heading": passage.heading if passage else "",
        "passage": passage.text if passage else "",
        "score": hit.score,
    }
