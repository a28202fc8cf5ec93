from django.db import transaction
from django.http import JsonResponse
from django.urls import path
from shop.middleware import request_name
from shop.models import Order
from shop.tasks import ship, thank

from mqtasks.integrations.django import enqueue


def place(request, item):
    request_name.set(request.headers.get("X-Request", "somebody"))
    with transaction.atomic():
        order = Order.objects.create(item=item)
        # Both tasks are rows of this transaction: with the order, or not at all.
        handle = enqueue(ship, (order.pk,), id=f"ship-{order.pk}")
        thanks = thank.enqueue(order.pk)
        if item == "nothing":
            transaction.set_rollback(True)
    return JsonResponse({"order": order.pk, "task": handle.id, "thanks": thanks.id}, status=202)


urlpatterns = [path("orders/<str:item>", place)]
