from django.urls import path

from agent_app.demo import views

urlpatterns = [
    path("books", views.every_record),
    path("crm/customers/<str:ref>", views.customer),
    path("crm/customers/<str:ref>/tickets", views.tickets),
    path("billing/customers/<str:ref>/invoices", views.invoices),
    path("billing/customers/<str:ref>/balance", views.balance),
    path("inventory/customers/<str:ref>/orders", views.orders),
    path("inventory/orders/<str:number>", views.order),
    path("inventory/orders/<str:number>/cancel", views.cancel),
    path("inventory/orders/<str:number>/address", views.address),
    path("inventory/orders/<str:number>/return", views.send_back),
    path("inventory/products", views.products),
    path("inventory/products/<str:sku>", views.product),
]
