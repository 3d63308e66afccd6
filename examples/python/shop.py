"""Metrics with the module of clients/python:

    pip install ./clients/python
    TALLYD_ADDRESS=127.0.0.1:5090 python3 shop.py
"""

from tallyd import Agent

metrics = Agent()  # $TALLYD_ADDRESS, else 127.0.0.1:5090


@metrics.timer("shop.checkout", tags={"payment": "card"})
def checkout():
    """Each call is measured."""


def main():
    metrics.counter("shop.orders", tags={"payment": "card"})
    metrics.counter("shop.orders", 2, {"payment": "card"})
    metrics.gauge("shop.carts", 17)
    metrics.gauge("shop.carts", -2, delta=True)
    for customer in ["anna", "bert", "anna"]:
        metrics.set("shop.customers", customer)
    metrics.trace("shop.signup", {"step": "confirm", "browser": "firefox"})

    checkout()

    # Many at once: a few datagrams instead of a hundred.
    with metrics.batch() as batch:
        for count in range(100):
            batch.counter("shop.items", count, {"product": 'Käse "alt"'})


if __name__ == "__main__":
    main()
