"""Options of Celery that every service with a queue shares. A plain dictionary: what has no queue does not need Celery.

app.conf.update(**celery_options("ingest", PREFIX), task_acks_late=True)
"""

from __future__ import annotations

from typing import Any


def celery_options(queue: str, key_prefix: str, **transport: Any) -> dict[str, Any]:
    """For a Celery application on Redis whose messages are wake-up calls: nothing hangs on one, so nothing is kept of a result.

    `key_prefix` goes before every key in Redis; `transport` are further options of the transport.
    """
    return {
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_default_queue": queue,
        "worker_prefetch_multiplier": 1,
        "worker_hijack_root_logger": False,
        # Celery's stand-in for stderr swallows what our log handler writes to it in child processes.
        "worker_redirect_stdouts": False,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {"global_keyprefix": key_prefix, "socket_timeout": 10, "socket_connect_timeout": 2, **transport},
    }
