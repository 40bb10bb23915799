#!/usr/bin/env python3
"""Buys one unit of the first product on sale, and exits with 0 once the shop's list of orders has it as CONFIRMED.

Python's standard library has no WebSocket client, and this uses nothing else: it asks for the order's status instead.
    SHOP=http://127.0.0.1:3000 python3 buy.py        with EMAIL and PASSWORD for an account that is there already
"""

import http.client
import json
import os
import random
import sys
import time
import urllib.error
import urllib.request
import uuid

SHOP = os.environ.get("SHOP", "http://127.0.0.1:3000")
# How long an answer may take, and how long the whole purchase.
DEADLINE, PATIENCE = 10, 60
TO_ITS_END = time.monotonic() + PATIENCE


class Refused(Exception):
    """The shop said no, and means it."""


def call(method, path, token=None, key=None, body=None):
    """Status, seconds to wait before another try, and the answer; a status of 0 where there was no answer."""
    headers = {"accept": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    if key:
        headers["idempotency-key"] = key
    if body is not None:
        headers["content-type"] = "application/json"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(SHOP + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return answer.status, 1, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        wait = int(error.headers.get("retry-after") or 1)
        try:
            return error.code, wait, json.loads(error.read())
        except (ValueError, OSError, http.client.HTTPException):
            return error.code, wait, {"code": "", "detail": str(error)}
    except (OSError, ValueError, http.client.HTTPException):
        return 0, 1, None


def insist(method, path, **more):
    """The same request until somebody has said yes or no: only its key makes it safe to repeat an order."""
    while time.monotonic() < TO_ITS_END:
        status, wait, answer = call(method, path, **more)
        if 200 <= status < 300:
            return answer
        # No answer, 429 and 5xx say nothing of what became of it; units that others hold may come back.
        if status not in (0, 429) and status < 500 and answer["code"] != "units_held":
            raise Refused(f"{answer['code']}: {answer['detail']}")
        time.sleep(min(wait + random.random(), max(0.0, TO_ITS_END - time.monotonic())))
    raise TimeoutError(f"{method} {path} got no answer in time")


def log_in():
    """An access token, of the account in the environment or of a new one."""
    if "EMAIL" in os.environ:
        account = {"email": os.environ["EMAIL"], "password": os.environ["PASSWORD"]}
        return insist("POST", "/api/auth/login", body=account)["accessToken"]
    account = {"email": f"buyer-{uuid.uuid4()}@example.com", "password": f"a horse {uuid.uuid4()}"}
    body = {**account, "firstName": "Ada", "lastName": "L"}
    try:
        return insist("POST", "/api/auth/register", body=body)["accessToken"]
    except Refused as refusal:
        # An answer that was lost had made the account.
        if not str(refusal).startswith("email_taken"):
            raise
        return insist("POST", "/api/auth/login", body=account)["accessToken"]


def main():
    token = log_in()
    products = insist("GET", "/api/sale")["products"]
    product = next((product for product in products if product["available"] > 0), None)
    if product is None:
        raise Refused("sold_out: nothing is left")
    # One key for one wish, kept until there is an answer. A shop writes it down before it sends it.
    key = str(uuid.uuid4())
    items = [{"sku": product["sku"], "quantity": 1}]
    placed = insist("POST", "/api/orders", token=token, key=key, body={"items": items})["order"]
    print(f"{placed['_id']}: accepted")
    order = placed
    while order["status"] == "PENDING" and time.monotonic() < TO_ITS_END:
        time.sleep(0.3 + random.random() / 5)
        order = insist("GET", f"/api/orders/{placed['_id']}", token=token)
    print(f"{order['_id']}: {order['status']} {order['message']}")
    listed = insist("GET", f"/api/orders?idempotencyKey={key}", token=token)["items"]
    found = [(order["_id"], order["status"]) for order in listed]
    if found != [(placed["_id"], "CONFIRMED")]:
        raise Refused(f"the list of orders has {found}")
    print("the list of orders has it")


if __name__ == "__main__":
    try:
        main()
    except (Refused, TimeoutError) as error:
        sys.exit(f"not bought: {error}")
