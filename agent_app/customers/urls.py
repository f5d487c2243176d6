"""Staff doors to a customer's data, under /api/v1/customers/."""

from django.urls import path

from agent_app.customers import views

urlpatterns = [
    path("erase/", views.EraseCustomer.as_view(), name="customer-erase"),
    path("erasures/<str:number>/", views.Receipt.as_view(), name="customer-receipt"),
    path("export/", views.ExportCustomer.as_view(), name="customer-export"),
]
