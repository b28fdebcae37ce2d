"""A detector behind HTTP, and the page that a colleague opens in a browser.

    request -> admission -> bounded read -> pixel check -> decode -> queue -> batch -> its own boxes

Nothing here is imported before ``gazehound serve`` runs: FastAPI, uvicorn and the Prometheus client come
with the extra ``gazehound[serve]``.
"""
