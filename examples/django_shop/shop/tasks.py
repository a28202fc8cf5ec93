"""Found by mqtasks.integrations.django, because of its name."""

from shop.middleware import request_name
from shop.models import Order

from mqtasks.integrations.django import app

try:
    from django.tasks import task
except ImportError:  # before Django 6
    from django_tasks import task


@app.task(max_retry_times=3)
def ship(order_id: int) -> str:
    Order.objects.filter(pk=order_id).update(state="shipped")
    return f"order {order_id} is on its way, as {request_name.get()} wished"


@task(queue_name="letters", priority=-5)
def thank(order_id: int) -> bool:
    return Order.objects.filter(pk=order_id).update(thanked=True) == 1


@task
async def count() -> int:
    return await Order.objects.acount()


@task(takes_context=True)
def stubborn(context, least: int) -> int:
    if context.attempt < least:
        raise LookupError(f"attempt {context.attempt}")
    return context.attempt
