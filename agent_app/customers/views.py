"""A customer's data for staff programs: erased, with a receipt, or taken along. Each door needs its own permission."""

from tempfile import TemporaryFile

from django.http import FileResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiTypes, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agent_app.customers.serializers import CheckedReceiptSerializer, NamedCustomerSerializer
from agent_app.erasing import erase_or_leave
from agent_app.export import export
from agent_app.models import Erasure
from agent_app.serializers import ReceiptSerializer
from sessions_app.staff import ERROR, StaffView, answers


class EraseCustomer(StaffView):
    staff_permissions = {"POST": "agent_app.erase_customer"}

    @extend_schema(
        operation_id="customers_erase",
        summary="Erase everything of a customer",
        description="While the session store is away the receipt is `pending`; `manage.py cleanup` goes on with it.",
        request=NamedCustomerSerializer,
        responses=answers(202, ReceiptSerializer, 400, 503),
    )
    def post(self, request: Request) -> Response:
        given = self.checked(NamedCustomerSerializer, request.data).validated_data
        asked = Erasure.objects.of_customer(given["user_id"], request.user.get_username())
        return Response(erase_or_leave(asked).receipt(), status=202)


class Receipt(StaffView):
    staff_permissions = {"GET": "agent_app.view_erasure"}

    @extend_schema(
        operation_id="customers_receipt",
        summary="Check the receipt of an erasure",
        responses=answers(200, CheckedReceiptSerializer, 404),
    )
    def get(self, request: Request, number: str) -> Response:
        erasure = get_object_or_404(Erasure, number=number.upper())
        doubts = erasure.doubts()
        return Response({**erasure.receipt(), "sound": not doubts, "doubts": doubts})


class ExportCustomer(StaffView):
    staff_permissions = {"POST": "agent_app.export_customer"}

    @extend_schema(
        operation_id="customers_export",
        summary="Everything of a customer, as a ZIP",
        request=NamedCustomerSerializer,
        responses={(200, "application/zip"): OpenApiTypes.BINARY, **dict.fromkeys((400, 401, 403), ERROR)},
    )
    def post(self, request: Request) -> FileResponse:
        given = self.checked(NamedCustomerSerializer, request.data).validated_data
        file = TemporaryFile()  # noqa: SIM115 - the response closes it
        export(given["user_id"], file, request.user.get_username())
        file.seek(0)
        return FileResponse(file, as_attachment=True, filename="customer.zip", content_type="application/zip")
